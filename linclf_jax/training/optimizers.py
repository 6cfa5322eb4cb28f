"""From a name to an optax chain, built from hyper-parameters that may be traced.

optax takes its numbers when a chain is built, so a chain built outside a traced
function bakes them into the program: one compile for each learning rate. Build it
inside, from tracers, and one program serves every value.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from linclf_jax.params import Params
from linclf_jax.training import settings
from linclf_jax.training.settings import Hparams, Static

Schedule = Callable[[jax.Array], jax.Array]
Build = Callable[[Hparams, Any], optax.GradientTransformation]  # from a learning rate

# Decoupled weight decay and layer-wise scaling leave the bias alone, as l2 does.
_W_ONLY = Params(W=True, b=False)  # pyright: ignore[reportArgumentType]


class Optimizer(NamedTuple):
    """How to build an optimizer, and which hyper-parameters take part in it."""

    build: Build
    uses: tuple[str, ...] = ()
    elementwise: bool = True  # whether no entry's update depends on another entry


def _decoupled(make: Callable[..., optax.GradientTransformation]) -> Optimizer:
    """Returns an optimizer with two moments and decoupled weight decay."""

    def build(h: Hparams, lr: Any) -> optax.GradientTransformation:
        decay = {"weight_decay": h.weight_decay, "mask": _W_ONLY}
        return make(lr, b1=h.b1, b2=h.b2, **decay)

    return Optimizer(build, ("b1", "b2", "weight_decay"))


OPTIMIZERS: MappingProxyType[str, Optimizer] = MappingProxyType(
    {
        "sgd": Optimizer(lambda _, lr: optax.sgd(lr)),
        "momentum": Optimizer(
            lambda h, lr: optax.sgd(lr, momentum=h.momentum), ("momentum",)
        ),
        "nesterov": Optimizer(
            lambda h, lr: optax.sgd(lr, momentum=h.momentum, nesterov=True),
            ("momentum",),
        ),
        "adam": Optimizer(lambda h, lr: optax.adam(lr, b1=h.b1, b2=h.b2), ("b1", "b2")),
        "adamw": _decoupled(optax.adamw),
        "lion": _decoupled(optax.lion),
        "rmsprop": Optimizer(lambda h, lr: optax.rmsprop(lr, decay=h.b2), ("b2",)),
        "lars": Optimizer(
            lambda h, lr: optax.lars(lr, trust_ratio_mask=_W_ONLY, momentum=h.momentum),
            ("momentum",),
            elementwise=False,
        ),
    }
)
# These take part whatever the optimizer.
COMMON_HPARAMS = ("learning_rate", "l2", "warmup", "init_scale")


def uses(static: Static) -> tuple[str, ...]:
    """Returns the fields of ``Hparams`` that can change a run with these choices.

    >>> uses(Static(num_classes=3, optimizer="sgd", loss="weston_watkins_hinge"))
    ('learning_rate', 'l2', 'warmup', 'init_scale')
    """
    of_loss = ("label_smoothing",) if static.loss == settings.SMOOTHED_LOSS else ()
    return COMMON_HPARAMS + OPTIMIZERS[static.optimizer].uses + of_loss


def make_stacked(
    name: str, hparams: Hparams, learning_rate: jax.Array
) -> optax.GradientTransformation:
    """Returns the named optimizer for a stack of lanes, at the rates of one step.

    An elementwise optimizer updates a stack as it is, each lane by its own
    hyper-parameters. One that takes norms is mapped over the lanes.

    The rate is no schedule inside the chain, which XLA would fuse into the update: a
    cosine taken for every weight. The state holds no rate, so the chain can be built
    anew in every step.

    Hyper-parameters and learning rates, from ``make_schedule``, are ``(1, 1, L)``.
    """
    build, _, elementwise = OPTIMIZERS[name]
    if elementwise:
        return build(hparams, learning_rate)
    per_lane = jax.tree.map(
        lambda value: jnp.asarray(value)[0, 0], (hparams, learning_rate)
    )

    def init(params: optax.Params) -> optax.OptState:
        mapped = jax.vmap(
            lambda lane, p: build(*lane).init(p), in_axes=(0, -1), out_axes=-1
        )
        return mapped(per_lane, params)

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, optax.OptState]:
        mapped = jax.vmap(
            lambda lane, u, s, p: build(*lane).update(u, s, p),
            in_axes=(0, -1, -1, -1),
            out_axes=-1,
        )
        return mapped(per_lane, updates, state, params)

    return optax.GradientTransformation(init, update)


def make_schedule(name: str, hparams: Hparams, num_steps: int) -> Schedule:
    """Returns the learning rate as a function of the step, counted from 0.

    It rises linearly over the first ``warmup * num_steps`` steps, and then stays or
    falls, reaching 0 where step ``num_steps``, the end of the run, would be.
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
