"""Checks the original derivation line by line, or a gradient of your own.

    python -m experiments.audit

prints each line of the original derivation as printed and as corrected, with its
largest difference from autodiff, and how two of its mistakes cancel. It ends with

    38 lines: 10 hold, 28 fail as printed; every verdict and correction is confirmed

and exit status 0; a correction that fails, or a verdict that is not the catalogued one,
makes that 1.

    python -m experiments.audit --gradient=my_package.my_module:my_gradient --l2=0.01

calls ``my_gradient(params, x, labels, l2) -> (dW, db)`` on inputs that tell faults
apart, compares it with autodiff and central differences, and exits 1 when it is wrong,
with the name of the known fault if it is one:

    FAILED: 48 of 96 comparisons
    first: N = C = D, float32, db:
      db[0] is 0.0567657; autodiff -0.143234, central differences -0.143234
    diagnosis: bias gradient = P, S7
"""

import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from linclf_jax import audit, losses
from linclf_jax.cli import main as launch


@dataclasses.dataclass(frozen=True)
class Config:
    """What to audit."""

    gradient: str | None = None  # package.module:function; None for the derivation
    loss: str | None = None  # of the gradient; None for what the auditor takes
    l2: float | None = None


def run(config: Config) -> int:
    """Prints an audit and returns the exit status: 0 when all is as it should be.

    Raises:
      ValueError: If there is no such gradient or loss, l2 is out of range, or either
        is given with no gradient.
    """
    options = {"loss": config.loss, "l2": config.l2}
    given = {name: value for name, value in options.items() if value is not None}
    if config.gradient is None:
        if given:
            names = " and ".join(f"--{name}" for name in given)
            raise ValueError(
                f"{names} without a gradient; expected --gradient=package.module:"
                "function beside it, for the derivation has a loss and l2 of its own"
            )
        return _audit_derivation()
    result = audit.audit_gradient(load(config.gradient), **given)
    print(result)
    return 0 if result.passed else 1


def load(path: str) -> Callable[..., Any]:
    """Returns the function that ``package.module:function`` names.

    Modules of the working directory are found before others.

    Raises:
      ValueError: If it is not of that form, cannot be imported, or is no function.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"--gradient is {path!r}; expected package.module:function")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs the module's own code
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"cannot import {module_name}: {message}") from error
    found = getattr(module, name, None)
    if not callable(found):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise ValueError(f"{module_name}.{name} is {what}; expected a function")
    return found


def _audit_derivation() -> int:
    rows, factors = audit.claims(), audit.cancellation()
    print(audit.format_claims(rows))
    print("\nS5i holds because two mistakes cancel: its factors, each printed or right")
    print(audit.format_cancellation(factors))
    holding = sum(row.verdict == audit.HOLDS for row in rows)
    wrong = [row.name for row in rows if not row.confirmed]
    if [row.holds for row in factors] != [True, False, False, True]:
        wrong.append("the cancellation")
    confirmed = "every verdict and correction is confirmed"
    print(
        f"\n{len(rows)} lines: {holding} hold, {len(rows) - holding} fail as printed; "
        + (f"NOT CONFIRMED: {', '.join(wrong)}" if wrong else confirmed)
    )
    return 1 if wrong else 0


def main() -> int:
    """Audits what the flags name."""
    values = flags.FLAGS.flag_values_dict()
    return run(Config(**{f.name: values[f.name] for f in dataclasses.fields(Config)}))


def define() -> None:
    """Defines the flags; not on import, for other scripts have a --loss too."""
    default = Config()
    flags.DEFINE_string("gradient", default.gradient, "package.module:function.")
    loss_help = "Of that gradient; softmax_cross_entropy if unset."
    flags.DEFINE_enum("loss", default.loss, list(losses.LOSSES), loss_help)
    l2_help = "Largest penalty that it is called with; 0.1 if unset."
    flags.DEFINE_float("l2", default.l2, l2_help)


if __name__ == "__main__":
    define()
    launch.launch(main)
