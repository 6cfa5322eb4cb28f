"""What the flags of a sweep make: data, trials, and what is refused before any fit."""

import importlib.util

import numpy as np
import pytest

from linclf_jax.config import flat
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.selection import ranking
from linclf_jax.studies import pipeline
from tests import sweeps


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


def test_trials_are_numbered_and_have_the_columns_of_the_contract():
    fitted = sweeps.fit(optimizer=("momentum", "adam"), learning_rate=(0.01, 1e30))
    rows = fitted.results.rows
    assert [row["trial"] for row in rows] == list(range(2 * 2 * 2 * 2))
    columns = "trial optimizer learning_rate l2 seed fold status train_loss val_loss"
    for row in rows:
        assert {*columns.split(), "train_accuracy", "val_accuracy", "steps"} <= {*row}
        assert (row["status"] == "ok") == (row["learning_rate"] < 1)
    history = fitted.results.history
    assert history["trial"].tolist() == list(range(16))
    assert history["val_loss"].shape == history["train_loss"].shape == (16, 12)
    good = [row["trial"] for row in rows if row["status"] == "ok"]
    for name in ("val_loss", "val_accuracy"):
        ends = [rows[trial][name] for trial in good]
        np.testing.assert_allclose(history[name][good, -1], ends, rtol=1e-6)
    assert not np.allclose(history["train_loss"][good], history["val_loss"][good])


@pytest.mark.parametrize("folds", [0, 3])
def test_penalties_by_inverse_strength_are_those_of_l2_and_rows_say_both(folds):
    """Of iris 90 rows train, of three folds 80 each, and C is meant for all 120."""
    small = {"learning_rate": (0.1,), "seeds": (0,), "epochs": (4,), "folds": folds}
    fitted = sweeps.fit(**small, C=(10.0, 1.0))
    rows, count = fitted.results.rows, 120 if folds else 90
    repeats = [1] * (folds or 1)
    l2s = [1 / (10 * count), 1 / count]
    assert [row["l2"] for row in rows] == [l2 for l2 in l2s for _ in repeats]
    own = 1.5 if folds else 1.0
    strengths = [C * own for C in (10.0, 1.0) for _ in repeats]
    assert [row["C"] for row in rows] == pytest.approx(strengths, rel=1e-14)
    assert {trial.num_rows for trial in fitted.study.trials} == {80 if folds else 90}
    assert ranking.varying([row for row in rows if not row["fold"]]) == ["l2"]
    assert len(ranking.rank_settings(rows, metric="val_loss")) == 2
    assert sweeps.fit(**small, l2=tuple(l2s)).results.rows == rows


def test_what_has_no_strength_has_none_in_its_row():
    flags = {"learning_rate": (0.1,), "seeds": (0,), "epochs": (4,)}
    losses = ("softmax_cross_entropy", "weston_watkins_hinge")
    mixed = sweeps.fit(**flags, loss=losses, metric="val_accuracy", l2=(0.0, 0.5))
    assert [row["C"] for row in mixed.results.rows] == [None, 1 / 45, None, None]


def test_the_strength_of_separate_labels_is_not_twice_that_of_one_for_two_classes():
    losses = ("softmax_cross_entropy", "sigmoid_cross_entropy")
    flags = {"learning_rate": (0.1,), "seeds": (0,), "epochs": (1,), "l2": (0.5,)}
    flags |= {"dataset": "breast_cancer", "metric": "val_accuracy", "loss": losses}
    fitted = sweeps.fit(**flags)
    num_rows = fitted.study.trials[0].num_rows
    strengths = [row["C"] for row in fitted.results.rows]
    assert strengths == [2 / (0.5 * num_rows), 1 / (0.5 * num_rows)]


