"""The comparison of criteria: a draw once, its scores by hand, a table of all."""

import numpy as np
import pytest

from experiments.benchmarks import selection, selection_problems
from experiments.benchmarks.selection import Settings
from linclf_jax.selection import ranking

SETTINGS = Settings(l2s=(0.1, 0.01), folds=2, tol=1e-3)


def test_a_draw_is_measured_once_and_kept():
    kept = []
    given = (("wine",), (0,), selection_problems.draw, SETTINGS)
    rows = selection.run(*given, keep=kept.append)
    assert rows == kept
    (row,) = rows
    for by in ranking.METRICS:
        assert row[by]["l2"] in SETTINGS.l2s
        assert 0.9 < row[by]["accuracy"] <= 1
        assert 0 < row[by]["loss"] < 0.3
    assert selection.run(*given, done=rows, keep=kept.append) == rows
    assert len(kept) == 1
    lines = selection.table(rows).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(f"| wine | 1 | {row['val_loss']['accuracy']:.4f} | ")


def test_differences_are_paired_and_equal_means_share_a_rank():
    scores = {"a": [(0.5, 0.6, 0.6), (0.7, 0.9, 0.9)], "b": [(0.5, 0.5, 0.5)] * 2}
    rows = [
        {
            "problem": name,
            **{
                by: {"accuracy": value, "loss": -value}
                for by, value in zip(ranking.METRICS, values, strict=True)
            },
        }
        for name, draws in scores.items()
        for values in draws
    ]
    mean, error = selection.difference(rows[:2], "val_accuracy", "accuracy")
    assert (mean, error) == (pytest.approx(0.15), pytest.approx(0.05))
    ranks = {"val_loss": 2.5, "val_accuracy": 1.75, "val_loss_calibrated": 1.75}
    for score in selection.SCORES:
        assert selection.ranks(rows, score) == ranks


@pytest.mark.parametrize("name", ["gaussian", "noisy", "correlated", "digits"])
def test_problems_are_what_their_seed_draws(name):
    one, same, other = (selection_problems.draw(name, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.x, same.x)
    assert not np.array_equal(one.labels, other.labels)
    assert len(one.x) == len(one.labels)
    assert one.x.dtype == one.test_x.dtype == np.float32
    constant = one.x.std(axis=0) == 0  # pixels that are never lit
    np.testing.assert_allclose(one.x.std(axis=0)[~constant], 1, rtol=1e-4)
