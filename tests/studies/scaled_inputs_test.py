"""What a sweep and a path train on is scaled by the rows that they may see."""

import numpy as np
import pytest

from linclf_jax.config import flat
from linclf_jax.config.path import PathConfig
from linclf_jax.data import datasets
from linclf_jax.studies import path
from tests import sweeps


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
    names = ("standardize", "mean_range", "pca:2")
    before = sweeps.prepare(preprocessing=names).plan.inputs
    spoil("validation")
    after = sweeps.prepare(preprocessing=names).plan.inputs
    assert {*after} == {("raw", name) for name in names}
    for key, inputs in after.items():
        assert_same(inputs.scaling, before[key].scaling)
        training = slice(90)
        np.testing.assert_array_equal(inputs.x[training], before[key].x[training])
        assert not np.array_equal(inputs.x, before[key].x)


def test_test_rows_do_not_scale_a_path(spoil):
    flags = {"dataset": "iris", "preprocessing": "whiten"}
    config = flat.build(PathConfig(), flags)
    (before,) = path.prepare(config).plan.inputs.values()
    spoil()
    (after,) = path.prepare(config).plan.inputs.values()
    assert_same(after.scaling, before.scaling)
    np.testing.assert_array_equal(after.x, before.x)
