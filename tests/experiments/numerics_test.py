"""The measure of floating-point accuracy, and the script that prints the page."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import numerics

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "numerics.md"


def test_there_are_at_least_500_cases():
    families = [case.family for case in numerics.cases(np.dtype("float32"))]
    assert len(families) >= 500
    assert set(families) == set(numerics.FAMILIES)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error_measure_sees_a_wrong_digit(dtype):
    case = next(numerics.cases(np.dtype(dtype)))
    loss, gradient = numerics.reference(case)
    unit = float(np.finfo(dtype).eps) * max(1.0, numerics.distance(case))
    for true in (loss, *gradient):
        exact = float(true)
        assert numerics.scaled_error(exact, true, case) <= 1.0
        assert numerics.scaled_error(exact * (1 + 16 * unit), true, case) > 4.0


def test_reference_is_the_worked_example():
    case = numerics.Case("", np.log(np.array([1.0, 2.0, 5.0])), 1)
    loss, gradient = numerics.reference(case)
    np.testing.assert_allclose(float(loss), np.log(4.0), rtol=1e-15)
    np.testing.assert_allclose([float(g) for g in gradient], [0.125, -0.75, 0.625])


def test_page_has_no_leftover_placeholder():
    assert not re.search(r"\{\w+\}", PAGE.read_text(encoding="utf-8"))


@pytest.fixture
def unmeasured(monkeypatch):
    """Measuring is quick and says nothing; the list tells how often it was done."""
    calls = []
    worst = {
        (family, name): numerics.Scores(1.0, 5.0)
        for family in numerics.FAMILIES
        for name in numerics.IMPLEMENTATIONS
    }
    monkeypatch.setattr(
        numerics, "measure", lambda dtype: (calls.append(dtype), worst)[1]
    )
    return calls


def test_the_page_is_printed_or_written_whole(unmeasured, tmp_path, capsys):
    numerics.run(numerics.Config())
    printed = capsys.readouterr().out
    assert printed.startswith("# What floating point leaves")
    numerics.run(numerics.Config(out=str(tmp_path / "page.md")))
    assert (tmp_path / "page.md").read_text(encoding="utf-8") + "\n" == printed
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]
    assert len(unmeasured) == 4
    assert "| one class | 1 / **5** |" in printed


@pytest.mark.parametrize("out", ["/no/such/folder/page.md", "."])
def test_where_it_cannot_write_it_does_not_measure(out, unmeasured):
    with pytest.raises(ValueError, match=r"--out is .*; expected a file in a folder"):
        numerics.run(numerics.Config(out=out))
    assert unmeasured == []


def test_says_what_to_install(unmeasured, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpmath", None)
    with pytest.raises(ValueError, match=r"pip install 'linclf_jax\[test\]'"):
        numerics.run(numerics.Config())
    assert unmeasured == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--bogus", "'bogus'"),
        ("--out=/no/such/folder/page.md", "--out is"),
        ("page.md", "unexpected arguments: page.md"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(argument, message):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.numerics", argument],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
