"""Comma-separated tables: texts come back, and no cell is a formula."""

import csv
import io

import numpy as np
import pytest

from linclf_jax.runs import csv_text

FORMULAS = ("=SUM(A1:A2)", "+cmd|' /C calc'!A0", "-2+3", "@sum", "\t=1", "\r=1", "\n=1")


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("text", [*FORMULAS, "\uff1d1", "'s", "''", "-", "1-2", "a\rb"])
def test_every_text_comes_back_and_none_is_a_formula(text):
    header, *lines = read(csv_text.encode({text: np.array([text, "cat"])}))
    for cell in (*header, lines[0][0]):
        assert cell[0] not in "=+-@\t\r\n\uff1d"
        assert csv_text.unmarked(cell) == text
    assert lines[1] == ["cat"]


@pytest.mark.parametrize("number", ["-0.5", "+1", "-1e-07", "-3", "+.5", "-2."])
def test_numbers_stay_numbers(number):
    assert csv_text.marked(number) == number
    column = np.array([float(number)], np.float32)
    ((_,), (cell,)) = read(csv_text.encode({"x": column}))
    assert np.float32(cell) == column[0]


@pytest.mark.parametrize("text", ["-1+1", "-1e", "-\N{ARABIC-INDIC DIGIT ONE}", "+1\n"])
def test_what_only_begins_like_a_number_is_marked(text):
    assert csv_text.marked(text) == f"'{text}"


def test_what_is_no_text_of_a_formula_is_written_as_before():
    columns = {
        "class": np.array(["a", 'b "c"', ""]),
        "p": np.array([0.1, 1, 1e-9], np.float32),
    }
    expected = 'class,p\na,0.1\n"b ""c""",1.0\n"",1e-09\n'
    assert csv_text.encode(columns).decode() == expected
