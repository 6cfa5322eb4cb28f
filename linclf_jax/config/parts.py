"""What the configurations of studies have in common: training, solving, selecting."""

import dataclasses
import math

from linclf_jax.config.fields import SEED, Check, at_least, flag
from linclf_jax.data import images, preprocessing
from linclf_jax.losses import LOSSES
from linclf_jax.selection import certainty, choose, ranking
from linclf_jax.training import optimizers, settings
from linclf_jax.training.search_space import Axis


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How classifiers are trained by minibatches. Tuples and ranges are searched."""

    # Static choices: each combination is a program.
    features: tuple[str, ...] = flag(
        ("raw",),
        "The columns as they are, raw, or features of images.",
        names=(settings.RAW, *images.NAMES),
    )
    preprocessing: tuple[str, ...] = flag(
        ("standardize",),
        f"Fitted on training rows. One or more of {', '.join(preprocessing.NAMES)}.",
    )
    loss: tuple[str, ...] = flag(("softmax_cross_entropy",), names=LOSSES)
    optimizer: tuple[str, ...] = flag(("momentum",), names=optimizers.OPTIMIZERS)
    schedule: tuple[str, ...] = flag(
        ("cosine",), "Of the learning rate.", names=settings.SCHEDULES
    )
    batch_size: tuple[int, ...] | None = flag(
        None, "Rows of a minibatch; 128, or all where there are fewer, if unset."
    )
    epochs: tuple[int, ...] = flag((60,), "Passes over the training rows.")
    shuffle: str | None = flag(
        None,
        "Order of an epoch: any order of rows, or of blocks of a file, which is the "
        "default where features exceed the memory.",
        names=settings.SHUFFLES,
    )
    keep: str = flag(
        "last",
        "The epoch a trial ends with; the best is that of the lowest validation loss.",
        names=settings.KEPT,
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
    seeds: tuple[int, ...] = flag(
        (0,), "Of initial weights and minibatch order.", check=SEED
    )

    gradient: str = flag("manual", names=settings.GRADIENTS)
    precision: str = flag("highest", "Of matrix products.", names=settings.PRECISIONS)


@dataclasses.dataclass(frozen=True)
class ExactConfig:
    """When an exact fit ends, and which are certified."""

    tol: float = flag(
        1e-6,
        "Relative duality gap of every fit that is certified.",
        check=Check(lambda tol: 0 < tol < math.inf, "a number above 0"),
    )
    max_newton_steps: int = flag(
        100, "Newton steps of an exact fit.", check=at_least(0)
    )
    certify: str = flag(
        certainty.SELECTION,
        "The fits that the selection rests on, the others being near enough to be "
        "compared; or all.",
        names=(certainty.SELECTION, certainty.ALL),
    )


@dataclasses.dataclass(frozen=True)
class SelectionConfig:
    """What a selection ranks by, the rule that it takes, and how rows are held out."""

    metric: str = flag(
        "val_loss",
        "On rows that are held out; the calibrated loss for exact fits alone.",
        names=ranking.METRICS,
    )
    rule: str = flag(
        "best", "The best, or the strongest l2 within its error.", names=choose.RULES
    )
    folds: int = flag(
        0,
        "Of a cross-validation over training and validation rows, at least 2; 0, in a "
        "sweep, takes the validation split as it is.",
    )


@dataclasses.dataclass(frozen=True)
class RuntimeConfig:
    """Where and how a study runs. None of it changes a result."""

    out_dir: str | None = flag(None, "The run directory; a new one in runs/ if unset.")
    checkpoint_every: float = flag(
        60.0,
        "Seconds between checkpoints of unfinished fits.",
        check=Check(lambda s: 0 <= s < math.inf, "seconds, at least 0 and finite"),
    )
    compilation_cache: str | None = flag(
        None,
        "A folder for compiled programs; none for no cache; a private one in the "
        "user's own cache if unset.",
    )


@dataclasses.dataclass(frozen=True)
class SchedulerConfig:
    """How trials are trained in batches of one program. None changes a result."""

    memory_budget: str | None = flag(
        None,
        "Most memory that training may take, such as 8GiB; by what is free if unset.",
    )
    devices: str = flag(
        "1",
        "How many devices train at once, or all.",
        check=Check(
            lambda text: text == "all" or (text.isdecimal() and int(text) >= 1),
            "a number of at least 1, or all",
        ),
    )
    concurrent_batches: int | None = flag(
        None,
        "Programs that train side by side on a device; planned if unset.",
        check=at_least(1),
    )
    tensorboard: bool = flag(False, "Write TensorBoard's event files too.")
