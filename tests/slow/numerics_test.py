"""The accuracy of the loss and its hand-written gradient, against 50 digits."""

from pathlib import Path

import numpy as np
import pytest

from linclf_jax.audit import numerics

PAGE = Path(__file__).parents[2] / "docs" / "numerics.md"


@pytest.fixture(scope="module", params=["float32", "float64"])
def measured(request):
    return request.param, numerics.measure(np.dtype(request.param))


def test_loss_and_gradient_are_within_the_bound(measured):
    _, worst = measured
    ours = {f: worst[f, "linclf_jax"] for f in numerics.FAMILIES}
    failing = {f: s for f, s in ours.items() if max(s) > numerics.BOUND}
    assert not failing


def test_page_marks_exactly_what_misses_the_bound(measured):
    dtype, worst = measured
    section = PAGE.read_text(encoding="utf-8").split(f"## {dtype}\n")[1].split("##")[0]
    printed = {}
    for line in section.strip().splitlines()[2:]:
        family, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name, cell in zip(numerics.IMPLEMENTATIONS, cells, strict=True):
            printed[family, name] = tuple("**" in part for part in cell.split(" / "))
    actual = {k: tuple(e > numerics.BOUND for e in s) for k, s in worst.items()}
    assert printed == actual
    optax_misses = [f for f in numerics.FAMILIES if any(actual[f, numerics_optax()])]
    assert {"common shift up to 1e8", "logits of 3e38"} < set(optax_misses)


def numerics_optax():
    return next(name for name in numerics.IMPLEMENTATIONS if name.startswith("optax"))
