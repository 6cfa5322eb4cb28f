"""The original derivation, audited: every line as printed, as corrected, by autodiff.

The original is "Introduction to Deep Learning for Computer Vision Assignment 3: Simple
Linear Classifier II" by Paul Molina-Plant, January 28, 2019. Its equation (n) is called
Sn here and in ``docs/derivation.md``; a step that it does not number carries the last
number before it and a letter, so that S5g is the seventh step after equation (5). A
word after the name marks one of several readings of the same line.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.audit.original import gradients, loss
from linclf_jax.audit.original import statements as st
from linclf_jax.audit.original.statements import Example, Statement, Value

STATEMENTS = loss.STATEMENTS + gradients.STATEMENTS
HOLDS, FAILS = "holds", "fails as printed"

_SHAPE = (5, 3, 5)  # N, D, C; N = C lets the bias by sample of S5 broadcast silently
_ULPS = 8


class Difference(NamedTuple):
    """Largest difference of two arrays, and that over the largest entry of the right.

    The ratio is of the largest entries, because many right entries are exactly zero.
    """

    absolute: float
    relative: float
    tolerance: float  # what rounding may make of the relative one

    @property
    def is_rounding(self) -> bool:
        """True when the arrays are the same but for rounding."""
        return self.relative <= self.tolerance


class Claim(NamedTuple):
    """A line of the original and what became of it."""

    name: str
    section: str
    printed: str
    corrected: str  # ends with the numbers of its equations in docs/derivation.md
    printed_error: Difference  # from autodiff
    corrected_error: Difference
    expected: str

    @property
    def verdict(self) -> str:
        """``holds`` or ``fails as printed``, by the numbers alone."""
        return HOLDS if self.printed_error.is_rounding else FAILS

    @property
    def confirmed(self) -> bool:
        """True when the correction holds and the verdict is the catalogued one."""
        return self.corrected_error.is_rounding and self.verdict == self.expected


class Cancellation(NamedTuple):
    """One choice of the two factors of line S5i, ``printed`` or ``right``."""

    factor: str
    slope: str
    error: Difference  # of the product, from autodiff of the loss by W

    @property
    def holds(self) -> bool:
        """True when the product is the gradient."""
        return self.error.is_rounding


def claims(
    statements: Sequence[Statement] = STATEMENTS,
    *,
    seeds: int = 8,
    dtype: str = "float64",
) -> tuple[Claim, ...]:
    """Runs every line of the original derivation on random inputs.

    A line holds when it differs from autodiff by no more than rounding, relative to the
    largest entry. Float64 works whatever ``jax_enable_x64`` says, and leaves it alone.

    Args:
        statements: What to run; all of the original's.
        seeds: How many random problems, each with labels of its own.
        dtype: ``"float64"`` or ``"float32"``.

    Returns:
        One row for each statement, in the order of the original.

    >>> rows = {row.name: row for row in claims()}
    >>> rows["S6"].verdict, rows["S7"].verdict
    ('holds', 'fails as printed')
    >>> all(row.confirmed for row in rows.values())
    True
    """
    triples = [
        (line.as_printed, line.as_corrected, line.reference) for line in statements
    ]
    results = _evaluate(triples, seeds, dtype)
    return tuple(
        Claim(
            name=line.name,
            section=line.section,
            printed=line.printed,
            corrected=line.corrected,
            printed_error=difference(printed, reference, dtype),
            corrected_error=difference(corrected, reference, dtype),
            expected=HOLDS if line.holds else FAILS,
        )
        for line, (printed, corrected, reference) in zip(
            statements, results, strict=True
        )
    )


def cancellation(*, seeds: int = 8, dtype: str = "float64") -> tuple[Cancellation, ...]:
    """Shows the two mistakes of line S5i, alone and together.

    The line multiplies ``-1 / P_ij`` by ``P_ij (delta_ij - P_ij) x_i``. The loss holds
    ``p_{i, y_i}``, whatever j is, so both factors are wrong where j is not the label;
    the wrong ``P_ij`` of the one divides out the wrong ``P_ij`` of the other.

    Returns:
        Four rows, for none, one, the other and both of the factors as printed.

    >>> for row in cancellation():
    ...     print(f"{row.factor:7s} {row.slope:7s} {row.holds}")
    right   right   True
    printed right   False
    right   printed False
    printed printed True
    """
    products: dict[tuple[str, str], Value] = {
        ("right", "right"): lambda e: e.outer(e.true_factor * e.true_slope),
        ("printed", "right"): lambda e: e.outer(e.printed_factor * e.true_slope),
        ("right", "printed"): lambda e: e.outer(e.true_factor * e.printed_slope),
        ("printed", "printed"): lambda e: e.outer(e.printed_factor * e.printed_slope),
    }
    pairs = [(product, st.derivative("loss", "W")) for product in products.values()]
    return tuple(
        Cancellation(*choice, difference(product, reference, dtype))
        for choice, (product, reference) in zip(
            products, _evaluate(pairs, seeds, dtype), strict=True
        )
    )


def difference(actual: np.ndarray, expected: np.ndarray, dtype: str) -> Difference:
    """Returns the largest differences of two arrays of one shape; NaN counts as inf.

    Rounding in ``dtype`` may make 8 ulp of it, times the square root of the size of the
    problem.

    Raises:
        ValueError: If the shapes differ: broadcasting would compare what is not alike.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"found shape {actual.shape}, expected {expected.shape}")
    gap = np.abs(actual - expected)
    absolute = float(np.where(np.isnan(gap), np.inf, gap).max())
    tolerance = _ULPS * float(jnp.finfo(dtype).eps) * float(np.prod(_SHAPE)) ** 0.5
    return Difference(absolute, absolute / float(np.abs(expected).max()), tolerance)


def _evaluate(
    groups: Sequence[tuple[Value, ...]], seeds: int, dtype: str
) -> list[list[np.ndarray]]:
    """Computes every function on all examples, in one program."""
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        results = _run(tuple(groups), _random_examples(seeds, dtype))
        return jax.tree.map(np.asarray, results)


@functools.partial(jax.jit, static_argnums=0)  # compiled once for the same functions
def _run(groups: tuple[tuple[Value, ...], ...], examples: Example) -> list[list]:
    return jax.vmap(lambda e: [[f(e) for f in group] for group in groups])(examples)


def _random_examples(seeds: int, dtype: str) -> Example:
    """Returns ``seeds`` problems stacked in front; the same ones for both dtypes."""
    rng = np.random.default_rng(0)
    N, D, C = _SHAPE
    W, b, x = (
        jnp.asarray(rng.normal(size=(seeds, *shape)), dtype)
        for shape in ((D, C), (C,), (N, D))
    )
    return Example(W, b, x, jnp.asarray(rng.integers(C, size=(seeds, N)), jnp.int32))
