"""The flags that the training scripts share, and the frozen configuration they make.

``Config`` is the one list of them: each field is a flag of the same name, with its
help text beside it. A flag becomes a field, a field becomes a line of ``flags.txt``,
and that file given as ``--flagfile`` makes the same ``Config`` again.

Flags that take several numbers accept ``0.1``, ``0.1,0.3``, ``log:LOW:HIGH:COUNT`` and
``lin:LOW:HIGH:COUNT``.
"""

import dataclasses
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import app, flags

from linclf_jax import results
from linclf_jax.data import datasets, preprocessing
from linclf_jax.fit import optimizers, settings
from linclf_jax.fit.settings import Hparams, Static
from linclf_jax.losses import LOSSES

FLAGS = flags.FLAGS

_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def _flag(default: Any, help_text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help_text})


def _one_of(names: Any) -> str:
    return ", ".join(names)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a training script is told. Tuples are axes of the grid."""

    dataset: str = _flag("digits", f"One of {_one_of(datasets.NAMES)}.")
    split_seed: int = _flag(0, "Deals the rows into training, validation and test.")
    preprocessing: str = _flag(
        "standardize",
        f"Fitted on the training split: {_one_of(preprocessing.NAMES)}.",
    )
    loss: str = _flag("softmax_cross_entropy", f"One of {_one_of(LOSSES)}.")
    optimizer: tuple[str, ...] = _flag(
        ("momentum",), f"One or more of {_one_of(optimizers.OPTIMIZERS)}."
    )
    schedule: str = _flag(
        "cosine", f"Of the learning rate: {_one_of(settings.SCHEDULES)}."
    )
    batch_size: int | None = _flag(
        None, "Rows of a minibatch; 128, or all where there are fewer, if unset."
    )
    epochs: int = _flag(60, "Passes over the training split.")
    learning_rate: tuple[float, ...] = _flag((0.03,), "Peak learning rates.")
    l2: tuple[float, ...] = _flag((1e-3,), "Penalties: (l2 / 2) ||W||^2, mean loss.")
    momentum: tuple[float, ...] = _flag((0.9,), "For momentum, nesterov, lars.")
    b1: tuple[float, ...] = _flag((0.9,), "For adam, adamw, lion.")
    b2: tuple[float, ...] = _flag((0.999,), "For adam, adamw, lion, rmsprop.")
    weight_decay: tuple[float, ...] = _flag((0.0,), "For adamw, lion.")
    warmup: tuple[float, ...] = _flag((0.0,), "Share of the steps, below 1.")
    init_scale: tuple[float, ...] = _flag((1e-3,), "W starts uniform in +-this.")
    seeds: tuple[int, ...] = _flag((0,), "Of initial weights and minibatch order.")
    gradient: str = _flag("manual", f"One of {_one_of(settings.GRADIENTS)}.")
    precision: str = _flag(
        "highest", f"Of matrix products: {_one_of(settings.PRECISIONS)}."
    )
    select_by: str = _flag("val_loss", f"One of {_one_of(results.CRITERIA)}.")
    tile_width: int = _flag(
        128, "Lanes of one compiled program; a lane's bits depend on it."
    )
    out_dir: str | None = _flag(None, "The run folder; a new one in runs/ if unset.")


# Where the results lie does not change them.
NOT_COMPARED = ("out_dir",)


def define(defaults: Config) -> None:
    """Defines one absl flag for each field of ``Config``.

    Args:
        defaults: What a flag that is not given stands for.
    """
    for field in dataclasses.fields(Config):
        default, text = getattr(defaults, field.name), field.metadata["help"]
        if field.type in _TUPLES:
            parser, serializer = _TUPLES[field.type]
            flags.DEFINE(
                parser, field.name, _text(default), text, serializer=serializer
            )
        elif field.type in (int, int | None):
            flags.DEFINE_integer(field.name, default, text)
        else:
            flags.DEFINE_string(field.name, default, text)
        # --help lists the key flags of the script, which is this module to absl.
        FLAGS.register_key_flag_for_module(sys.argv[0], FLAGS[field.name])


def from_flags() -> Config:
    """Returns the configuration that the command line amounts to."""
    names = [field.name for field in dataclasses.fields(Config)]
    return Config(**{name: getattr(FLAGS, name) for name in names})


def to_flagfile(config: Config) -> str:
    """Returns the lines of a flagfile that makes ``config``, but for ``out_dir``."""
    values = dataclasses.asdict(config)
    given = (k for k, v in values.items() if k not in NOT_COMPARED and v is not None)
    return "".join(f"--{name}={_text(values[name])}\n" for name in given)


def axes(config: Config) -> dict[str, tuple[float, ...]]:
    """Returns the values of each hyper-parameter."""
    return {name: getattr(config, name) for name in Hparams._fields}


def statics(config: Config, *, num_classes: int, num_rows: int) -> tuple[Static, ...]:
    """Returns the static choices, one for each optimizer.

    Args:
        config: All flags.
        num_classes: C.
        num_rows: Of the training split; the default batch is no larger.
    """
    fields = {field.name for field in dataclasses.fields(Static)}
    shared = {k: v for k, v in dataclasses.asdict(config).items() if k in fields}
    shared["num_classes"] = num_classes
    if config.batch_size is None:
        shared["batch_size"] = min(Static.batch_size, num_rows)
    return tuple(
        Static(**{**shared, "optimizer": optimizer}) for optimizer in config.optimizer
    )


MAX_COUNT = 100_000  # values of one axis


def parse_grid(text: str) -> tuple[float, ...]:
    """Returns the numbers of ``0.1,0.3``, ``log:LOW:HIGH:COUNT`` or ``lin:...``.

    Raises:
        ValueError: The text has none of these forms.

    >>> parse_grid("log:1e-2:1:3")
    (0.01, 0.1, 1.0)
    """
    kind, *numbers = text.split(":")
    try:
        if not numbers:
            return tuple(map(float, text.split(","))) if text.strip() else ()
        low, high, count = numbers
        if int(count) > MAX_COUNT:
            raise ValueError(count)
        space = {"log": np.geomspace, "lin": np.linspace}[kind]
        return tuple(space(float(low), float(high), int(count)).tolist())
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"found {text!r}; expected numbers such as 0.1 or 0.1,0.3, or "
            "log:LOW:HIGH:COUNT (both above 0), or lin:LOW:HIGH:COUNT, with a COUNT "
            f"of at most {MAX_COUNT}"
        ) from error


class _GridParser(flags.ArgumentParser):
    """Turns grid text into a tuple of floats."""

    syntactic_help = "numbers, or log:LOW:HIGH:COUNT, or lin:LOW:HIGH:COUNT"

    def parse(self, argument: Any) -> tuple[float, ...]:
        return parse_grid(argument) if isinstance(argument, str) else tuple(argument)


class _ListParser(flags.ArgumentParser):
    """Turns comma-separated text into a tuple of names or integers."""

    def __init__(self, convert: Callable[[str], Any], help_text: str) -> None:
        self._convert = convert
        self.syntactic_help = help_text

    def parse(self, argument: Any) -> tuple:
        if not isinstance(argument, str):
            return tuple(argument)
        parts = [part.strip() for part in argument.split(",") if part.strip()]
        return tuple(self._convert(part) for part in parts)


class _TupleSerializer(flags.ArgumentSerializer):
    def serialize(self, value: Any) -> str:
        return _text(value)


def _text(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


_TUPLES: Mapping[Any, tuple[flags.ArgumentParser, flags.ArgumentSerializer]] = {
    tuple[float, ...]: (_GridParser(), _TupleSerializer()),
    tuple[str, ...]: (_ListParser(str, "names, with commas"), _TupleSerializer()),
    tuple[int, ...]: (_ListParser(int, "integers, with commas"), _TupleSerializer()),
}


def launch(main: Callable[[], int | None]) -> None:
    """Runs a script: bad input or a full disk is one line on stderr, exit status 2.

    Args:
        main: Returns the exit status, None for 0.
    """
    # JAX tells at level INFO which accelerators a machine does not have.
    logging.getLogger("jax").setLevel(logging.WARNING)

    def guarded(argv: list[str]) -> int | None:
        try:
            if len(argv) > 1:
                raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")
            return main()
        except (ValueError, OSError) as error:
            if _DEBUG.value:
                raise
            return _refuse(error)

    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv) if _asks_help(argv) else FLAGS(argv)
    except flags.Error as error:
        sys.exit(_refuse(error))


def _asks_help(argv: list[str]) -> bool:
    return any(argument.lstrip("-").startswith("help") for argument in argv[1:])


def _refuse(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2
