"""What a sweep and a path train on is scaled by the rows that they may see."""

import numpy as np
import pytest

from linclf_jax.cli.options import Config
from linclf_jax.data import datasets
from linclf_jax.studies import path_problem, problem


@pytest.fixture
def spoil(monkeypatch):
    """Returns a function that changes the rows of some splits, and hides the test's."""
    load = datasets.load

    def spoilt(*names):
        def changed(*arguments, **options):
            dataset = load(*arguments, **options)
            rows = {n: getattr(dataset, n) for n in names}
            spoilt = {n: s._replace(x=1000 * s.x + 7) for n, s in rows.items()}
            return dataset._replace(**spoilt, test=None)

        monkeypatch.setattr(datasets, "load", changed)

    return spoilt


def assert_same(first, second):
    for statistic, other in zip(first[1:], second[1:], strict=True):
        np.testing.assert_array_equal(statistic, other)


def test_neither_validation_nor_test_rows_scale_a_sweep(spoil):
    config = Config(
        dataset="iris", preprocessing=("standardize", "mean_range", "pca:2")
    )
    before = problem.prepare(config)
    spoil("validation")
    after = problem.prepare(config)
    assert {*after.scalings} == {("raw", name) for name in config.preprocessing}
    for inputs, scaling in after.scalings.items():
        assert_same(scaling, before.scalings[inputs])
        kept, given = before.data[inputs], after.data[inputs]
        np.testing.assert_array_equal(given.x, kept.x)


def test_test_rows_do_not_scale_a_path(spoil):
    config = path_problem.Config(dataset="iris", preprocessing="whiten")
    before = path_problem.prepare(config)
    spoil()
    after = path_problem.prepare(config)
    assert_same(after.scaling, before.scaling)
    np.testing.assert_array_equal(after.x, before.x)
