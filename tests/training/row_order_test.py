"""Orders of the rows of an epoch: each row once, by blocks where they are asked for."""

import jax
import numpy as np
import pytest

from linclf_jax.training import row_order

KEYS = jax.random.split(jax.random.key(0), 2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(row_order, "BLOCK", 4)
    monkeypatch.setattr(row_order, "GROUP", 5)


def order_of(key, num_rows, batch_size=1):
    rows, weights = row_order.draw_minibatches(key, num_rows, batch_size, "blocks")
    return np.asarray(rows).reshape(-1)[np.asarray(weights).reshape(-1) == 1]


@pytest.mark.parametrize("num_rows", [1, 4, 61, 80, 203])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_every_row_occurs_once(num_rows, batch_size):
    order = order_of(KEYS[0], num_rows, min(batch_size, num_rows))
    assert sorted(order.tolist()) == list(range(num_rows))


def test_each_group_is_the_rows_of_some_blocks_in_any_order():
    order = order_of(KEYS[0], 203)  # 51 blocks, the last of three rows
    groups, first = [], 0
    while first < 203:
        blocks = {*(order[first : first + 18] // 4).tolist()}
        size = sum(3 if block == 50 else 4 for block in blocks)
        rows = order[first : first + size]
        assert {*(rows // 4).tolist()} == blocks
        assert len(blocks) == (5 if first + size < 203 else 1)
        assert size < 5 or rows.tolist() != sorted(rows.tolist())
        assert size < 5 or (np.diff(rows // 4) != 0).mean() > 0.5  # blocks are mixed
        groups.append(blocks)
        first += size
    assert len(groups) == 11
    assert set.union(*groups) == set(range(51))


def test_every_epoch_groups_other_blocks():
    first, second = (order_of(key, 200) for key in KEYS)
    groups = [
        [{*(o[i : i + 20] // 4)} for i in range(0, 200, 20)] for o in (first, second)
    ]
    assert not any(group in groups[1] for group in groups[0])
