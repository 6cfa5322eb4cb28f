"""The measure of floating-point accuracy, and the script that prints the page."""

import re
from pathlib import Path

import numpy as np
import pytest

from linclf_jax.audit import numerics

PAGE = Path(__file__).parents[2] / "docs" / "numerics.md"


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


def test_there_are_at_least_500_cases_and_the_page_has_no_leftover_placeholder():
    families = [case.family for case in numerics.cases(np.dtype("float32"))]
    assert len(families) >= 500
    assert set(families) == set(numerics.FAMILIES)
    assert not re.search(r"\{\w+\}", PAGE.read_text(encoding="utf-8"))
