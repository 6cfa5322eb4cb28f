"""Some lanes of many: the right ones, and no copy where they are all."""

import numpy as np
import pytest

from linclf_jax.exact import compaction

TREE = {"a": np.arange(12.0).reshape(4, 3), "b": np.arange(4)}


@pytest.mark.parametrize("lanes", [[2, 0], [3, 3], [1, 0, 2, 3], [0, 1, 2]])
def test_takes_and_puts_back(lanes):
    lanes = np.array(lanes)
    part = compaction.take(TREE, lanes)
    for name, array in TREE.items():
        np.testing.assert_array_equal(part[name], array[lanes])
    again = compaction.put(TREE, lanes, {name: -array for name, array in part.items()})
    for name, array in TREE.items():
        expected = array.copy()
        expected[lanes] *= -1
        np.testing.assert_array_equal(again[name], expected)


def test_all_lanes_are_not_copied():
    lanes = np.arange(4)
    assert compaction.take(TREE, lanes) is TREE
    part = {name: -array for name, array in TREE.items()}
    assert compaction.put(TREE, lanes, part) is part
