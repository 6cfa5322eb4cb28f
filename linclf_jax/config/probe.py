"""The flags of a probe, and what they make of the protocol that they name."""

# ruff: noqa: RUF009 -- flag is dataclasses.field
import dataclasses

import numpy as np

from linclf_jax import validation
from linclf_jax.cli.options import IN_PLACE_OF_L2
from linclf_jax.config import penalty as penalties_lib
from linclf_jax.config.data import DataFlags
from linclf_jax.config.fields import flag, one_of
from linclf_jax.config.protocols import PROTOCOLS, Protocol
from linclf_jax.data import datasets, preprocessing
from linclf_jax.exact import newton
from linclf_jax.selection import choose, ranking
from linclf_jax.selection import shots as shots_lib
from linclf_jax.training import search_space, settings


@dataclasses.dataclass(frozen=True)
class Config(DataFlags):
    """Everything the script is told. What is unset is as the protocol has it."""

    dataset: str = flag("features", one_of(datasets.NAMES))
    features: tuple[str, ...] = flag(
        (),
        "Several feature sets of the same rows, each as NAME=PATH: a folder with "
        "train_features, train_labels, test_features, test_labels, and val_ too if "
        "there are, as files of any kind, or one .npz, .safetensors, .h5 or .pt with "
        r"these names. A comma in PATH is written \,.",
    )
    protocol: str = flag("exact", one_of(PROTOCOLS))
    shots: tuple[int, ...] = flag((), "Rows of each class; all if unset.")
    seeds: int = flag(5, "How many draws of --shots, with seeds from 0.")
    preprocessing: str | None = flag(
        None, "Of the features: one of none, standardize, l2_normalize, pca:K, ..."
    )
    l2: search_space.Axis | None = flag(None, "Penalties: (l2 / 2) ||W||^2, mean loss.")
    C: search_space.Axis | None = flag(None, IN_PLACE_OF_L2)
    select_by: str | None = flag(None, one_of(ranking.CRITERIA))
    choice: str = flag("min", one_of(choose.RULES))
    folds: int = flag(
        5, "Where a protocol deals folds and no validation file is given, at least 2."
    )
    learning_rate: search_space.Axis | None = flag(
        None, "Of the protocols that train: for a batch of 256, scaled to the batch."
    )
    batch_size: int | None = flag(None, "Of the protocols that train.")
    epochs: int | None = flag(None, "Of the protocols that train.")
    tol: float = flag(1e-6, "Relative duality gap of every exact fit.")
    max_newton: int = flag(100, "Newton steps of an exact fit.")
    out_dir: str | None = flag(None, "The run folder; a new one in runs/ if unset.")
    compilation_cache: str | None = flag(
        None,
        "A folder for compiled programs; none for no cache; a private one in the "
        "user's own cache if unset.",
    )


def in_force(config: Config) -> tuple[Protocol, tuple[str, ...]]:
    """Returns the protocol with what flags override, and the names of those flags.

    Raises:
        ValueError: A flag is bad, or is none of this protocol's.
    """
    if config.protocol not in PROTOCOLS:
        raise ValueError(
            f"--protocol is {config.protocol!r}; expected one of {', '.join(PROTOCOLS)}"
        )
    preset = PROTOCOLS[config.protocol]
    if config.l2 is not None and config.C is not None:
        raise ValueError("--l2 and --C are both given; expected one of them")
    given = {
        "preprocessing": config.preprocessing,
        "select_by": config.select_by,
        "shots": config.shots or None,
        "unit": None if config.C is config.l2 else "l2" if config.C is None else "C",
        "grid": config.l2 if config.C is None else config.C,
    }
    trained = {
        "learning_rate": config.learning_rate
        and search_space.values(config.learning_rate),
        "batch_size": config.batch_size,
        "epochs": config.epochs,
    }
    changes, training_changes = (
        {name: value for name, value in values.items() if value is not None}
        for values in (given, trained)
    )
    if training_changes and preset.training is None:
        raise ValueError(
            f"--{next(iter(training_changes))} is given, but --protocol="
            f"{config.protocol} trains by no minibatches; expected a protocol that does"
        )
    if preset.training is not None:
        if config.epochs is not None:
            training_changes["steps"] = None
        changes["training"] = preset.training._replace(**training_changes)
    protocol = preset._replace(**changes)
    _check(protocol, config)
    names = (*changes, *training_changes)
    return protocol, tuple(
        name for name in names if name not in ("training", "steps", "unit")
    )


def _check(protocol: Protocol, config: Config) -> None:
    validation.validate_seed(config.split_seed, name="--split_seed")
    newton.check_limits(config.tol, config.max_newton)
    for name in ("batch_size", "epochs"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}; expected at least 1")
    choose.validate_rule(config.choice)
    ranking.validate_criterion(protocol.select_by)
    preprocessing.validate(protocol.preprocessing)
    shots_lib.validate(protocol.shots, config.seeds)
    if protocol.shots and (protocol.training or protocol.unit == "C"):
        raise ValueError(
            f"--shots is given with --protocol={config.protocol}; expected a protocol "
            "that solves exactly, on a grid of l2, which means the same for any "
            "number of rows: exact, clip_benchmark, fewshot"
        )


def penalties(protocol: Protocol, num_rows: int, num_classes: int) -> np.ndarray:
    """Returns the penalties of the grid in units of l2, ``(K,)``, the largest first.

    Args:
        protocol: Its grid may be one of C.
        num_rows: That a fit sees.
        num_classes: C, the number of classes.

    Raises:
        ValueError: There are none, or one is out of range or comes twice.
    """
    l2, C = (None, protocol.grid) if protocol.unit == "C" else (protocol.grid, None)
    axis = penalties_lib.axis(l2, C, num_rows=num_rows, num_classes=num_classes)
    values = search_space.values(axis)
    for value in values:
        settings.validate_hparam("l2", value)
    if len(set(values)) < max(len(values), 1):
        raise ValueError(
            f"--l2 has {len(values)} values, {len(set(values))} of them distinct; "
            "expected at least one, and no repetition"
        )
    return np.sort(np.asarray(values, np.float64))[::-1]
