"""How classifiers are trained by minibatches. Tuples and ranges are searched."""

import dataclasses

from linclf_jax.config.fields import flag, one_of, some_of
from linclf_jax.data import images, preprocessing
from linclf_jax.losses import LOSSES
from linclf_jax.training import optimizers, settings
from linclf_jax.training.search_space import Axis


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Static choices, of which each combination is a program, and hyper-parameters."""

    features: tuple[str, ...] = flag(
        ("raw",), f"The columns as they are, or of images {', '.join(images.NAMES)}."
    )
    preprocessing: tuple[str, ...] = flag(
        ("standardize",), f"Fitted on training rows. {some_of(preprocessing.NAMES)}"
    )
    loss: tuple[str, ...] = flag(("softmax_cross_entropy",), some_of(LOSSES))
    optimizer: tuple[str, ...] = flag(("momentum",), some_of(optimizers.OPTIMIZERS))
    schedule: tuple[str, ...] = flag(
        ("cosine",), f"Of the learning rate. {some_of(settings.SCHEDULES)}"
    )
    batch_size: tuple[int, ...] | None = flag(
        None, "Rows of a minibatch; 128, or all where there are fewer, if unset."
    )
    epochs: tuple[int, ...] = flag((60,), "Passes over the training rows.")
    keep: str = flag(
        "last",
        "The epoch a trial ends with; the best is that of the lowest validation loss. "
        f"{one_of(settings.KEPT)}",
    )

    # Hyper-parameters: any number of values in one program.
    learning_rate: Axis = flag((0.03,), "Peak learning rates.")
    momentum: Axis = flag((0.9,), "For momentum, nesterov, lars.")
    b1: Axis = flag((0.9,), "For adam, adamw, lion.")
    b2: Axis = flag((0.999,), "For adam, adamw, lion, rmsprop.")
    weight_decay: Axis = flag((0.0,), "For adamw, lion.")
    label_smoothing: Axis = flag((0.0,), "For softmax_cross_entropy, below 1.")
    warmup: Axis = flag((0.0,), "Share of the steps, below 1.")
    init_scale: Axis = flag((1e-3,), "W starts uniform in +-this.")
    seeds: tuple[int, ...] = flag((0,), "Of initial weights and minibatch order.")

    gradient: str = flag("manual", one_of(settings.GRADIENTS))
    precision: str = flag(
        "highest", f"Of matrix products. {one_of(settings.PRECISIONS)}"
    )
