"""The linear classifier, done completely: ``logits = x @ W + b``.

Pure functions for logits, losses and their hand-derived derivatives; an audit of the
derivation, and of anyone's own; training of thousands of classifiers at once; exact
fits with a certificate; and selection that never sees the test set.

The mathematics is imported at once, everything else when it is first asked for.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from linclf_jax import (
        calibration,
        comparison,
        config,
        data,
        exact,
        figures,
        reports,
        runs,
        scheduler,
        selection,
        studies,
        training,
    )

__version__ = "0.2.0"

__all__ = [
    "Params",
    "audit",
    "calibration",
    "comparison",
    "config",
    "curvature",
    "data",
    "exact",
    "figures",
    "gradients",
    "interop",
    "losses",
    "metrics",
    "params",
    "regularization",
    "reports",
    "runs",
    "scheduler",
    "selection",
    "studies",
    "training",
    "validation",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
