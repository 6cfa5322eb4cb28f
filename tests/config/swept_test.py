"""From flags to points, and every refusal on the way."""

import dataclasses
import json

import pytest

from linclf_jax.cli.options import Config
from linclf_jax.config import search_space as swept
from linclf_jax.training import search_space as space
from linclf_jax.training.search_space import Range
from linclf_jax.training.settings import Static


def points(config=None, **changes):
    config = dataclasses.replace(config or Config(), **changes)
    return swept.points(config, num_classes=3, num_rows=90)


def grids(*overrides):
    return json.dumps({"grids": overrides})


def test_default_batch_is_128_or_all_rows():
    for num_rows, expected in ((1000, 128), (90, 90)):
        (static,) = swept.statics(Config(), num_classes=3, num_rows=num_rows)
        assert static.batch_size == expected


def test_static_choices_are_the_product_of_all_groups():
    config = Config(
        loss=("softmax_cross_entropy", "weston_watkins_hinge"),
        optimizer=("sgd", "adam"),
        schedule=("constant", "cosine"),
        batch_size=(16, 32),
        epochs=(1, 2),
        preprocessing=("none", "standardize"),
        gradient="autodiff",
        precision="high",
    )
    statics = swept.statics(config, num_classes=3, num_rows=90)
    assert len(set(statics)) == len(statics) == 2**6
    first = Static(
        num_classes=3,
        loss="softmax_cross_entropy",
        optimizer="sgd",
        schedule="constant",
        batch_size=16,
        epochs=1,
        preprocessing="none",
        gradient="autodiff",
        precision="high",
    )
    assert statics[0] == first
    # The groups from the fastest to the slowest to change.
    assert statics[1] == dataclasses.replace(first, preprocessing="standardize")
    assert statics[2] == dataclasses.replace(first, epochs=2)
    assert statics[4] == dataclasses.replace(first, batch_size=32)
    assert statics[8] == dataclasses.replace(first, schedule="cosine")
    assert statics[16] == dataclasses.replace(first, optimizer="adam")
    assert statics[32] == dataclasses.replace(first, loss="weston_watkins_hinge")


def test_points_are_the_grid_or_the_sample_of_all_axes():
    config = Config(
        optimizer=("sgd", "adam"),
        learning_rate=Range("log", 0.01, 1.0, 3),
        b1=(0.8, 0.9),
        label_smoothing=(0.0, 0.1),
    )
    statics = swept.statics(config, num_classes=3, num_rows=90)
    axes = swept.axes(config, num_classes=3, num_rows=90)
    assert points(config) == space.grid(statics, axes)
    assert len(points(config)) == 3 * 2 + 3 * 2 * 2
    drawn = points(config, sample=20, sample_seed=5)
    assert drawn == space.sample(statics, axes, count=20, seed=5)


def test_each_grid_of_a_sweep_file_overrides_flags_and_follows_the_one_before():
    config = Config(optimizer=("sgd",), l2=(0.0, 0.1), epochs=(7,))
    file = grids(
        {"optimizer": ["adam", "lion"], "learning_rate": "log:0.01:1:3", "epochs": 2},
        {"optimizer": "lars", "learning_rate": [1, 3], "l2": 0},
        {"learning_rate": 0.5},
    )
    expected = (
        *points(
            config,
            optimizer=("adam", "lion"),
            learning_rate=Range("log", 0.01, 1.0, 3),
            epochs=(2,),
        ),
        *points(config, optimizer=("lars",), learning_rate=(1.0, 3.0), l2=(0.0,)),
        *points(config, learning_rate=(0.5,)),
    )
    assert points(config, sweep_file=file) == expected
    assert len(expected) == 12 + 2 + 2


def test_a_sample_of_a_sweep_file_draws_from_each_grid():
    rates = "log:0.01:1:3"
    file = grids(*({"optimizer": n, "learning_rate": rates} for n in ("sgd", "adam")))
    found = points(sweep_file=file, sample=5)
    assert [point.static.optimizer for point in found] == ["sgd"] * 5 + ["adam"] * 5


