"""How many digits of the cross-entropy and of its gradient survive floating point.

The loss and the logits gradient of this package, of optax, and of
``jax.nn.log_softmax`` are compared with mpmath at 50 digits, on random and adversarial
logits. Errors are in units in the last place (ulp) of the true value, divided by
``max(1, D)``, where D is the largest distance between two logits whose exponential does
not underflow: that much is lost in ``exp(s_j - s_k)`` by rounding its argument. A
result below the smallest normal number may be flushed to zero, as XLA does on a CPU.
"""

from __future__ import annotations

import collections
import platform
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from linclf_jax import gradients, losses

if TYPE_CHECKING:
    import mpmath

BOUND = 4.0  # ulp times max(1, D)
CASES_PER_FAMILY = 80
NUM_CLASSES = (2, 3, 10, 100)
FAMILIES = (
    "ordinary logits",
    "common shift up to 1e8",
    "confident and right, loss from 1e-30",
    "confident and wrong, loss to 1e4",
    "logits of 3e38",
    "minus infinity on wrong classes",
    "exact ties",
    "one class",
)


class Case(NamedTuple):
    """One row of logits, in the dtype under test, with its label."""

    family: str
    logits: np.ndarray  # (C,)
    label: int


class Scores(NamedTuple):
    """Worst scaled errors of one implementation in one family of cases."""

    loss: float
    gradient: float


def cases(dtype: np.dtype) -> Iterator[Case]:
    """Yields the seeded cases of each family, in the given dtype."""
    for number, family in enumerate(FAMILIES):
        for index in range(CASES_PER_FAMILY):
            rng = np.random.default_rng([number, index])
            yield Case(family, *_draw(family, rng, np.dtype(dtype)))


def _draw(
    family: str, rng: np.random.Generator, dtype: np.dtype
) -> tuple[np.ndarray, int]:
    num_classes = 1 if family == "one class" else int(rng.choice(NUM_CLASSES))
    label = int(rng.integers(num_classes))
    wrong = np.arange(num_classes) != label
    logits = rng.normal(size=num_classes) * 10 ** rng.uniform(-3, 1.3)
    if family == "common shift up to 1e8":
        logits += rng.choice([-1, 1]) * 10 ** rng.uniform(3, 8)
    elif family == "confident and right, loss from 1e-30":
        logits = rng.uniform(-1, 0, num_classes)
        logits[label] += rng.uniform(0, 70)
    elif family == "confident and wrong, loss to 1e4":
        logits[label] -= 10 ** rng.uniform(1, 4)
    elif family == "logits of 3e38":
        logits = rng.choice([3e38, 2.9e38, -3e38, 0.0], num_classes)
        logits[label] = rng.choice([3e38, 2.9e38])
    elif family == "minus infinity on wrong classes":
        logits[wrong & (rng.random(num_classes) < 0.5)] = -np.inf
    elif family == "exact ties":
        logits = rng.integers(-2, 3, num_classes) * 10 ** rng.uniform(-1, 1)
    return logits.astype(dtype), label


def reference(case: Case) -> tuple[Any, list[Any]]:
    """Returns the loss and the logits gradient, ``mpmath.mpf`` at 50 digits."""
    import mpmath  # an extra: what needs none of it works without it

    with mpmath.workdps(50):
        scores = [mpmath.mpf(float(score)) for score in case.logits]
        top = max(scores)
        # log1p and the sum over the other classes: 50 digits of 1e-30, not of 1.
        exps = [mpmath.exp(score - top) for score in scores]
        total = mpmath.fsum(exps)
        others = mpmath.fsum(e for j, e in enumerate(exps) if j != case.label)
        gradient = [e / total for e in exps]
        gradient[case.label] = -others / total
        return mpmath.log1p(others / exps[case.label]), gradient


def scaled_error(value: float, true: mpmath.mpf, case: Case) -> float:
    """Returns the error in ulp of ``true`` over ``max(1, D)``; 0 for a legal flush."""
    import mpmath

    info = np.finfo(case.logits.dtype)
    if not np.isfinite(value):
        return 0.0 if abs(true) > float(info.max) and value > 0 else np.inf
    if abs(true) < float(info.tiny):
        return 0.0 if abs(value) <= float(info.tiny) else np.inf
    exponent = mpmath.floor(mpmath.log(abs(true), 2))
    ulp = mpmath.ldexp(float(info.eps), int(exponent))
    return float(abs(mpmath.mpf(value) - true) / ulp) / max(1.0, distance(case))


