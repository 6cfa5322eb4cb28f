"""--C in place of --l2: the same lanes, rows that say both, and flags that replay."""

import dataclasses
import math

import numpy as np
import pytest

from experiments import train
from linclf_jax.cli import console, options
from linclf_jax.cli.options import Config
from linclf_jax.config import penalty
from linclf_jax.config import search_space as swept
from linclf_jax.reports import ranking_table
from linclf_jax.runs import directory, record
from linclf_jax.selection import ranking
from linclf_jax.studies import path_problem
from linclf_jax.training import search_space as space
from linclf_jax.training.search_space import Range
from tests import sweeps

SIZE = {"num_rows": 90, "num_classes": 3}
# Of iris, 90 rows train; with folds it is 120, of which three hold out 40 each.
SMALL = dataclasses.replace(
    sweeps.SMALL, loss=("softmax_cross_entropy",), learning_rate=(0.1,), seeds=(0,)
)


def axis(C, **size):
    return penalty.axis(None, C, **{**SIZE, **size})


def points(**changes):
    return swept.points(Config(batch_size=(16,), **changes), **SIZE)


def test_values_become_l2_in_their_order():
    assert axis((1.0, 0.1, math.inf)) == (1 / 90, 1 / 9, 0.0)
    assert axis((1.0,), num_classes=2) == (2 / 90,)
    # Even in C is uneven in l2.
    found = axis(Range("lin", 1.0, 3.0, 3))
    np.testing.assert_allclose(found, [1 / 90, 1 / 180, 1 / 270], rtol=1e-15)


