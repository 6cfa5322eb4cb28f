"""The tutorial's blocks run as they stand, in order, and print what the page says."""

import os
import re
import subprocess
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELLS = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}


def run(language, code, folder):
    # The page says python: let it be the one that runs the tests.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*SHELLS[language], code],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    return done.stdout


def alike(quoted, word):
    """Whether a word is what was quoted, a number to the digits that are shown.

    One more or less in the last of them: another CPU rounds otherwise.
    """
    quoted, word = (text.strip("(),;.%") for text in (quoted, word))
    try:
        said, found = Decimal(quoted), Decimal(word)
    except InvalidOperation:
        return quoted == word
    digit = said.as_tuple().exponent
    return abs(said - found) <= (Decimal(1).scaleb(digit) if digit < 0 else 0)


def holds(printed, line):
    """Whether the words of a line stand somewhere in a row."""
    words, quoted = printed.split(), line.split()
    return any(
        all(map(alike, quoted, words[start:]))
        for start in range(len(words) - len(quoted) + 1)
    )


def test_the_page_runs_and_prints_what_it_quotes(tmp_path):
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks, printed, quotes = BLOCK.findall(text), "", 0
    assert {language for language, _ in blocks} == {*SHELLS, "text"}
    for language, code in blocks:
        if language != "text":
            printed = run(language, code, tmp_path)
            continue
        for line in code.splitlines():
            assert holds(printed, line), f"{line!r} is not in\n{printed}"
            quotes += 1
    assert quotes > 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gray - 0.97 1", True),
        ("gray - 0.9716 1", True),
        ("gray - 0.9714 1", False),
        ("gray - 0.9717 2", False),
        ("binary - 0.9717 1", False),
        ("of 600 rows", True),
        ("of 601 rows", False),
        ("p 4.2e-07", True),
        ("p 4.4e-07", False),
    ],
)
def test_a_quotation_that_is_wrong_is_found(line, expected):
    printed = "  gray      -  0.9717   1\nof 600 rows, p  4.177e-07"
    assert holds(printed, line) is expected
