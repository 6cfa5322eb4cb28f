"""Damaged files of every format, and readers that would let damage through."""

import pickle

import pytest

from linclf_jax.data import checks, formats, unpickling
from tests.fuzz import fuzz_files, valid_files


def test_a_thousand_damaged_files_end_in_a_message_or_in_right_arrays():
    summary = fuzz_files.run(1000)
    assert summary.refused + summary.read == 1000
    assert min(summary.refused, summary.read) > 50  # neither side is empty
    assert summary.growth < 2**28


def test_valid_files_are_right(tmp_path):
    """Or the fuzzing would compare with nothing."""
    for case in valid_files.make():
        assert fuzz_files.read(case, case.content, tmp_path)
        (tmp_path / case.name).unlink()


def skip_the_end(stream, size, path):
    return bytearray(stream.read(size))


def unpickle(content, path):
    with checks.reading(path, "a pickle"):
        return pickle.loads(content)


def stumble(array, path):
    raise KeyError(array)


@pytest.mark.parametrize(
    ("module", "name", "fault", "expected"),
    [
        (formats, "check_end", lambda *_: None, AssertionError),
        (checks, "read_exactly", skip_the_end, AssertionError),
        (unpickling, "loads", unpickle, AssertionError),
        (formats, "check_features", stumble, KeyError),
    ],
)
def test_a_reader_with_a_fault_is_caught(module, name, fault, expected, monkeypatch):
    monkeypatch.setattr(module, name, fault)
    with pytest.raises(expected) as caught:
        fuzz_files.run(1000)
    assert any("mutation" in note for note in caught.value.__notes__)
    assert name != "loads" or "ran code" in str(caught.value)
