"""Pieces of a run: what is saved comes back, and nothing else passes for it."""

from typing import NamedTuple

import chex
import numpy as np
import pytest

from linclf_jax.runs import checkpoint


class Piece(NamedTuple):
    weights: np.ndarray
    nested: tuple[np.ndarray, np.ndarray]


PIECE = Piece(np.arange(6.0).reshape(2, 3), (np.array([1, 2]), np.array([np.nan, 1.0])))


def test_a_piece_comes_back_bit_for_bit(tmp_path):
    checkpoint.save(tmp_path, 3, PIECE)
    loaded = checkpoint.load(tmp_path, 3, PIECE)
    assert isinstance(loaded, Piece)
    chex.assert_trees_all_equal(loaded, PIECE)


def test_a_piece_that_is_not_there_is_none(tmp_path):
    assert checkpoint.load(tmp_path, 0, PIECE) is None
    checkpoint.save(tmp_path, 1, PIECE)
    assert checkpoint.load(tmp_path, 0, PIECE) is None


@pytest.mark.parametrize(
    "other",
    [
        PIECE._replace(weights=PIECE.weights[:1]),
        PIECE._replace(weights=PIECE.weights.astype(np.float32)),
        PIECE._replace(nested=PIECE.nested[:1]),
        (PIECE.weights,),
    ],
)
def test_another_structure_shape_or_dtype_is_refused(other, tmp_path):
    checkpoint.save(tmp_path, 0, PIECE)
    with pytest.raises(ValueError, match=r"000000\.npz: \d arrays are not as"):
        checkpoint.load(tmp_path, 0, other)


def test_a_damaged_piece_is_refused(tmp_path):
    checkpoint.save(tmp_path, 0, PIECE)
    (path,) = tmp_path.rglob("*.npz")
    data = bytearray(path.read_bytes())
    data[data.index(PIECE.weights.tobytes()) + 7] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"000000\.npz"):
        checkpoint.load(tmp_path, 0, PIECE)


def test_clear_leaves_nothing_and_may_be_repeated(tmp_path):
    checkpoint.save(tmp_path, 0, PIECE)
    checkpoint.clear(tmp_path)
    checkpoint.clear(tmp_path)
    assert not list(tmp_path.iterdir())
