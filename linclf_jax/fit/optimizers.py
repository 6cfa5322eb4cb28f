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

from linclf_jax.fit.settings import Hparams
from linclf_jax.params import Params

Schedule = Callable[[jax.Array], jax.Array]


class Optimizer(NamedTuple):
    """How to build an optimizer, and which hyper-parameters take part in it."""

    build: Callable[[Hparams, Schedule], optax.GradientTransformation]
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


def uses(optimizer: str) -> tuple[str, ...]:
    """Returns the fields of ``Hparams`` that change a run with this optimizer.

    Args:
        optimizer: A key of ``OPTIMIZERS``.
    """
    return COMMON_HPARAMS + OPTIMIZERS[optimizer].uses


def make(
    name: str, schedule: str, hparams: Hparams, num_steps: int
) -> optax.GradientTransformation:
    """Returns the named optimizer with the named schedule.

    Args:
        name: A key of ``OPTIMIZERS``.
        schedule: ``constant``, ``cosine`` or ``linear``; the last two fall to 0 at the
            end of the run.
        hparams: Scalars, concrete or traced.
        num_steps: Steps of the whole run.
    """
    return OPTIMIZERS[name].build(hparams, make_schedule(schedule, hparams, num_steps))


def make_stacked(
    name: str, schedule: str, hparams: Hparams, num_steps: int
) -> optax.GradientTransformation:
    """Returns the named optimizer for a stack of lanes, lanes last.

    An elementwise optimizer updates a stack as it is, each lane by its own
    hyper-parameters. One that takes norms is mapped over the lanes.

    Args:
        name: A key of ``OPTIMIZERS``.
        schedule: As in ``make``.
        hparams: Arrays ``(1, 1, L)``.
        num_steps: Steps of the whole run.
    """
    if OPTIMIZERS[name].elementwise:
        return make(name, schedule, hparams, num_steps)
    per_lane = Hparams(*(jnp.asarray(value)[0, 0] for value in hparams))

    def build(h: Hparams) -> optax.GradientTransformation:
        return make(name, schedule, h, num_steps)

    def init(params: optax.Params) -> optax.OptState:
        mapped = jax.vmap(lambda h, p: build(h).init(p), in_axes=(0, -1), out_axes=-1)
        return mapped(per_lane, params)

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, optax.OptState]:
        mapped = jax.vmap(
            lambda h, u, s, p: build(h).update(u, s, p),
            in_axes=(0, -1, -1, -1),
            out_axes=-1,
        )
        return mapped(per_lane, updates, state, params)

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
