"""The benchmark of a whole probe: what its rows say, and what is an estimate."""

import itertools

import numpy as np
import pytest

from experiments.benchmarks import passes, probe, problems

OURS = 0.5  # seconds


@pytest.fixture
def files(tmp_path):
    """Three classes that overlap, 60 training rows and 12 of test."""
    paths = probe.Files(*(str(tmp_path / f"{name}.npy") for name in "abcd"))
    x, labels = problems.spectral((72, 4, 3), decay=0.5, separation=1.0)
    arrays = x[:60], labels[:60], x[60:], labels[60:]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    return paths


def test_a_whole_probe_stands_beside_both_grids_of_the_peer():
    ours, default, same = probe.run(scale=20)
    assert [row["solver"] for row in (ours, default, same)] == [
        *("linclf_jax", probe.PEER, probe.PEER)
    ]
    assert [row["penalties"] for row in (ours, default, same)] == [45, 10, 45]
    assert ours["measured"] == "226 of 226 fits"
    assert (ours["status"], ours["ratio"]) == ("ok", 1.0)
    assert 0 < ours["worst_gap"] <= 1e-6
    assert default["measured"] == "51 of 51 fits"
    assert same["ratio"] == pytest.approx(same["seconds"] / ours["seconds"])
    for row in (ours, default, same):
        assert (row["shape"], row["problem"]) == ("1000,38,5", "probe")
        assert row["estimate"] is None
        assert row["accuracy"] > 0.9
    assert 1e-6 <= same["l2"] <= 0.8 + 1e-9  # its C is of four folds, the fit of five


def test_this_package_alone():
    (row,) = probe.run(scale=20, with_peers=False)
    assert (row["solver"], row["status"]) == ("linclf_jax", "ok")


def test_a_peer_is_judged_by_its_own_penalty(files):
    row = probe.peer_row(files, np.array([0.1]), 60.0, OURS)
    assert row["l2"] == pytest.approx(0.08)  # the same C of 48 rows and of 60
    assert (row["measured"], row["status"]) == ("6 of 6 fits", "ok")
    assert row["ratio"] == row["seconds"] / OURS
    assert 0 < row["worst_gap"] < 1e-4
    assert row["accuracy"] in np.arange(13) / 12


@pytest.mark.parametrize(("count", "done"), [(None, 10), (3, 3)])
def test_a_stopped_peer_has_an_estimate_and_no_seconds(files, monkeypatch, count, done):
    clock = itertools.chain([100.0], itertools.repeat(107.0))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(clock))
    l2s = None if count is None else np.geomspace(1, 0.1, count)
    row = probe.peer_row(files, l2s, 6.9, OURS)
    fits = 5 * done + 1
    assert row["estimate"] == pytest.approx(7.0 * fits / done)
    assert row["measured"] == f"{done} of {fits} fits"
    assert row["status"] == "stopped after 7.0 s"
    assert not {"seconds", "ratio", "worst_gap", "accuracy"} & set(row)


def test_fits_that_end_early_are_counted(files, monkeypatch):
    from sklearn import linear_model

    class Impatient(linear_model.LogisticRegressionCV):
        def __init__(self, **options):
            super().__init__(**options, max_iter=1)

    monkeypatch.setattr(linear_model, "LogisticRegressionCV", Impatient)
    row = probe.peer_row(files, np.array([0.1, 0.01]), 60.0, OURS)
    assert row["status"] == "11 fits ended at max_iter"
    assert row["worst_gap"] > passes.TARGET
