"""A researcher's gradient: loaded by its name, called, and made comparable.

It may be JAX or NumPy, may return lists, a wrong shape or NaN, or raise. All that is an
``Outcome``; only a fault of the auditor itself is an exception.
"""

import contextlib
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax.audit.cases import Case, HostParams
from linclf_jax.params import Params

DTYPES = ("float32", "float64")
RAISED = "raised "

GradientFn = Callable[[Params, Any, Any, float], Any]


class Outcome(NamedTuple):
    """A gradient in float64 on the host, or the problem that there is none."""

    gradient: HostParams | None
    dtype: str  # in which it was computed, as far as dtypes tell
    problem: str = ""

    @property
    def raised(self) -> bool:
        """True when the function returned nothing at all."""
        return self.problem.startswith(RAISED)


def load(path: str) -> GradientFn:
    """Returns the function that ``package.module:function`` names.

    Modules are found as by ``import``: with ``python -m`` those of the working
    directory before others. What cannot be loaded is a ``ValueError``.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise ValueError(f"--gradient is {path!r}; expected package.module:function")
    try:
        function = pkgutil.resolve_name(path)
    except (Exception, SystemExit) as error:  # importing runs the module's own code
        raise ValueError(f"cannot load {path}: {one_line(error)}") from error
    if not callable(function):
        what = type(function).__name__
        raise ValueError(f"{path} is of type {what}; expected a function")
    return function


def run(gradient_fn: GradientFn, case: Case, dtype: str) -> Outcome:
    """Calls ``gradient_fn(params, x, labels, l2)`` on one case in one dtype.

    It is given JAX arrays and, if it refuses those, NumPy arrays: code that assigns to
    ``p[rows, labels]`` is no worse a gradient for it. Float64 is allowed for the call
    alone, and float32 is multiplied as float32 on every device.
    """
    problems = []
    with jax.default_matmul_precision("highest"), _x64(dtype):
        for as_array in (jnp.asarray, np.asarray):
            try:
                return _read(gradient_fn(*_arguments(case, dtype, as_array)), dtype)
            except Exception as error:  # not our function: anything may come
                problems.append(one_line(error))
    shown = problems[:1] if problems[0] == problems[1] else problems
    return Outcome(None, dtype, RAISED + "; with NumPy arrays ".join(shown))


def computes_in_float32(gradient_fn: GradientFn, case: Case, *, smooth: bool) -> bool:
    """Returns True when a change below the resolution of float32 goes unnoticed.

    Code may take float64 and return float64 and still compute in float32 on the way.
    Moved by a part in 2^36, the inputs are the same float32 numbers, most roundings on
    the way come out the same, and so does dW; in float64 all of it moves. If the loss
    is ``smooth``, W and b are moved, else x, for the gradient of a hinge does not
    depend on small changes of its scores. The case has generic numbers.
    """
    nudge = 1 + 2.0**-36
    case = case._replace(l2=0.0)
    if smooth:
        W, b = case.params
        moved = case._replace(params=HostParams(W * nudge, b * nudge))
    else:
        moved = case._replace(x=case.x * nudge)
    before, after = (run(gradient_fn, c, "float64").gradient for c in (case, moved))
    if before is None or after is None or before.W.shape != after.W.shape:
        return False
    return float(np.mean(before.W == after.W)) > 0.9


def one_line(error: BaseException) -> str:
    """Returns the type and the first line of the message, cut to a readable length."""
    message = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {message[:100]}"


def _x64(dtype: str) -> contextlib.AbstractContextManager:
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def _arguments(case: Case, dtype: str, as_array: Callable) -> tuple:
    """Returns fresh arrays: a function may write into what it is given."""
    W, b, x = (as_array(np.array(v, dtype)) for v in (*case.params, case.x))
    return Params(W, b), x, as_array(np.array(case.labels, "int32")), case.l2


def _read(result: Any, dtype: str) -> Outcome:
    """Unpacks ``(dW, db)``, or says what came instead."""
    returned = f"returned {type(result).__name__}"
    if not isinstance(result, tuple | list) or len(result) != 2:
        return Outcome(None, dtype, f"{returned}; expected the pair (dW, db)")
    parts = HostParams(*map(np.asarray, result))
    for name, part in zip(("dW", "db"), parts, strict=True):
        if part.dtype not in DTYPES:
            expected = "expected float32 or float64"
            return Outcome(None, dtype, f"{name} is {part.dtype}; {expected}")
        if part.dtype == "float32":
            dtype = "float32"
    return Outcome(HostParams(*(part.astype(np.float64) for part in parts)), dtype)
