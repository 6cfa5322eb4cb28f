"""Rows that are read again in each pass: the same bits, whatever fits in memory."""

import jax
import numpy as np
import pytest

from linclf_jax import validation
from linclf_jax.exact import certificate, memory, newton, path, rows
from linclf_jax.exact import solver as solver_lib
from tests import reference_solver

ROWS, FEATURES, CLASSES = 300, 6, 3
L2 = np.array([0.1, 1e-3])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 64)
    monkeypatch.setattr(memory, "BLOCK", 64 * FEATURES)
    monkeypatch.setattr(validation, "_BLOCK", 64 * FEATURES)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % CLASSES
    x = rng.normal(size=(CLASSES, FEATURES))[labels] + rng.normal(size=(ROWS, FEATURES))
    file = tmp_path_factory.mktemp("rows") / "x.npy"
    np.save(file, x.astype(np.float16))
    return file, labels


def open_map(stored):
    return np.load(stored[0], mmap_mode="r"), stored[1]


def bits(result):
    params, info = result
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((params, info))]


def least(monkeypatch, x):
    """Returns a budget that leaves nothing of the size of the rows."""
    with pytest.raises(ValueError, match="expected at least"):
        memory.plan(x, 2, CLASSES, 1)
    layouts = [memory.plan(x, 2, CLASSES, budget) for budget in (2**40, None)]
    assert layouts[0] == layouts[1]
    for budget in range(2**14, 2**24, 2**12):
        try:
            return budget, memory.plan(x, 2, CLASSES, budget)
        except ValueError:
            continue
    raise AssertionError


def test_blocks_and_budgets_change_no_bit(monkeypatch, stored):
    x, labels = open_map(stored)
    expected = bits(newton.solve(x, labels, L2))
    monkeypatch.setattr(solver_lib, "_axes_pay", lambda *_: False)
    assert bits(newton.solve(np.array(x), labels, L2)) == expected
    budget, layout = least(monkeypatch, x)
    assert (layout.chunks, layout.keep) == (1, False)
    assert bits(newton.solve(x, labels, L2, memory_budget=budget)) == expected
    assert bits(newton.solve(np.array(x), labels, L2, memory_budget=budget)) == expected
    monkeypatch.setattr(memory, "BLOCK", 3 * 64 * FEATURES)
    assert memory.plan(x, 2, CLASSES, None).chunks == 3
    assert bits(newton.solve(x, labels, L2)) == expected


def test_budgets_change_no_bit_of_fits_in_float64(monkeypatch, stored):
    x, labels = open_map(stored)
    budget, _ = least(monkeypatch, x)
    monkeypatch.setattr(solver_lib, "_axes_pay", lambda *_: False)
    expected = bits(newton.solve(np.array(x), labels, [0.0, 0.0]))
    for own in (x, np.array(x)):
        for bound in (budget, 2**30):
            again = newton.solve(own, labels, [0.0, 0.0], memory_budget=bound)
            assert bits(again) == expected


def test_a_path_over_a_map_is_the_path_in_memory(monkeypatch, stored):
    x, labels = open_map(stored)
    monkeypatch.setattr(solver_lib, "_axes_pay", lambda *_: False)
    weights = (np.arange(ROWS)[None] % 2 != np.arange(2)[:, None]).astype(float)
    lazy = path.path(x, labels, [1.0, 1e-2, 1e-4], weights=weights)
    whole = path.path(np.array(x), labels, [1.0, 1e-2, 1e-4], weights=weights)
    jax.tree.map(np.testing.assert_array_equal, lazy, whole)


def test_the_optimum_over_a_map_is_that_of_an_independent_solver(stored):
    x, labels = open_map(stored)
    weights = np.random.default_rng(1).random(ROWS)
    weights[::5] = 0.0
    params, info = newton.solve(x, labels, [1e-2], weights=weights)
    reference = reference_solver.solve(np.asarray(x, np.float64), labels, 1e-2, weights)
    assert info.objective[0] - reference.objective <= info.gap[0]
    proof = certificate.certify(params, np.array(x), labels, [1e-2], weights)
    np.testing.assert_allclose(info.objective, proof.objective, rtol=1e-12)


def test_rows_without_weight_may_hold_anything(stored):
    x, labels = open_map(stored)
    weights = (np.arange(ROWS) % 4 > 0).astype(float)
    expected = bits(newton.solve(x, labels, L2, weights=weights))
    broken = Slices(np.where((weights == 0)[:, None], np.nan, x).astype(np.float16))
    assert bits(newton.solve(broken, labels, L2, weights=weights)) == expected


class Slices:
    """Rows that are arrays by slices alone."""

    def __init__(self, x):
        self._x, self.shape, self.dtype = x, x.shape, x.dtype
        self.ndim, self.size = x.ndim, x.size

    def __len__(self):
        return len(self._x)

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        assert len(self._x[rows]) < ROWS, "all rows at once"
        return self._x[rows]


def test_an_entry_that_is_not_finite_is_named_by_row_and_column(monkeypatch, stored):
    x, labels = open_map(stored)
    x = np.array(x)
    x[257, 4] = np.nan
    monkeypatch.setattr(newton, "finish", None)
    with pytest.raises(ValueError, match=r"x\[257, 4\] = nan"):
        newton.solve(Slices(x), labels, L2)


def test_what_cannot_fit_is_refused_before_it_is_read(stored):
    x, labels = open_map(stored)
    with pytest.raises(ValueError, match=r"memory_budget is 0\.0 MiB; expected at lea"):
        newton.solve(Slices(np.array(x)), labels, L2, memory_budget=1000)


def test_the_next_count_of_rows_has_the_same_chunks():
    assert rows.shape(150) == rows.shape(149) == (3, 64)
    assert rows.shape(64 * 100 - 1) == rows.shape(64 * 97 + 1) == (104, 64)
    assert rows.shape(1) == (1, 64)


@pytest.mark.parametrize("num_rows", [1, 63, 64, 65, 300])
def test_chunks_hold_each_row_once(num_rows):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(num_rows, 2)), rng.random((3, num_rows)) + 0.1
    labels = np.arange(num_rows, dtype=np.int32)
    with jax.enable_x64(True):
        soft = np.stack([labels] * 4, axis=1) * 1.0
        data = rows.Data(x, labels[None], soft[None], weights)
        (block,) = rows.in_memory(data)
        read = list(rows.slabs([block]))
        np.testing.assert_array_equal(np.concatenate([r for r, _ in read]), x)
        np.testing.assert_array_equal(np.concatenate([w for _, w in read], 1), weights)
        laid = np.moveaxis(np.asarray(block.targets)[:, 0], 1, 2).reshape(-1, 4)
        np.testing.assert_array_equal(laid[:num_rows, 2], labels)
        assert not laid[num_rows:].any()
        assert not np.asarray(block.sample_weights).sum((1,)).ravel()[num_rows:].any()
