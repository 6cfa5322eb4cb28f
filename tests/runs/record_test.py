"""What an unfinished run says: rows and curves of its pieces, put together."""

import numpy as np
import pytest

from linclf_jax.runs import checkpoint, directory, record, store


def piece(lanes, epochs, value):
    curves = np.full((len(lanes), epochs), float(value)) + np.array(lanes)[:, None]
    arrays = {"trial": np.array(lanes), "W": np.zeros((len(lanes), 2, 2))}
    arrays |= {name: curves * (i + 1) for i, name in enumerate(record.CURVES)}
    rows = [{"trial": lane, "status": "ok", "steps": epochs} for lane in lanes]
    return store.Piece(rows, arrays)


@pytest.fixture
def folder(tmp_path):
    config = {"experiment": "sweep", "flags": {}, "data": {}, "environment": {}}
    directory.open_run(tmp_path, config)
    directory.write_text(tmp_path / "flags.txt", "")
    return tmp_path


def test_later_pieces_count_and_short_curves_end_in_nan(folder):
    checkpoint.DiskStore(folder).save_piece("r00-000000", piece([3, 0], 2, 10))
    checkpoint.DiskStore(folder).save_piece("r00-000001", piece([1, 2], 1, 20))
    checkpoint.DiskStore(folder).save_piece("r01-000000", piece([3], 3, 30))
    checkpoint.DiskStore(folder).save_state("r01-000001", 5, {"W": np.zeros(3)})
    run = record.read(folder)
    assert run.training
    assert run.notes == []
    assert [(r["trial"], r["steps"]) for r in run.rows] == [
        *((0, 2), (1, 1), (2, 1), (3, 3))
    ]
    nan = np.nan
    expected = [[10, 10, nan], [21, nan, nan], [22, nan, nan], [33, 33, 33]]
    np.testing.assert_array_equal(run.history["trial"], [0, 1, 2, 3])
    for factor, name in enumerate(record.CURVES, start=1):
        np.testing.assert_array_equal(run.history[name], np.multiply(expected, factor))


def test_results_take_the_place_of_pieces(folder):
    checkpoint.DiskStore(folder).save_piece("a", piece([0, 1], 2, 0))
    directory.write(folder / "results.jsonl", [{"trial": 0, "status": "ok"}])
    run = record.read(folder)
    assert not run.fitting
    assert run.history is None
    assert len(run.rows) == 1


def test_a_piece_whose_curves_are_those_of_other_lanes_is_refused(folder):
    wrong = piece([0, 1], 2, 0)
    wrong.arrays["trial"] = np.array([0, 2])
    checkpoint.DiskStore(folder).save_piece("a", wrong)
    with pytest.raises(
        ValueError, match=r"in the finished pieces, .* lacks lanes \[1, 2\]"
    ):
        record.read(folder)


def test_without_a_finished_piece_it_says_so_with_the_damage(folder):
    with pytest.raises(ValueError, match=r"and no finished piece yet$"):
        record.read(folder)
    checkpoint.DiskStore(folder).save_state("a", 5, {"W": np.zeros(3)})
    (folder / "pieces" / "b.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"piece yet; .*b\.npz: .*left out here$"):
        record.read(folder)


def test_a_sealed_folder_without_its_results_is_damaged_not_unfinished(folder):
    directory.seal(folder)
    checkpoint.DiskStore(folder).save_piece("a", piece([0, 1], 2, 0))
    with pytest.raises(ValueError, match=r"complete run folder: results.jsonl missing"):
        record.read(folder)
