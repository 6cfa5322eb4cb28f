"""A selection that rests on few certified fits is the one that all of them make."""

import numpy as np
import pytest

from linclf_jax.exact import status
from linclf_jax.runs.store import MemoryStore
from linclf_jax.scheduler import signals
from linclf_jax.selection import certainty, cross_validation, ranking
from linclf_jax.studies import certification, pipeline
from tests import choice_problems, feature_files, small_studies

# Those of one shape, so that there is one program.
QUICK = ("separable", "noisy", "C", "one standard error")
TOL = 1e-6


def assert_same_choice(name, folder):
    few = choice_problems.run(name, folder)
    every = choice_problems.run(name, folder, certify="all")
    (ours,), (expected,) = few.selected["entries"], every.selected["entries"]
    assert ours["row"]["l2"] == expected["row"]["l2"]
    assert ours["trials"] == expected["trials"]
    assert ours["best"] == expected["best"]
    trials = [
        {rule: choice["trial"] for rule, choice in entry["rules"].items()}
        for entry in (ours, expected)
    ]
    assert trials[0] == trials[1]
    for score in ("accuracy", "loss"):
        assert ours["test"][score] == pytest.approx(expected["test"][score], rel=1e-3)
    assert ours["row"]["relative_gap"] <= TOL
    assert_rests_on_certificates(few)
    return few, every


def assert_rests_on_certificates(result):
    """Of both rules' choices and their neighbours every fit is certified."""
    (entry,) = result.selected["entries"]
    compared = [row for row in result.rows if ranking.is_compared(row)]
    l2s = sorted({row["l2"] for row in compared})
    rules = entry["rules"].values()
    for k in {l2s.index(choice["l2"]) for choice in rules}:
        near = l2s[max(k - 1, 0) : k + 2]
        fits = [row for row in compared if row["l2"] in near]
        assert {row["status"] for row in fits} == {status.CONVERGED}
        assert max(row["relative_gap"] for row in fits) <= TOL


@pytest.mark.parametrize("name", QUICK)
def test_few_certificates_choose_as_all_do(name, tmp_path):
    few, every = assert_same_choice(name, tmp_path)
    known = few.selected["certificates"]
    rows = [row["status"] == status.NOT_CERTIFIED for row in few.rows]
    assert known["certified"] == len(rows) - sum(rows) < len(every.rows)
    left_out = 25 - len(few.history["0.l2s"])
    assert known["penalties_left_out"] == left_out
    assert len(few.rows) == len(every.rows) - 5 * left_out
    # No more work than all certificates take, but where all penalties tie.
    if name != "separable":
        work = [sum(row["products"] for row in each.rows) for each in (few, every)]
        assert work[0] < work[1]


def test_a_path_that_is_past_its_best_ends_and_says_so(tmp_path):
    few = choice_problems.run("noisy", tmp_path)
    (entry,) = few.selected["entries"]
    l2s, losses = few.history["0.l2s"], few.history["0.val_loss"]
    assert few.selected["certificates"]["penalties_left_out"] > 0
    assert losses[-1] > losses.min()
    assert f"of {len(l2s)} settings" in entry["reason"]
    assert not [w for w in entry["warnings"] if "smallest" in w]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return feature_files.write(tmp_path_factory.mktemp("files") / "one", noise=1.0)


L2S = tuple(np.geomspace(1.0, 1e-5, 9).tolist())


def test_a_path_that_is_kept_has_every_penalty(tmp_path):
    """Those too that a probe of the same rows leaves out."""
    result = choice_problems.run("noisy", tmp_path, kind="path")
    known = result.selected["certificates"]
    assert result.history["coefficients"].shape == (25, 40, 3)
    assert (known["fits"], known["penalties_left_out"]) == (25 * 6, 0)
    assert 0 < known["certified"] < 25 * 6
    gaps = result.history["relative_gap"]
    certified = [row["status"] == status.CONVERGED for row in result.rows]
    np.testing.assert_array_equal(np.isfinite(gaps.astype(float)).ravel(), certified)
    assert_rests_on_certificates(result)


@pytest.mark.parametrize("shots", [(2,), (1, 3)])
def test_each_draw_of_shots_rests_on_its_own_certificates(shots, files):
    flags = {"shots": shots, "draws": 2, "l2": L2S}
    few = pipeline.run(small_studies.prepare("shots", files, **flags))
    every = pipeline.run(small_studies.prepare("shots", files, certify="all", **flags))
    for ours, expected in zip(
        few.selected["entries"], every.selected["entries"], strict=True
    ):
        assert ours["rules"].keys() == expected["rules"].keys()
        for rule, choice in ours["rules"].items():
            assert choice["trial"] == expected["rules"][rule]["trial"]
        assert ours["row"]["status"] == status.CONVERGED
        assert ours["test"]["accuracy"] == expected["test"]["accuracy"]
    known = few.selected["certificates"]
    assert known["certified"] < every.selected["certificates"]["certified"]


def test_the_fits_that_were_certified_are_kept_for_the_last_one(files):
    """And those that were not are as the path left them."""
    study = small_studies.prepare("probe", files, l2=L2S, metric="val_loss")
    (problem,), store = study.problems, MemoryStore()
    results = study.fit(store, signals.Stop())
    by_trial = {row["trial"]: row for row in results.rows}
    ends = set()
    for index in range(len(results.history["0.l2s"])):
        batch = certification.load(problem, store, 0, index)
        assert [by_trial[row["trial"]] for row in batch.rows] == batch.rows or (
            batch.rows[0]["status"] == status.NOT_CERTIFIED
        )
        ends |= {row["status"] for row in batch.rows}
    assert ends == {status.CONVERGED, status.NOT_CERTIFIED}


def test_cross_validation_certifies_what_any_metric_chooses():
    x, labels = choice_problems.drawn(200, 6, 3, apart=0.5)
    few, every = (
        cross_validation.cross_validate(x, labels, L2S, 5, certify=certify)
        for certify in (certainty.SELECTION, certainty.ALL)
    )
    proved = few.info.status == status.CONVERGED
    assert 0 < proved.sum() < proved.size
    for metric in ranking.METRICS:
        choices = cross_validation.choose(few, metric)
        assert choices == cross_validation.choose(every, metric)
        for k in choices[:2]:
            near = slice(max(k - 1, 0), k + 2)
            assert proved[near].all()
            assert (few.info.relative_gap[near] <= TOL).all()
            np.testing.assert_allclose(
                few.params.W[k], every.params.W[k], rtol=1e-2, atol=1e-3
            )
    with pytest.raises(ValueError, match="certify is 'most'; expected selection or"):
        cross_validation.cross_validate(x, labels, L2S, 5, certify="most")
