"""The linear classifier, done completely: ``logits = x @ W + b``.

Pure functions for logits, losses and their hand-derived derivatives; an audit of the
derivation, and of anyone's own; training of thousands of classifiers at once; and
selection that never sees the test set.
"""

from linclf_jax import (
    audit,
    curvature,
    gradients,
    interop,
    losses,
    metrics,
    params,
    regularization,
    validation,
)
from linclf_jax.params import Params

__version__ = "0.1.0"

# The packages, ``training``, ``exact`` and others, are imported by those who use them.
__all__ = [
    "Params",
    "audit",
    "curvature",
    "gradients",
    "interop",
    "losses",
    "metrics",
    "params",
    "regularization",
    "validation",
]