def test_of_separate_labels_strength_does_not_depend_on_their_number():
    flags = {"learning_rate": (0.1,), "seeds": (0,), "epochs": (4,), "l2": (0.5,)}
    losses, metric = ("softmax_cross_entropy", "sigmoid_cross_entropy"), "val_accuracy"
    rows = sweeps.fit(
        **flags, loss=losses, metric=metric, dataset="breast_cancer"
    ).results.rows
    softmax, sigmoid = (1 / (0.5 * row["C"]) for row in rows)
    assert sigmoid == 2 * softmax
    assert sigmoid == rows[1]["C"] ** -1 * 2


def test_flags_and_warnings_are_in_the_unit_that_was_given(tmp_path):
    flags = {"learning_rate": (0.1,), "seeds": (0,), "epochs": (4,)}
    study = sweeps.prepare(**flags, C=(10.0, 1.0))
    selected = pipeline.run(study, tmp_path / "run").selected
    text = (tmp_path / "run" / "flags.txt").read_text(encoding="utf-8")
    assert "--C=10.0,1.0\n" in text
    assert "--l2" not in text
    assert flat.read(tmp_path / "run" / "flags.txt", SweepConfig) == study.plan.config
    (entry,) = selected["entries"]
    assert "is the smallest of the grid; widen --C" in "\n".join(entry["warnings"])


def test_what_results_depend_on_is_not_left_open_in_the_configuration():
    study = sweeps.prepare(trials_per_batch=None)
    assert study.width == study.plan.config.search.trials_per_batch == 128
    assert sweeps.prepare(sample=3).plan.has_edges is False
    shard = sweeps.prepare(num_shards=2, shard_index=1)
    assert shard.plan.shard == (1, 2)


def test_a_grid_file_says_what_flags_cannot():
    text = (
        '{"grids": [{"optimizer": "sgd", "learning_rate": [0.1]}, '
        '{"optimizer": "adam", "batch_size": [8, 16], "l2": [0.5]}]}'
    )
    trials = sweeps.prepare(grid_file=text, learning_rate=(0.01,)).trials
    assert [
        (t.static.optimizer, t.static.batch_size, *map(float, t.hparams[:2]))
        for t in trials[::2]
    ] == [
        ("sgd", 90, 0.1, 0.0),
        ("sgd", 90, 0.1, 0.01),
        ("adam", 8, 0.01, 0.5),
        ("adam", 16, 0.01, 0.5),
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dataset": "imagenet"}, "imagenet.*digits, iris"),
        ({"features": ("hog",)}, "'hog' are of images; the rows here are none"),
        ({"batch_size": (91,)}, "--batch_size is 91; expected 1 to 90"),
        ({"folds": 2, "batch_size": (121,)}, "--batch_size is 121; expected 1 to 120"),
        ({"folds": 121}, "--folds is 121; .* lower --folds"),
        ({"trials_per_batch": 0}, "--trials_per_batch is 0; expected 1 to"),
        ({"trials_per_batch": 10**9}, "--trials_per_batch is 1000000000"),
        ({"l2": (-0.1,)}, "--l2 holds -0.1"),
        ({"l2": (0.1, 0.1000000001)}, "--l2 has 2 values, 1 of them distinct"),
        ({"learning_rate": (1e39,)}, "--learning_rate holds 1e.39, in float32 inf"),
        ({"b2": (0.99999999,)}, "--b2 holds 0.99999999, in float32 1; .* below 1"),
        ({"memory_budget": "8 apples"}, "--memory_budget is '8 apples'"),
        ({"keep": "first"}, "--keep is 'first'; expected one of last, best"),
        ({"split_seed": -1}, "--split_seed is -1"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_compiled(flags, message, monkeypatch):
    monkeypatch.setattr("linclf_jax.training.execution.build", pytest.fail)
    with pytest.raises(ValueError, match=message):
        sweeps.prepare(**flags)


def test_tensorboard_is_asked_for_before_hours_of_training(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'linclf_jax\[tensorboard\]'"):
        sweeps.prepare(tensorboard=True)
