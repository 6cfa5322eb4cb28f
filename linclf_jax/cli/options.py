"""The flags that the training scripts share, and the frozen configuration they make.

``Config`` is the one list of them: each field is a flag of the same name, with its
help text beside it. A flag becomes a field, a field becomes a line of ``flags.txt``,
and that file given as ``--flagfile`` makes the same ``Config`` again.

Flags of static choices take names or integers with commas between; flags of
hyper-parameters accept ``0.1``, ``0.1,0.3``, ``log:LOW:HIGH:COUNT`` and
``lin:LOW:HIGH:COUNT``. What they amount to is for ``swept`` to say.
"""

# ruff: noqa: RUF009 -- flag is dataclasses.field
import dataclasses
import sys
from pathlib import Path
from typing import Any

from absl import flags

from linclf_jax.cli import flag_types
from linclf_jax.config import grid_file as sweep_file
from linclf_jax.config import penalty
from linclf_jax.config.data import DataFlags
from linclf_jax.config.fields import flag, one_of, some_of
from linclf_jax.data import images, preprocessing
from linclf_jax.losses import LOSSES
from linclf_jax.selection import choose, ranking
from linclf_jax.training import optimizers, search_space, settings

FLAGS = flags.FLAGS


IN_PLACE_OF_L2 = (
    "In place of --l2, scikit-learn's: 1 / (l2 n) of n training rows, 2 / (l2 n) for "
    "two classes."
)


@dataclasses.dataclass(frozen=True)
class Config(DataFlags):
    """Everything a training script is told. Tuples and ranges are swept."""

    # Static choices: a program is compiled for each combination.
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
        "The epoch a lane ends with; the best is that of the lowest validation loss. "
        f"{one_of(settings.KEPT)}",
    )

    # Hyper-parameters: any number of values in one program.
    learning_rate: search_space.Axis = flag((0.03,), "Peak learning rates.")
    l2: search_space.Axis | None = flag(
        (1e-3,), "Penalties: (l2 / 2) ||W||^2, mean loss."
    )
    C: search_space.Axis | None = flag(None, IN_PLACE_OF_L2)
    momentum: search_space.Axis = flag((0.9,), "For momentum, nesterov, lars.")
    b1: search_space.Axis = flag((0.9,), "For adam, adamw, lion.")
    b2: search_space.Axis = flag((0.999,), "For adam, adamw, lion, rmsprop.")
    weight_decay: search_space.Axis = flag((0.0,), "For adamw, lion.")
    label_smoothing: search_space.Axis = flag(
        (0.0,), "For softmax_cross_entropy, below 1."
    )
    warmup: search_space.Axis = flag((0.0,), "Share of the steps, below 1.")
    init_scale: search_space.Axis = flag((1e-3,), "W starts uniform in +-this.")
    seeds: tuple[int, ...] = flag((0,), "Of initial weights and minibatch order.")

    folds: int = flag(
        0,
        "Of a cross-validation over training and validation rows, at least 2; 0 takes "
        "the validation split as it is.",
    )
    sample: int | None = flag(
        None, "Draw this many points at random; the whole grid if unset."
    )
    sample_seed: int = flag(0, "Which points --sample draws.")
    halving: int | None = flag(
        None,
        "Successive halving: one setting in this many, at least 2, trains on after "
        "each rung. All train to the end if unset.",
    )
    sweep_file: str | None = flag(
        None,
        "JSON, or the path of a file of it, with several grids; each overrides flags "
        'that are swept: {"grids": [{"optimizer": "lars", "learning_rate": [1, 3]}]}.',
    )
    select_by: str = flag("val_loss", one_of(ranking.LANE_CRITERIA))
    choice: str = flag(
        "min",
        f"The best, or the strongest l2 within its error. {one_of(choose.RULES)}",
    )
    table: tuple[str, ...] = flag(
        (),
        "Choose and test one setting for each combination of these, too: "
        "features,loss for instance.",
    )

    gradient: str = flag("manual", one_of(settings.GRADIENTS))
    precision: str = flag(
        "highest", f"Of matrix products. {one_of(settings.PRECISIONS)}"
    )
    tile_width: int | None = flag(
        None,
        "Lanes of one compiled program; a lane's bits depend on it. By the number of "
        "classes if unset, 128 for ten.",
    )
    num_shards: int = flag(1, "Independent jobs that share the lanes of one sweep.")
    shard_index: int = flag(0, "Which of them this is, from 0.")

    out_dir: str | None = flag(None, "The run folder; a new one in runs/ if unset.")
    memory_budget: str | None = flag(
        None, "Most memory that training may take, such as 8GiB; found out if unset."
    )
    devices: str = flag("1", "How many devices train at once, or all.")
    tiles_at_once: int | None = flag(
        None, "Programs that train side by side on a device; planned if unset."
    )
    tensorboard: bool = flag(False, "Write TensorBoard's event files too.")
    checkpoint_every: float = flag(
        60.0, "Seconds between checkpoints in the middle of a tile."
    )
    compilation_cache: str | None = flag(
        None,
        "A folder for compiled programs; none for no cache; a private one in the "
        "user's own cache if unset.",
    )