def distance(case: Case) -> float:
    """Returns D: the largest logit minus the smallest that does not underflow."""
    gaps = float(case.logits.max()) - case.logits.astype(np.float64)
    return float(gaps[gaps < -np.log(float(np.finfo(case.logits.dtype).tiny))].max())


def _ours(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    gradient = gradients.logits_gradient(logits, labels, loss="softmax_cross_entropy")
    return losses.softmax_cross_entropy(logits, labels), gradient


def _by_autodiff(loss: Callable) -> Callable:
    def evaluate(logits, labels):
        values, pull = jax.vjp(lambda scores: loss(scores, labels), logits)
        return values, pull(jnp.ones_like(values))[0]

    return evaluate


def _log_softmax_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probs, labels[:, None], axis=-1)[:, 0]


IMPLEMENTATIONS: dict[str, Callable] = {
    "linclf_jax": _ours,
    "linclf_jax, jax.grad": _by_autodiff(losses.softmax_cross_entropy),
    "optax, integer labels": _by_autodiff(
        optax.losses.softmax_cross_entropy_with_integer_labels
    ),
    "jax.nn.log_softmax": _by_autodiff(_log_softmax_loss),
}


def measure(dtype: np.dtype) -> dict[tuple[str, str], Scores]:
    """Returns the worst errors for each (family, implementation)."""
    errors = collections.defaultdict(list)
    compiled = {name: jax.jit(f) for name, f in IMPLEMENTATIONS.items()}
    for case in cases(dtype):
        true_loss, true_gradient = reference(case)
        logits, label = jnp.asarray(case.logits[None]), jnp.array([case.label])
        for name, evaluate in compiled.items():
            value, gradient = jax.tree.map(np.asarray, evaluate(logits, label))
            loss_error = scaled_error(float(value[0]), true_loss, case)
            gradient_error = max(
                scaled_error(float(g), t, case)
                for g, t in zip(gradient[0], true_gradient, strict=True)
            )
            errors[case.family, name].append((loss_error, gradient_error))
    return {key: Scores(*np.max(pairs, axis=0)) for key, pairs in errors.items()}


def table(dtype: np.dtype) -> str:
    """Returns the measured errors of one dtype as a Markdown table."""
    worst = measure(dtype)
    names = list(IMPLEMENTATIONS)
    rows = [
        ["logits", *names],
        ["---"] * (1 + len(names)),
        *([family, *(_cell(worst[family, n]) for n in names)] for family in FAMILIES),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(scores: Scores) -> str:
    return " / ".join(
        f"**{error:.2g}**" if error > BOUND else f"{error:.2g}" for error in scores
    )


PAGE = """# What floating point leaves of the loss and its gradient

Made by `python -m experiments.numerics --out=docs/numerics.md` on {platform}, with jax
{jax} and optax {optax}: {count} cases in each dtype, compared with mpmath at 50 digits.

Each cell is *worst error of the loss / worst error of a coordinate of the gradient with
respect to the logits*, in units in the last place of the true value, divided by
`max(1, D)`. D is the largest distance between two logits whose exponential does not
underflow: rounding the argument of `exp` costs that much, whatever the formula. Bold is
more than {bound:g}, the bound that the tests hold this package to. One unit is 1.2e-7
of the value in float32 and 2.2e-16 in float64, so 8e+06 in float32 means that no digit
is right.

- `linclf_jax` is the loss of equation (5) and the gradient of equations (8) and (9),
  written by hand in [derivation.md](derivation.md).
- `linclf_jax, jax.grad` is the same loss with the gradient that autodiff takes of it.
  The true class and the top class come out as a difference from 1, and the digits of a
  small result are gone; `gradients.with_manual_gradient` gives `jax.grad` the
  hand-written rule.
- optax subtracts the label's logit from `logsumexp`: a common shift of the logits takes
  the loss with it. When the prediction is confident and right, its loss and gradient
  are 0 from a margin of about 17 (float32) or 37 (float64) on.

## float32

{float32}

## float64

{float64}
"""


def page() -> str:
    """Returns docs/numerics.md, measured afresh."""
    with jax.enable_x64(True):
        tables = {name: table(np.dtype(name)) for name in ("float32", "float64")}
    return PAGE.format(
        platform=f"{jax.devices()[0].platform} ({platform.machine()})",
        jax=jax.__version__,
        optax=optax.__version__,
        count=len(FAMILIES) * CASES_PER_FAMILY,
        bound=BOUND,
        **tables,
    )
