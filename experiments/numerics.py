"""How many digits of the cross-entropy and of its gradient survive floating point.

    python -m experiments.numerics --out=docs/numerics.md

compares, with mpmath at 50 digits, the loss and the logits gradient of this package,
of optax, and of ``jax.nn.log_softmax``, on random and adversarial logits, and writes a
page with the worst error of each. ``linclf_jax.audit.numerics`` says in what unit.

Needs mpmath (the extra ``test``). Takes half a minute.
"""

import dataclasses
import importlib.util
import os
from pathlib import Path

from linclf_jax.audit import numerics
from linclf_jax.cli import main
from linclf_jax.config.fields import flag
from linclf_jax.runs import directory


@dataclasses.dataclass(frozen=True)
class NumericsConfig:
    """Where the page goes."""

    out: str | None = flag(None, "File for the page; printed if unset.")


def run(config: NumericsConfig) -> None:
    """Measures both dtypes and writes or prints the page."""
    if importlib.util.find_spec("mpmath") is None:
        raise ValueError(
            "the reference is computed by mpmath, which is not installed: "
            "pip install 'linclf_jax[test]'"
        )
    if config.out is None:
        print(numerics.page())
        return
    out = Path(config.out)
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise ValueError(
            f"--out is {config.out!r}; expected a file in a folder that exists and can "
            "be written to"
        )
    directory.write(out, numerics.page())


SCRIPT = main.Script(run, NumericsConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