# Flags that change no result: a command that resumes a run may differ in them.
NOT_COMPARED = (
    "out_dir",
    "memory_budget",
    "devices",
    "tiles_at_once",
    "tensorboard",
    "checkpoint_every",
    "compilation_cache",
)
_DEFINE = {
    int: flags.DEFINE_integer,
    int | None: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
    str | None: flags.DEFINE_string,
}


def define(defaults: Any, flag_values: flags.FlagValues | None = None) -> None:
    """Defines one absl flag for each field of a configuration.

    Args:
        defaults: ``Config`` or one of a script's own; what a flag that is not given
            stands for.
        flag_values: Where; those of the command line if not given.
    """
    flag_values = FLAGS if flag_values is None else flag_values
    for field in dataclasses.fields(defaults):
        default, text = getattr(defaults, field.name), field.metadata["help"]
        if field.type in flag_types.PARSERS:
            flags.DEFINE(
                flag_types.PARSERS[field.type],
                field.name,
                flag_types.text(default),
                text,
                flag_values=flag_values,
                serializer=flag_types.Serializer(),
            )
        else:
            define_one = _DEFINE[field.type]
            define_one(field.name, default, text, flag_values=flag_values)
        # --help lists the key flags of the script, which is this module to absl.
        flag_values.register_key_flag_for_module(sys.argv[0], flag_values[field.name])


def from_flags(flag_values: flags.FlagValues | None = None) -> Config:
    """Returns the configuration that the command line amounts to.

    Args:
        flag_values: Parsed flags; those of the command line if not given.

    Raises:
        ValueError: ``--sweep_file`` is bad; other flags are checked in ``swept``.
    """
    given = values(Config, flag_values)
    if given["sweep_file"] is not None:
        given["sweep_file"] = sweep_file.read(given["sweep_file"])
    return Config(**given)


def values(kind: type, flag_values: flags.FlagValues | None = None) -> dict[str, Any]:
    """Returns what the flags say of each field of a configuration.

    Args:
        kind: ``Config`` or one of a script's own.
        flag_values: Parsed flags; those of the command line if not given.
    """
    flag_values = FLAGS if flag_values is None else flag_values
    found = {f.name: getattr(flag_values, f.name) for f in dataclasses.fields(kind)}
    return penalty.settled(found, [k for k in found if flag_values[k].present])


def read(path: Path) -> Config:
    """Returns the configuration that a flagfile makes, apart from the command line's.

    Args:
        path: ``flags.txt`` of a run folder.

    Raises:
        ValueError: The file is missing, or holds something else.
    """
    parsed = flags.FlagValues()
    define(Config(), parsed)
    try:
        parsed(["", *path.read_text(encoding="utf-8").splitlines()])
    except (OSError, flags.Error) as error:
        raise ValueError(f"{path}: {error}") from error
    return from_flags(parsed)


def compared(config: Any) -> dict[str, Any]:
    """Returns the flags that results depend on, as ``config.json`` holds them."""
    return {
        name: search_space.text(value)
        if isinstance(value, search_space.Range)
        else value
        for name, value in vars(config).items()
        if name not in NOT_COMPARED
    }


def to_flagfile(config: Any) -> str:
    """Returns the lines of a flagfile that makes ``config``, but for NOT_COMPARED."""
    given = {k: v for k, v in compared(config).items() if v is not None}
    return "".join(f"--{k}={flag_types.text(v)}\n" for k, v in given.items())
