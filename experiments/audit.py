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

from linclf_jax import audit, losses
from linclf_jax.audit import outcomes
from linclf_jax.audit.original import verdict
from linclf_jax.cli import main
from linclf_jax.config.fields import flag


@dataclasses.dataclass(frozen=True)
class AuditConfig:
    """What to audit; the derivation without a gradient."""

    gradient: str | None = flag(None, "package.module:function.")
    loss: str | None = flag(
        None,
        "Of that gradient; softmax_cross_entropy if unset.",
        names=losses.LOSSES,
    )
    l2: float | None = flag(
        None, "Largest penalty that it is called with; 0.1 if unset."
    )
    targets: bool = flag(
        False, "That it is called with targets (N, C): 1, 0, and -1 for unknown."
    )


def run(config: AuditConfig) -> int:
    """Prints an audit and returns the exit status: 0 when all is as it should be."""
    options = {"loss": config.loss, "l2": config.l2, "targets": config.targets or None}
    given = {name: value for name, value in options.items() if value is not None}
    if config.gradient is not None:
        result = audit.audit_gradient(outcomes.load(config.gradient), **given)
        print(result)
        return 0 if result.passed else 1
    if given:
        names = " and ".join(f"--{name}" for name in given)
        raise ValueError(
            f"{names} without a gradient; expected --gradient=package.module:function "
            "beside it, for the derivation has a loss and l2 of its own"
        )
    outcome = verdict.confirm()
    print(outcome.text)
    return 0 if outcome.is_confirmed else 1


SCRIPT = main.Script(run, AuditConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
