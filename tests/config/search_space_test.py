"""From flags to candidates, and every refusal on the way."""

import dataclasses
import itertools
import json

import pytest

from linclf_jax.config import flat, search_space, sweep
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.training import search_space as space
from linclf_jax.training.search_space import Range
from linclf_jax.training.settings import Static

SIZE = {"num_classes": 3, "num_rows": 90}
HINGE = "weston_watkins_hinge"


def candidates(**changes):
    config = flat.build(SweepConfig(), changes)
    sweep.validate(config)
    return search_space.candidates(config, **SIZE)


def grids(*overrides):
    return json.dumps({"grids": overrides})


@pytest.mark.parametrize(("num_rows", "expected"), [(1000, 128), (90, 90)])
def test_default_batch_is_128_or_all_rows(num_rows, expected):
    training = SweepConfig().training
    (static,) = search_space.statics(training, num_classes=3, num_rows=num_rows)
    assert static.batch_size == expected


def test_static_choices_are_the_product_of_all_groups():
    groups = {  # from the slowest to the fastest to change
        "loss": ("softmax_cross_entropy", HINGE),
        "optimizer": ("sgd", "adam"),
        "schedule": ("constant", "cosine"),
        "batch_size": (16, 32),
        "epochs": (1, 2),
        "preprocessing": ("none", "standardize"),
    }
    one = {"gradient": "autodiff", "precision": "high"}
    training = dataclasses.replace(SweepConfig().training, **groups, **one)
    statics = search_space.statics(training, **SIZE)
    products = itertools.product(*groups.values())
    assert statics == tuple(
        Static(num_classes=3, **one, **dict(zip(groups, choice, strict=True)))
        for choice in products
    )


def test_candidates_are_the_grid_or_the_sample_of_all_axes():
    values = {
        "optimizer": ("sgd", "adam"),
        "learning_rate": Range("log", 0.01, 1.0, 3),
        "b1": (0.8, 0.9),
        "label_smoothing": (0.0, 0.1),
    }
    config = flat.build(SweepConfig(), values)
    statics = search_space.statics(config.training, **SIZE)
    axes = search_space.axes(config.training, config.penalty, **SIZE)
    grid = candidates(**values)
    assert grid == space.grid(statics, axes)
    assert len(grid) == 3 * 2 + 3 * 2 * 2
    drawn = candidates(**values, sample=20, sample_seed=5)
    assert drawn == space.sample(statics, axes, count=20, seed=5)


def test_each_grid_of_a_file_overrides_flags_and_follows_the_one_before():
    flags = {"optimizer": ("sgd",), "l2": (0.0, 0.1), "epochs": (7,)}
    file = grids(
        {"optimizer": ["adam", "lion"], "learning_rate": "log:0.01:1:3", "epochs": 2},
        {"optimizer": "lars", "learning_rate": [1, 3], "l2": 0},
        {"learning_rate": 0.5},
    )
    first = {"optimizer": ("adam", "lion"), "epochs": (2,)}
    first["learning_rate"] = Range("log", 0.01, 1.0, 3)
    second = {"optimizer": ("lars",), "learning_rate": (1.0, 3.0), "l2": (0.0,)}
    parts = [first, second, {"learning_rate": (0.5,)}]
    expected = [candidates(**{**flags, **part}) for part in parts]
    assert list(map(len, expected)) == [12, 2, 2]
    assert candidates(**flags, grid_file=file) == tuple(itertools.chain(*expected))


def test_a_sample_of_a_grid_file_draws_from_each_grid():
    rates = "log:0.01:1:3"
    file = grids(*({"optimizer": n, "learning_rate": rates} for n in ("sgd", "adam")))
    names = [each.static.optimizer for each in candidates(grid_file=file, sample=5)]
    assert names == ["sgd"] * 5 + ["adam"] * 5


