"""Flags, the configuration they make, and the file that makes it again."""

import dataclasses

import pytest
from absl import flags as absl_flags

from linclf_jax.cli import options
from linclf_jax.cli.options import Config
from linclf_jax.data.datasets import Files
from linclf_jax.runs import formats
from linclf_jax.training.search_space import Axis, Range
from linclf_jax.training.settings import Hparams, Static

GRIDS = '{"grids":[{"optimizer":"lars","learning_rate":[1,3]},{"l2":"log:0.1:1:3"}]}'
# Every flag that is compared differs from its default.
EVERYTHING = Config(
    **{field: f"{field}.npy" for field in Files._fields},
    dataset="iris",
    label_column="species, as named",
    drop_columns=("row,number", "back\\slash"),
    keep_columns=("y",),
    label_values="as_is",
    ignore_label="-1",
    class_names="names.txt",
    split_seed=1,
    features=("raw", "hog"),
    preprocessing=("none", "mean_range"),
    loss=("softmax_cross_entropy", "weston_watkins_hinge"),
    optimizer=("sgd", "adam"),
    schedule=("constant", "linear"),
    batch_size=(16, 32),
    epochs=(5, 10),
    keep="best",
    learning_rate=Range("log", 1e-3, 0.1 + 0.2, 7),
    l2=(0.0, 1e-30, 0.1 + 0.2),
    momentum=Range("lin", 0.0, 0.9, 4),
    b1=(0.8,),
    b2=(0.99, 0.95),
    weight_decay=(1.0, 1e22),
    label_smoothing=(0.0, 0.1),
    warmup=(0.25,),
    init_scale=(1.0,),
    seeds=(3, 2**32 - 1),
    folds=5,
    sample=100,
    sample_seed=9,
    halving=3,
    sweep_file=GRIDS,
    select_by="val_accuracy",
    choice="one_standard_error",
    table=("features", "loss"),
    gradient="autodiff",
    precision="high",
    tile_width=32,
    num_shards=4,
    shard_index=2,
)
# The one flag that takes the place of another.
BY_C = dataclasses.replace(EVERYTHING, l2=None, C=(0.1 + 0.2, 1e30, float("inf")))


@pytest.fixture
def parse(monkeypatch):
    """Returns the configuration that a command line makes, with flags of its own."""

    def parse(*arguments, defaults=None):
        monkeypatch.setattr(options, "FLAGS", absl_flags.FlagValues())
        options.define(defaults or Config())
        options.FLAGS(["script", *arguments])
        return options.from_flags()

    return parse


def test_every_field_has_a_flag_with_its_help(parse):
    parse()
    for field in dataclasses.fields(Config):
        assert options.FLAGS[field.name].help == field.metadata["help"]
        assert field.metadata["help"].endswith(".")


def test_everything_a_run_takes_is_a_flag():
    swept = {field.name for field in dataclasses.fields(Static)}
    names = {field.name for field in dataclasses.fields(Config)}
    # The data says how many classes there are; label_smoothing, whether any is.
    assert swept - {"num_classes", "smoothed"} | set(Hparams._fields) <= names
    for name in (*Hparams._fields, "C"):
        axis = Axis | None if name in ("l2", "C") else Axis
        assert Config.__dataclass_fields__[name].type == axis


@pytest.mark.parametrize("config", [Config(), EVERYTHING, BY_C])
def test_a_configuration_survives_its_flagfile(config, parse, tmp_path):
    flagfile = tmp_path / "flags.txt"
    flagfile.write_text(options.to_flagfile(config))
    assert parse(f"--flagfile={flagfile}") == config


@pytest.mark.parametrize("config", [EVERYTHING, BY_C])
def test_defaults_of_a_script_survive_too(config, parse):
    assert parse(defaults=config) == config


def test_a_penalty_that_is_given_takes_the_place_of_the_default_in_the_other_unit(
    parse,
):
    one = (1.0,)
    assert (parse("--C=1").l2, parse("--C=1").C) == (None, one)
    config = parse("--l2=1", defaults=BY_C)
    assert (config.l2, config.C) == (one, None)
    # Both are kept, so that whoever checks can refuse them.
    config = parse("--l2=1", "--C=1")
    assert (config.l2, config.C) == (one, one)


def test_everything_differs_from_its_default():
    """Or the tests above would show less than they seem to."""
    same = {k for k, v in vars(EVERYTHING).items() if v == getattr(Config(), k)}
    assert same == {*options.NOT_COMPARED, "C"}


def test_what_changes_no_result_is_not_compared(parse):
    given = {
        "out_dir": "runs/1",
        "memory_budget": "8GiB",
        "devices": "all",
        "tiles_at_once": "2",
        "tensorboard": "true",
        "checkpoint_every": "1.5",
        "compilation_cache": "none",
    }
    assert set(given) == set(options.NOT_COMPARED)
    config = parse(*(f"--{name}={value}" for name, value in given.items()))
    assert config.tiles_at_once == 2
    assert config.tensorboard is True
    assert config.checkpoint_every == 1.5
    assert options.compared(config) == options.compared(Config())
    assert options.to_flagfile(config) == options.to_flagfile(Config())
    assert options.compared(EVERYTHING) != options.compared(Config())


def test_what_is_compared_fits_json_and_keeps_ranges_short():
    compared = formats.plain(options.compared(EVERYTHING))
    assert compared["learning_rate"] == "log:0.001:0.30000000000000004:7"
    assert compared["l2"] == [0.0, 1e-30, 0.1 + 0.2]
    assert compared["batch_size"] == [16, 32]


def test_a_sweep_file_becomes_its_text_so_that_the_flags_replay_alone(parse, tmp_path):
    path = tmp_path / "grids.json"
    path.write_text(GRIDS.replace("{", "{\n  ").replace(":", ": "))
    config = parse(f"--sweep_file={path}")
    path.unlink()
    assert config.sweep_file == GRIDS.replace("log:0.1:1:3", "log: 0.1: 1: 3")
    flagfile = tmp_path / "flags.txt"
    flagfile.write_text(options.to_flagfile(config))
    assert parse(f"--flagfile={flagfile}") == config


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "--learning_rate=fast",
            "=fast: found 'fast'; expected numbers",
        ),
        ("--l2=log:0:1:3", r"--l2=log:0:1:3: .*both above 0"),
        ("--epochs=ten", "--epochs=ten: found 'ten'; expected integers"),
        ("--batch_size=1.5", "--batch_size=1.5: found '1.5'; expected integers"),
        ("--folds=many", "--folds=many"),
        ("--checkpoint_every=often", "--checkpoint_every=often"),
    ],
)
def test_text_that_is_no_value_is_refused_with_its_flag(argument, message, parse):
    with pytest.raises(absl_flags.IllegalFlagValueError, match=message):
        parse(argument)
