"""Configurations as flags: every one survives its flagfile, on all ways back."""

import dataclasses

import pytest
from absl import flags as absl_flags
from hypothesis import given, settings
from hypothesis import strategies as st

from linclf_jax.cli import options
from linclf_jax.config import flat
from linclf_jax.config.parts import RuntimeConfig, SchedulerConfig
from linclf_jax.config.path import PathConfig
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.runs import formats
from linclf_jax.training.search_space import Axis, Range
from linclf_jax.training.settings import Hparams, Static

KINDS = [SweepConfig, PathConfig, ProbeConfig]
GRIDS = '{"grids":[{"optimizer":"lars","learning_rate":[1,3]},{"l2":"log:0.1:1:3"}]}'
every_kind = pytest.mark.parametrize("kind", KINDS)

# What flags.txt refuses to hold: line breaks, and blanks at the end of a line.
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"))
_ENDED = _TEXTS.filter(lambda text: f"={text}" == f"={text}".rstrip())
_FLOATS = st.floats(allow_nan=False)
_POSITIVE = st.floats(min_value=1e-300, max_value=1e300)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_COUNTS = st.integers(1, 100_000)
_AXES = st.one_of(
    st.lists(_FLOATS).map(tuple),
    st.builds(Range, st.just("log"), _POSITIVE, _POSITIVE, _COUNTS),
    st.builds(Range, st.just("lin"), _FINITE, _FINITE, _COUNTS),
)
_VALUES = {
    bool: st.booleans(),
    int: st.integers(-(2**40), 2**40),
    float: _FLOATS,
    str: _ENDED,
    Axis: _AXES,
    tuple[str, ...]: st.lists(_TEXTS).map(tuple),
    tuple[int, ...]: st.lists(st.integers()).map(tuple),
}
_VALUES |= {kind | None: st.none() | values for kind, values in _VALUES.items()}

_WRONG = {int: -1, float: float("inf"), str: "x", int | None: -1, str | None: "x"}
_WRONG |= {tuple[str, ...]: ("x",), tuple[int, ...]: (-1,)}


@st.composite
def configurations(draw, kind):
    """Draws every flag that is compared, and one of the two penalties."""
    compared = [flag for flag in flat.flags(kind()) if flag.is_compared]
    values = {flag.name: draw(_VALUES[flag.type]) for flag in compared}
    values |= {"l2": None, "C": None, draw(st.sampled_from(["l2", "C"])): draw(_AXES)}
    if "grid_file" in values:
        values["grid_file"] = draw(st.sampled_from([None, GRIDS]))
    return flat.build(kind(), values)


def parse(*arguments, defaults):
    """Returns the configuration that a command line makes."""
    flag_values = absl_flags.FlagValues()
    options.define(defaults, flag_values)
    flag_values(["script", *arguments])
    return options.from_flags(defaults, flag_values)


@every_kind
@settings(max_examples=50, derandomize=True, deadline=None)
@given(data=st.data())
def test_a_configuration_survives_its_flagfile(kind, data, tmp_path_factory):
    config = data.draw(configurations(kind))
    path = tmp_path_factory.mktemp("flags") / "flags.txt"
    path.write_text(flat.to_flagfile(config), encoding="utf-8")
    assert flat.read(path, kind) == config
    assert parse(f"--flagfile={path}", defaults=kind()) == config
    assert parse(defaults=config) == config
    formats.plain(flat.compared(config))


@pytest.mark.parametrize(
    "values",
    [
        {"label_column": "a\nb"},
        {"label_column": "a\rb"},
        {"label_column": "blank\u2028"},
        {"label_column": " "},
        {"label_column": "\udc80"},
        {"drop_columns": ("a", "b\nc")},
    ],
)
def test_a_text_that_a_flagfile_cannot_hold_is_refused_with_its_flag(values):
    (name,) = values
    with pytest.raises(
        ValueError, match=f"^--{name} is .*, which flags.txt cannot hol"
    ):
        flat.validate(flat.build(PathConfig(), values))


@every_kind
def test_flags_have_names_of_their_own_and_a_sentence_of_help(kind):
    flags = list(flat.flags(kind()))
    assert len({flag.name for flag in flags}) == len(flags)
    assert all(flag.help.endswith(".") for flag in flags)
    flat.validate(kind())


@every_kind
def test_a_value_that_is_not_allowed_is_refused_with_its_flag(kind):
    checked = [flag for flag in flat.flags(kind()) if flag.check is not None]
    assert checked
    for flag in checked:
        config = flat.build(kind(), {flag.name: _WRONG[flag.type]})
        with pytest.raises(ValueError, match=f"^--{flag.name} is .*; expected "):
            flat.validate(config)


def test_everything_that_a_trial_takes_is_a_flag():
    types = {flag.name: flag.type for flag in flat.flags(SweepConfig())}
    choices = {field.name for field in dataclasses.fields(Static)}
    # The data says how many classes there are; label_smoothing, whether any is.
    assert choices - {"num_classes", "smoothed"} <= set(types)
    for name in (*Hparams._fields, "C"):
        assert types[name] == (Axis | None if name in ("l2", "C") else Axis)


def test_what_changes_no_result_is_not_compared():
    given = {
        "out_dir": "runs/1",
        "compilation_cache": "none",
        "memory_budget": "8GiB",
        "devices": "all",
        "concurrent_batches": 2,
        "checkpoint_every": 1.5,
        "tensorboard": True,
    }
    fields = [*dataclasses.fields(RuntimeConfig), *dataclasses.fields(SchedulerConfig)]
    assert set(given) == {field.name for field in fields}
    arguments = (f"--{name}={value}" for name, value in given.items())
    config = parse(*arguments, defaults=SweepConfig())
    assert {**vars(config.runtime), **vars(config.scheduler)} == given
    assert flat.compared(config) == flat.compared(SweepConfig())
    assert flat.to_flagfile(config) == flat.to_flagfile(SweepConfig())


def test_what_is_compared_keeps_ranges_short():
    values = {"learning_rate": Range("log", 1e-3, 0.1 + 0.2, 7), "l2": (0.0, 0.1 + 0.2)}
    compared = formats.plain(flat.compared(flat.build(SweepConfig(), values)))
    assert compared["learning_rate"] == "log:0.001:0.30000000000000004:7"
    assert compared["l2"] == [0.0, 0.1 + 0.2]
    assert compared["C"] is None


def test_a_list_may_be_typed_with_blanks_and_escapes():
    config = parse(r'--drop_columns=a\,b, c ,,"", " d"', defaults=SweepConfig())
    assert config.data.drop_columns == ("a,b", "c", "", " d")
    assert '--drop_columns=a\\,b,c,""," d"\n' in flat.to_flagfile(config)


def test_a_part_keeps_what_is_not_named():
    config = flat.build(PathConfig(), {"metric": "val_accuracy", "learning_rate": ()})
    assert config.selection == dataclasses.replace(
        PathConfig().selection, metric="val_accuracy"
    )
    assert config.penalty == PathConfig().penalty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--choice=min\n", "found '--choice=min', which is no flag of this study"),
        ("epochs\n", "found 'epochs'"),
        ("--epochs=ten\n", "found 'ten'; expected integers"),
        ("--l2=1\n--C=1\n", "of --l2 and --C both are given"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_flagfile_is_named(text, message, tmp_path):
    path = tmp_path / "flags.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=rf"flags\.txt.*{message}"):
        flat.read(path, SweepConfig)