def test_a_candidate_in_two_grids_is_refused():
    first = {"optimizer": "adam", "learning_rate": [0.1, 0.2], "momentum": 0.5}
    second = {"optimizer": "adam", "learning_rate": [0.3, 0.2], "momentum": 0.9}
    message = (
        "--grid_file, grid 2: adam with learning_rate 0.2, .* is in --grid_file, "
        "grid 1 already"
    )
    # Adam has no momentum: it is the same run.
    with pytest.raises(ValueError, match=message):
        candidates(grid_file=grids(first, second))
    assert len(candidates(grid_file=grids(first, {**second, "b1": 0.5}))) == 4
    assert len(candidates(grid_file=grids(first, {**second, "batch_size": 8}))) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": ()}, "--optimizer is empty; expected at least one value"),
        ({"epochs": (5, 5)}, "--epochs is 5,5; expected no repetition"),
        ({"seeds": (1, 2, 1)}, "--seeds is 1,2,1; expected no repetition"),
        (
            {"loss": (HINGE, HINGE)},
            f"--loss is {HINGE},{HINGE}; expected no repetition",
        ),
        ({"preprocessing": ("zca",)}, "preprocessing 'zca', expected one of none"),
        ({"l2": (-0.1,)}, "--l2 holds -0.1"),
        ({"l2": (0.1, 0.1000000001)}, "--l2 has 2 values, 1 of them distinct"),
        ({"learning_rate": (1e39,)}, "--learning_rate holds 1e.39, in float32 inf"),
        ({"batch_size": (8, 91)}, "--batch_size is 91; expected 1 to 90"),
        ({"epochs": (0,)}, "--epochs is 0; expected 1 to"),
        ({"learning_rate": ()}, "--learning_rate is empty"),
        (
            {"metric": "val_loss_calibrated"},
            "--metric is 'val_loss_calibrated', which takes the logits .*; expected "
            "one of val_loss, val_accuracy; experiments.path",
        ),
        ({"seeds": (-1,)}, "--seeds is -1; expected an integer in 0..4294967295"),
        ({"select_per": ("l2", "l2")}, "--select_per is l2,l2; expected no repetition"),
        ({"sample": 10**7}, "--sample is 10000000; expected 1 to 1000000"),
        ({"folds": 1}, "--folds is 1; expected at least 2, or 0"),
        ({"halving": 1}, "--halving is 1; expected at least 2"),
        ({"num_shards": 3, "shard_index": 3}, "--shard_index is 3; expected 0 to 2"),
        ({"num_shards": 3, "shard_index": -1}, "--shard_index is -1; expected 0 to 2"),
        ({"num_shards": 2, "halving": 2}, "--halving .* 2 jobs .* --num_shards=1"),
        ({"epochs": (5, 10), "halving": 2}, "--halving .* --epochs, found 5, 10"),
        (
            {"grid_file": grids({"epochs": 3}, {"epochs": 4}), "halving": 2},
            "--halving .* --epochs, found 3, 4",
        ),
        ({"devices": "0"}, "--devices is '0'; expected a number of at least 1, or all"),
        ({"concurrent_batches": 0}, "--concurrent_batches is 0; expected at least 1"),
        ({"checkpoint_every": -1.0}, "--checkpoint_every is -1.0; expected seconds"),
        ({"checkpoint_every": float("nan")}, "--checkpoint_every is nan"),
        (
            {"grid_file": grids({"l2": 0}, {"optimizer": ["adam", "x"]})},
            "--grid_file, grid 2: --optimizer is 'x'; expected one of sgd",
        ),
        (
            {"grid_file": grids({"epochs": [3, 3]})},
            "--grid_file, grid 1: --epochs is 3,3; expected no repetition",
        ),
    ],
)
def test_bad_flags_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        candidates(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"folds": 2, "halving": 2, "devices": "all", "concurrent_batches": 1},
        {"num_shards": 3, "shard_index": 2, "devices": "8", "checkpoint_every": 0.0},
        {"sample": 1},
        {"halving": 2, "grid_file": grids({"epochs": 3}, {"epochs": 3, "l2": 0})},
    ],
)
def test_what_is_allowed_is_not_refused(changes):
    assert candidates(**changes)


def test_losses_that_do_not_compare_are_not_ranked_by_their_values():
    changes = {"loss": ("softmax_cross_entropy", HINGE)}
    with pytest.raises(ValueError, match="--metric is val_loss; expected val_accur"):
        candidates(**changes)
    by_file = grids({}, {"loss": HINGE})
    with pytest.raises(ValueError, match="--metric is val_loss; expected val_accur"):
        candidates(grid_file=by_file)
    assert len(candidates(metric="val_accuracy", **changes)) == 2
