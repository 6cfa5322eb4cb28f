"""Columns of the passes: what they drop, and that parameters come back."""

import jax
import numpy as np
import pytest

from linclf_jax.exact import columns
from linclf_jax.exact import problem as problem_lib
from linclf_jax.params import Params


def measure(x, *, rotated):
    with jax.enable_x64(True):
        problem = problem_lib.prepare(x, np.arange(len(x)) % 3, num_lanes=1)
        own = columns.measure(problem.blocks, rotated=rotated)
        block = columns.of_block(problem.blocks[0], own, np.float64)
        return own, np.asarray(block.x).reshape(-1, block.x.shape[2])[: len(x)]


def test_columns_are_centred_and_of_size_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(70, 4)) * [1e-6, 1, 3e7, 1e150] + [1, 0, 1e9, 0]
    own, table = measure(x, rotated=False)
    assert own.basis is None
    deviations = table[:, :-1].std(axis=0)
    assert (deviations >= 0.9).all()
    assert (deviations <= 2.1).all()
    assert np.abs(table[:, :-1].mean(axis=0)).max() < 1e-8
    assert (table[:, -1] == 1.0).all()
    assert (np.log2(own.scale) % 1 == 0).all()  # so that no digit is lost


def test_only_what_is_alike_in_all_rows_is_dropped():
    x = np.ones((50, 3)) * [7.1, 1e13, 0.1]
    x[::2, 1] += 2.0**-9  # the next number
    own, table = measure(x, rotated=False)
    assert np.isinf(own.scale).tolist() == [True, False, True]
    assert not table[:, [0, 2]].any()
    assert len(np.unique(table[:, 1])) == 2


def test_axes_on_which_no_rows_differ_are_dropped():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    x = np.concatenate([x, x @ rng.normal(size=(4, 4)), np.ones((60, 1))], axis=1)
    own, table = measure(x, rotated=True)
    assert own.basis is not None
    assert np.isfinite(own.scale).sum() == 4
    # The rows are what they were, in another basis.
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    kept = np.isfinite(own.scale)
    rows = table[:, :-1][:, kept] * own.scale[kept]
    np.testing.assert_allclose(
        np.linalg.norm(rows[:, None] - rows[None], axis=2), distance, atol=1e-12
    )


def test_more_columns_than_rows_have_as_many_axes():
    x = np.random.default_rng(0).normal(size=(9, 30))
    own, table = measure(x, rotated=True)
    assert own.basis.shape == (30, 9)
    assert np.isfinite(own.scale).sum() == 8
    assert table.shape == (9, 10)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("rotated", [False, True])
def test_parameters_come_back_but_for_a_shift_of_all_classes(classes, rotated):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)) + 3.0
    own, table = measure(x, rotated=rotated)
    params = Params(rng.normal(size=(2, classes, 4)), rng.normal(size=(2, classes)))
    with jax.enable_x64(True):
        present = np.ones((2, classes), bool)
        A = columns.from_params(own, present, params)
        back = columns.to_params(own, present, A)
    assert A.shape == (2, columns.num_free(classes), 5)
    scores = np.einsum("lcp,np->lnc", A, table)
    given, returned = (
        np.einsum("lcd,nd->lnc", p.W, x) + np.asarray(p.b)[:, None]
        for p in (params, back)
    )
    centred = given - given.mean(axis=2, keepdims=True)
    np.testing.assert_allclose(returned, centred, atol=1e-12)
    if classes == 2:
        scores = np.concatenate([-scores, scores], axis=2) / 2
    np.testing.assert_allclose(scores, centred, atol=1e-12)
