"""From a name to an optax chain, built from hyper-parameters that may be traced.

optax takes its numbers when a chain is built, so a chain built outside a traced
function bakes them into the program: one compile for each learning rate. Build it
inside, from tracers, and one program serves every value.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from linclf_jax.params import Params
from linclf_jax.training import settings
from linclf_jax.training.settings import Hparams, Static

Schedule = Callable[[jax.Array], jax.Array]
Rate = float | jax.Array


class Optimizer(NamedTuple):
    """How to build an optimizer, and which hyper-parameters take part in it."""

    build: Callable[[Hparams, Rate], optax.GradientTransformation]
    uses: tuple[str, ...]
    elementwise: bool = True  # whether no entry's update depends on another entry


# Decoupled weight decay and layer-wise scaling leave the bias alone, as l2 does.
_W_ONLY = Params(W=True, b=False)  # pyright: ignore[reportArgumentType]


OPTIMIZERS: MappingProxyType[str, Optimizer] = MappingProxyType(
    {
        "sgd": Optimizer(lambda _, lr: optax.sgd(lr), uses=()),
        "momentum": Optimizer(
            lambda h, lr: optax.sgd(lr, momentum=h.momentum), uses=("momentum",)
        ),
        "nesterov": Optimizer(
            lambda h, lr: optax.sgd(lr, momentum=h.momentum, nesterov=True),
            uses=("momentum",),
        ),
        "adam": Optimizer(
            lambda h, lr: optax.adam(lr, b1=h.b1, b2=h.b2), uses=("b1", "b2")
        ),
        "adamw": Optimizer(
            lambda h, lr: optax.adamw(
                lr, b1=h.b1, b2=h.b2, weight_decay=h.weight_decay, mask=_W_ONLY
            ),
            uses=("b1", "b2", "weight_decay"),
        ),
        "lion": Optimizer(
            lambda h, lr: optax.lion(
                lr, b1=h.b1, b2=h.b2, weight_decay=h.weight_decay, mask=_W_ONLY
            ),
            uses=("b1", "b2", "weight_decay"),
        ),
        "rmsprop": Optimizer(lambda h, lr: optax.rmsprop(lr, decay=h.b2), uses=("b2",)),
        "lars": Optimizer(
            lambda h, lr: optax.lars(
                lr,
                trust_ratio_mask=_W_ONLY,
                momentum=h.momentum,
            ),
            uses=("momentum",),
            elementwise=False,
        ),
    }
)
# These take part whatever the optimizer.
COMMON_HPARAMS = ("learning_rate", "l2", "warmup", "init_scale")


def uses(static: Static) -> tuple[str, ...]:
    """Returns the fields of ``Hparams`` that can change a run with these choices.

    Args:
        static: Its optimizer is a key of ``OPTIMIZERS``; its loss says whether labels
            can be smoothed.

    >>> uses(Static(num_classes=3, optimizer="sgd", loss="weston_watkins_hinge"))
    ('learning_rate', 'l2', 'warmup', 'init_scale')
    """
    of_loss = ("label_smoothing",) if static.loss == settings.SMOOTHED_LOSS else ()
    return COMMON_HPARAMS + OPTIMIZERS[static.optimizer].uses + of_loss


def make(
    name: str, hparams: Hparams, learning_rate: Rate
) -> optax.GradientTransformation:
    """Returns the named optimizer at one learning rate: that of the step to make.

    The rate is no schedule inside the chain, which XLA would fuse into the update: a
    cosine taken for every weight. Its state holds no rate, so it can be built anew in
    every step.

    Args:
        name: A key of ``OPTIMIZERS``.
        hparams: Scalars, concrete or traced.
        learning_rate: A scalar, concrete or traced; see ``make_schedule``.
    """
    return OPTIMIZERS[name].build(hparams, learning_rate)


def make_stacked(
    name: str, hparams: Hparams, learning_rate: jax.Array
) -> optax.GradientTransformation:
    """Returns the named optimizer for a stack of lanes, lanes last.

    An elementwise optimizer updates a stack as it is, each lane by its own
    hyper-parameters. One that takes norms is mapped over the lanes.

    Args:
        name: A key of ``OPTIMIZERS``.
        hparams: Arrays ``(1, 1, L)``.
        learning_rate: ``(1, 1, L)``, of the step to make.
    """
    if OPTIMIZERS[name].elementwise:
        return make(name, hparams, learning_rate)
    per_lane = Hparams(*(jnp.asarray(value)[0, 0] for value in hparams))
    rates = learning_rate[0, 0]

    def build(h: Hparams, rate: jax.Array) -> optax.GradientTransformation:
        return make(name, h, rate)

    def init(params: optax.Params) -> optax.OptState:
        mapped = jax.vmap(
            lambda h, r, p: build(h, r).init(p), in_axes=(0, 0, -1), out_axes=-1
        )
        return mapped(per_lane, rates, params)

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, optax.OptState]:
        mapped = jax.vmap(
            lambda h, r, u, s, p: build(h, r).update(u, s, p),
            in_axes=(0, 0, -1, -1, -1),
            out_axes=-1,
        )
        return mapped(per_lane, rates, updates, state, params)

    return optax.GradientTransformation(init, update)


def make_schedule(name: str, hparams: Hparams, num_steps: int) -> Schedule:
    """Returns the learning rate as a function of the step, counted from 0.

    It rises linearly over the first ``warmup * num_steps`` steps, and then stays or
    falls, reaching 0 where step ``num_steps`` would be.

    Args:
        name: ``constant``, ``cosine`` or ``linear``.
        hparams: ``learning_rate`` and ``warmup`` are used, concrete or traced.
        num_steps: Steps of the whole run.
    """
    shape = _SHAPES[name]

    def learning_rate(step: jax.Array) -> jax.Array:
        warmup_steps = hparams.warmup * num_steps
        rise = jnp.minimum(1.0, (step + 1) / jnp.maximum(warmup_steps, 1.0))
        progress = (step - warmup_steps) / (num_steps - warmup_steps)
        fall = shape(jnp.clip(progress, 0.0, 1.0))
        return jnp.asarray(hparams.learning_rate) * rise * fall

    return learning_rate


_SHAPES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "constant": jnp.ones_like,
    "cosine": lambda progress: 0.5 * (1.0 + jnp.cos(jnp.pi * progress)),
    "linear": lambda progress: 1.0 - progress,
}