def test_a_range_of_logarithms_stays_one():
    found = axis(Range("log", 1e-2, 1e2, 5))
    assert found == Range("log", 1 / 0.9, 1 / 9000, 5)
    expected = axis((1e-2, 1e-1, 1.0, 1e1, 1e2))
    np.testing.assert_allclose(space.values(found), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("C", "message"),
    [
        ((0.0,), "--C holds 0; expected above 0"),
        ((1.0, -1e-50), "--C holds -1e-50; expected above 0"),
        ((math.nan,), "--C holds nan; expected above 0"),
        ((1e-45,), r"--C holds 1e-45, as l2 out of range: --l2 holds 1\.1+e\+43"),
        ((1.0, 1.0), "--C has 2 values, 1 of them distinct as l2"),
        ((), "--C has 0 values"),
    ],
)
def test_what_is_no_strength_is_refused_by_its_flag(C, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        axis(C)
    with pytest.raises(ValueError, match=message):
        points(l2=None, C=C)
    config = path_problem.Config(l2=None, C=C)
    with pytest.raises(ValueError, match=message):
        path_problem.penalties(config, **SIZE)


@pytest.mark.parametrize("how", [{}, {"sample": 5}])
def test_points_by_either_flag_are_the_same(how):
    C = Range("log", 1e-2, 1e2, 4)
    assert points(l2=None, C=C, **how) == points(l2=axis(C), **how)


def test_a_grid_of_a_sweep_file_may_be_in_the_other_unit():
    by_C = '{"grids": [{"C": [1, 10]}, {"l2": 0.5}, {"optimizer": "adam"}]}'
    by_l2 = (
        f'{{"grids": [{{"l2": [{1 / 90!r}, {1 / 900!r}]}}, {{"l2": 0.5}}, '
        f'{{"optimizer": "adam", "l2": {1 / 90!r}}}]}}'
    )
    assert points(l2=None, C=(1.0,), sweep_file=by_C) == points(sweep_file=by_l2)
    both = '{"grids": [{"C": 1, "l2": 0.5}]}'
    with pytest.raises(ValueError, match="grid 1: of --l2 and --C both are given"):
        points(sweep_file=both)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"C": (1.0,)}, "of --l2 and --C both are given; expected one of the two"),
        ({"l2": None}, "of --l2 and --C neither is given"),
        (
            {"l2": None, "C": (1.0,), "loss": ("weston_watkins_hinge",)},
            "--C is of logistic regression, which --loss=weston_watkins_hinge is not",
        ),
        (
            {"l2": None, "C": Range("lin", 1.0, 2.0, 3), "sample": 2},
            "--C is lin:1:2:3 to draw from, which is even in 1 / l2",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        points(**changes)


@pytest.fixture(scope="module")
def quick():
    with sweeps.quick():
        yield


@pytest.fixture(scope="module")
def finished(quick, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    return sweeps.run(folder, SMALL, l2=None, C=(10.0, 1.0, 0.1))


def test_rows_say_both_and_count_them_as_one_setting(finished):
    rows = directory.read(finished.folder / "results.jsonl")
    assert [row["C"] for row in rows] == pytest.approx([10.0, 1.0, 0.1], rel=1e-15)
    assert [row["l2"] for row in rows] == [1 / 900, 1 / 90, 1 / 9]
    assert "C" not in ranking.settings(rows[0])
    assert ranking.varying(rows) == ["l2"]


def test_flags_replay_by_the_flag_that_was_given(finished, tmp_path):
    text = (finished.folder / "flags.txt").read_text(encoding="utf-8")
    assert "--C=10.0,1.0,0.1\n" in text
    assert "--l2" not in text
    config = options.read(finished.folder / "flags.txt")
    again = sweeps.run(tmp_path / "again", config)
    assert sweeps.contents(again.folder) == sweeps.contents(finished.folder)


def test_tables_and_warnings_are_in_the_unit_that_was_given(finished):
    config = options.read(finished.folder / "flags.txt")
    warnings = "\n".join(finished.selected["warnings"])
    assert "the best l2, 0.00111111, is the smallest of the grid; widen --C" in warnings
    summary = console.summary(*finished, also=penalty.columns(config))
    assert " l2 " in summary
    assert "  C  " in summary
    assert "  C  " not in console.summary(*finished)
    assert "<th>l2</th><th>C</th>" in _headings(finished.folder)


def test_a_table_of_l2_stays_as_it_is(quick, tmp_path):
    outcome = sweeps.run(tmp_path / "l2", SMALL, l2=(0.1, 0.01))
    assert "<th>l2</th><th>validation loss</th>" in _headings(outcome.folder)
    assert {"C", "l2"} <= set(outcome.rows[0])


def _headings(folder):
    """Returns the markup of the table, in one line."""
    return ranking_table.ranking(record.read(folder)).replace("\n", "")


def test_lanes_are_those_of_l2(finished, tmp_path):
    by_l2 = sweeps.run(tmp_path / "l2", SMALL, l2=(1 / 900, 1 / 90, 1 / 9))
    assert by_l2.rows == finished.rows
    row = finished.rows[1]
    alone = train.run(
        dataclasses.replace(SMALL, l2=None, C=(1.0,), out_dir=str(tmp_path / "alone"))
    )
    assert alone.rows == [{**row, "trial": 0}]
    assert train.replay(finished.folder, 1).again["C"] == row["C"]


def test_folds_share_l2_and_have_a_strength_each(quick, tmp_path):
    outcome = sweeps.run(tmp_path / "folds", SMALL, l2=None, C=(1.0, 0.1), folds=3)
    assert [row["l2"] for row in outcome.rows] == [1 / 120] * 3 + [1 / 12] * 3
    # Each fold trains on 80 rows.
    expected = [120 / 80] * 3 + [12 / 80] * 3
    assert [row["C"] for row in outcome.rows] == pytest.approx(expected, rel=1e-14)
    assert outcome.selected["row"]["C"] == pytest.approx(
        1 / (120 * outcome.selected["row"]["l2"]), rel=1e-15
    )
    assert len(ranking.rank_settings(outcome.rows, by="val_loss")) == 2
    assert penalty.columns(options.read(outcome.folder / "flags.txt")) == ()


def test_what_has_no_strength_has_none_in_its_row(quick, tmp_path):
    hinge = {"loss": ("softmax_cross_entropy", "weston_watkins_hinge")}
    outcome = sweeps.run(
        tmp_path / "none", SMALL, **hinge, select_by="val_accuracy", l2=(0.0, 0.5)
    )
    assert [row["C"] for row in outcome.rows] == [None, 1 / 45, None, None]
