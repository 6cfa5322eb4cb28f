"""Small seeded problems that the tests of the mathematics share."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.params import Params

# (N, D, C): ordinary; all equal, where a transpose goes unseen by the shapes; one row
# and one class; one feature, and more classes than rows.
SHAPES = ((7, 3, 4), (4, 4, 4), (1, 2, 1), (2, 1, 9))


class Problem(NamedTuple):
    """A classifier and the batch that it meets."""

    params: Params
    x: jax.Array  # (N, D)
    labels: jax.Array  # (N,) int32
    weights: jax.Array  # (N,) positive


def scores(num_rows, num_classes, *, seed=0, dtype="float64", scale=2.0):
    """Returns random logits ``(N, C)`` and labels ``(N,)``."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(num_rows, num_classes))
    labels = rng.integers(num_classes, size=num_rows)
    return jnp.asarray(logits, dtype), jnp.asarray(labels, "int32")


def problem(shape=(7, 3, 4), *, seed=0, dtype="float64", scale=1.0) -> Problem:
    """Returns a random problem whose weights have the given scale; the bias is 1."""
    num_rows, num_features, num_classes = shape
    rng = np.random.default_rng([seed, *shape])
    W = scale * rng.normal(size=(num_features, num_classes))
    b, x = rng.normal(size=num_classes), rng.normal(size=(num_rows, num_features))
    labels = rng.integers(num_classes, size=num_rows)
    weights = rng.uniform(0.5, 2.0, size=num_rows)
    W, b, x, weights = (jnp.asarray(a, dtype) for a in (W, b, x, weights))
    return Problem(Params(W, b), x, jnp.asarray(labels, "int32"), weights)


def product_precisions(function, *args) -> set[str]:
    """Returns the precisions that the matrix products of ``function`` ask for."""
    program = str(jax.make_jaxpr(function)(*args))
    products = re.findall(r"dot_general\[.*?\] \w+ \w+", program, re.DOTALL)
    assert products
    return {"".join(re.findall(r"Precision\.\w+", product)) for product in products}
