"""--C in place of --l2 in a sweep: rows that say both, and the same trials."""

import pytest

from linclf_jax.config import flat
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.selection import ranking
from linclf_jax.studies import pipeline
from tests import sweeps

# Of iris, 90 rows train; with folds it is 120, of which three hold out 40 each.
SMALL = {"learning_rate": (0.1,), "seeds": (0,), "epochs": (4,)}


@pytest.fixture(scope="module", autouse=True)
def quick():
    with sweeps.quick():
        yield


def rows(**flags):
    return sweeps.fit(**SMALL, **flags).results.rows


@pytest.fixture(scope="module")
def by_strength():
    return rows(C=(10.0, 1.0, 0.1))


def test_rows_say_both_and_count_them_as_one_setting(by_strength):
    assert [row["C"] for row in by_strength] == pytest.approx(
        [10.0, 1.0, 0.1], rel=1e-15
    )
    assert [row["l2"] for row in by_strength] == [1 / 900, 1 / 90, 1 / 9]
    assert "C" not in ranking.settings(by_strength[0])
    assert ranking.varying(by_strength) == ["l2"]


def test_trials_are_those_of_l2(by_strength):
    assert rows(l2=(1 / 900, 1 / 90, 1 / 9)) == by_strength


def test_folds_share_l2_and_have_a_strength_each():
    folded = rows(C=(1.0, 0.1), folds=3)
    assert [row["l2"] for row in folded] == [1 / 120] * 3 + [1 / 12] * 3
    # Each fold trains on 80 rows.
    expected = [120 / 80] * 3 + [12 / 80] * 3
    assert [row["C"] for row in folded] == pytest.approx(expected, rel=1e-14)
    assert len(ranking.rank_settings(folded, metric="val_loss")) == 2


def test_what_has_no_strength_has_none_in_its_row():
    losses = ("softmax_cross_entropy", "weston_watkins_hinge")
    mixed = rows(loss=losses, metric="val_accuracy", l2=(0.0, 0.5))
    assert [row["C"] for row in mixed] == [None, 1 / 45, None, None]


def test_flags_and_warnings_are_in_the_unit_that_was_given(by_strength, tmp_path):
    study = sweeps.prepare(**SMALL, C=(10.0, 1.0, 0.1))
    selected = pipeline.run(study, tmp_path / "run").selected
    text = (tmp_path / "run" / "flags.txt").read_text(encoding="utf-8")
    assert "--C=10.0,1.0,0.1\n" in text
    assert "--l2" not in text
    assert flat.read(tmp_path / "run" / "flags.txt", SweepConfig) == study.plan.config
    (entry,) = selected["entries"]
    assert "the best l2, 0.00111111, is the smallest of the grid; widen --C" in (
        "\n".join([*selected["warnings"], *entry["warnings"]])
    )
