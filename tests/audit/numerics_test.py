"""The accuracy of the loss and its hand-written gradient, against 50 digits."""

import re
from pathlib import Path

import numpy as np
import pytest

from linclf_jax.audit import numerics

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "numerics.md"


@pytest.fixture(scope="module", params=["float32", "float64"])
def measured(request):
    return request.param, numerics.measure(np.dtype(request.param))


def test_there_are_at_least_500_cases():
    families = [case.family for case in numerics.cases(np.dtype("float32"))]
    assert len(families) >= 500
    assert set(families) == set(numerics.FAMILIES)


@pytest.mark.slow
def test_loss_and_gradient_are_within_the_bound(measured):
    _, worst = measured
    ours = {f: worst[f, "linclf_jax"] for f in numerics.FAMILIES}
    failing = {f: s for f, s in ours.items() if max(s) > numerics.BOUND}
    assert not failing


@pytest.mark.slow
def test_page_marks_exactly_what_misses_the_bound(measured):
    dtype, worst = measured
    section = PAGE.read_text(encoding="utf-8").split(f"## {dtype}\n")[1].split("##")[0]
    printed = {}
    for line in section.strip().splitlines()[2:]:
        family, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name, cell in zip(numerics.IMPLEMENTATIONS, cells, strict=True):
            printed[family, name] = tuple("**" in part for part in cell.split(" / "))
    found = {k: tuple(e > numerics.BOUND for e in s) for k, s in worst.items()}
    assert printed == found
    optax_misses = [f for f in numerics.FAMILIES if any(found[f, numerics_optax()])]
    assert {"common shift up to 1e8", "logits of 3e38"} < set(optax_misses)


def numerics_optax():
    return next(name for name in numerics.IMPLEMENTATIONS if name.startswith("optax"))


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