def test_a_point_in_two_grids_is_refused():
    first = {"optimizer": "adam", "learning_rate": [0.1, 0.2], "momentum": 0.5}
    second = {"optimizer": "adam", "learning_rate": [0.3, 0.2], "momentum": 0.9}
    message = (
        "--sweep_file, grid 2: adam with learning_rate 0.2, .* is in --sweep_file, "
        "grid 1 already"
    )
    # Adam has no momentum: it is the same run.
    with pytest.raises(ValueError, match=message):
        points(sweep_file=grids(first, second))
    assert len(points(sweep_file=grids(first, {**second, "b1": 0.5}))) == 4
    assert len(points(sweep_file=grids(first, {**second, "batch_size": 8}))) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": ()}, "--optimizer is empty; expected at least one value"),
        ({"batch_size": ()}, "--batch_size is empty"),
        ({"seeds": ()}, "--seeds is empty"),
        ({"epochs": (5, 5)}, "--epochs is 5,5; expected no repetition"),
        ({"seeds": (1, 2, 1)}, "--seeds is 1,2,1; expected no repetition"),
        ({"loss": ("a", "a")}, "--loss is a,a; expected no repetition"),
        ({"preprocessing": ("zca",)}, "preprocessing 'zca', expected one of none"),
        ({"optimizer": ("sgd", "x")}, "--optimizer is 'x'; expected one of sgd"),
        ({"schedule": ("step",)}, "--schedule is 'step'; expected one of constant"),
        ({"gradient": "numerical"}, "--gradient is 'numerical'"),
        ({"precision": "half"}, "--precision is 'half'"),
        ({"batch_size": (8, 91)}, "--batch_size is 91; expected 1 to 90"),
        ({"epochs": (0,)}, "--epochs is 0; expected 1 to"),
        ({"learning_rate": ()}, "--learning_rate is empty"),
        ({"label_smoothing": (1.0,)}, "--label_smoothing holds 1; .* below 1"),
        ({"select_by": "test_loss"}, "--select_by is 'test_loss'"),
        (
            {"select_by": "val_loss_calibrated"},
            "--select_by is 'val_loss_calibrated', which takes the logits .*; expected "
            "one of val_loss, val_accuracy; experiments.path",
        ),
        ({"seeds": (-1,)}, "--seeds is -1"),
        ({"split_seed": 2**32}, "--split_seed is 4294967296"),
        ({"sample_seed": -1}, "--sample_seed is -1"),
        ({"sample": 0}, "--sample is 0; expected at least 1"),
        ({"sample": 10**7}, "--sample is 10000000; expected 1 to 1000000"),
        ({"folds": 1}, "--folds is 1; expected at least 2, or 0"),
        ({"folds": -2}, "--folds is -2; expected at least 2, or 0"),
        ({"halving": 1}, "--halving is 1; expected at least 2"),
        ({"num_shards": 0}, "--num_shards is 0; expected at least 1"),
        ({"shard_index": 1}, "--shard_index is 1; expected 0 to 0"),
        ({"num_shards": 3, "shard_index": 3}, "--shard_index is 3; expected 0 to 2"),
        ({"num_shards": 3, "shard_index": -1}, "--shard_index is -1; expected 0 to 2"),
        ({"num_shards": 2, "halving": 2}, "--halving .* 2 jobs .* --num_shards=1"),
        ({"epochs": (5, 10), "halving": 2}, "--halving .* --epochs, found 5, 10"),
        (
            {"sweep_file": grids({"epochs": 3}, {"epochs": 4}), "halving": 2},
            "--halving .* --epochs, found 3, 4",
        ),
        ({"devices": "0"}, "--devices is '0'; expected a number of at least 1, or all"),
        ({"devices": "two"}, "--devices is 'two'"),
        ({"devices": "-1"}, "--devices is '-1'"),
        ({"tiles_at_once": 0}, "--tiles_at_once is 0; expected at least 1"),
        ({"checkpoint_every": -1.0}, "--checkpoint_every is -1.0; expected seconds"),
        ({"checkpoint_every": float("nan")}, "--checkpoint_every is nan"),
        (
            {"sweep_file": grids({"l2": 0}, {"optimizer": ["adam", "x"]})},
            "--sweep_file, grid 2: --optimizer is 'x'; expected one of sgd",
        ),
        (
            {"sweep_file": grids({"epochs": [3, 3]})},
            "--sweep_file, grid 1: --epochs is 3,3; expected no repetition",
        ),
        (
            {"sweep_file": grids({"momentum": 1})},
            "--sweep_file, grid 1: --momentum holds 1; .* below 1",
        ),
    ],
)
def test_bad_flags_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        points(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"folds": 2, "halving": 2, "devices": "all", "tiles_at_once": 1},
        {"num_shards": 3, "shard_index": 2, "devices": "8", "checkpoint_every": 0.0},
        {"sample": 1},
        {"halving": 2, "sweep_file": grids({"epochs": 3}, {"epochs": 3, "l2": 0})},
    ],
)
def test_what_is_allowed_is_not_refused(changes):
    assert points(**changes)


@pytest.mark.parametrize("by_file", [False, True])
def test_losses_that_do_not_compare_are_not_ranked_by_their_values(by_file):
    names = ("softmax_cross_entropy", "weston_watkins_hinge")
    changes = {"loss": names}
    if by_file:
        changes = {"sweep_file": grids(*({"loss": name} for name in names))}
    with pytest.raises(ValueError, match="--select_by is val_loss; expected val_accur"):
        points(**changes)
    assert len(points(select_by="val_accuracy", **changes)) == 2
