"""The configuration of a probe, and what it makes of the protocol that it names."""

import dataclasses

from linclf_jax import validation
from linclf_jax.config import exact, protocols, runtime
from linclf_jax.config.data import DataConfig
from linclf_jax.config.exact import ExactConfig
from linclf_jax.config.fields import flag, one_of, part
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.protocols import Protocol
from linclf_jax.config.runtime import RuntimeConfig, SchedulerConfig
from linclf_jax.data import preprocessing
from linclf_jax.selection import choose, ranking, shots
from linclf_jax.training import search_space
from linclf_jax.training.search_space import Axis


@dataclasses.dataclass(frozen=True)
class ProbeSelection:
    """How a setting is selected; what is unset is as the protocol has it."""

    metric: str | None = flag(None, one_of(ranking.METRICS))
    rule: str = flag("best", one_of(choose.RULES))
    folds: int = flag(
        5, "Where a protocol deals folds and no validation file is given, at least 2."
    )


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """Feature sets, and how they are probed; what is unset is the protocol's."""

    data: DataConfig = part(DataConfig(dataset="features"))
    features: tuple[str, ...] = flag(
        (),
        "Several feature sets of the same rows, each as NAME=PATH: a folder with "
        "train_features, train_labels, test_features, test_labels, and val_ too if "
        "there are, as files of any kind, or one .npz, .safetensors, .h5 or .pt with "
        r"these names. A comma in PATH is written \,.",
    )
    protocol: str = flag("exact", one_of(protocols.PROTOCOLS))
    shots: tuple[int, ...] = flag((), "Rows of each class; all if unset.")
    draws: int = flag(5, "How many draws of --shots, with seeds from 0.")
    preprocessing: str | None = flag(
        None, "Of the features: one of none, standardize, l2_normalize, pca:K, ..."
    )
    penalty: Penalty | None = part(None)
    learning_rate: Axis | None = flag(
        None, "Of the protocols that train: for a batch of 256, scaled to the batch."
    )
    batch_size: int | None = flag(None, "Of the protocols that train.")
    epochs: int | None = flag(None, "Of the protocols that train.")
    selection: ProbeSelection = part(ProbeSelection())
    exact: ExactConfig = part(ExactConfig())
    runtime: RuntimeConfig = part(RuntimeConfig())
    scheduler: SchedulerConfig = part(SchedulerConfig())


def resolve_protocol(config: ProbeConfig) -> tuple[Protocol, tuple[str, ...]]:
    """Returns the protocol with what flags override, and the names of those flags.

    Raises:
        ValueError: A flag is bad, or is none of this protocol's.
    """
    if config.protocol not in protocols.PROTOCOLS:
        raise ValueError(
            f"--protocol is {config.protocol!r}; expected one of "
            f"{', '.join(protocols.PROTOCOLS)}"
        )
    preset = protocols.PROTOCOLS[config.protocol]
    changes = _given(
        preprocessing=config.preprocessing,
        # What equals the protocol's own, as in the flags of its run, overrides nothing.
        metric=None
        if config.selection.metric == preset.metric
        else config.selection.metric,
        shots=config.shots or None,
        penalty=config.penalty,
    )
    rates = config.learning_rate
    training_changes = _given(
        learning_rate=None if rates is None else search_space.values(rates),
        batch_size=config.batch_size,
        epochs=config.epochs,
    )
    names = tuple(
        changes["penalty"].unit if name == "penalty" else name
        for name in (*changes, *training_changes)
    )
    if preset.training is not None:
        if "epochs" in training_changes:
            training_changes["steps"] = None
        changes["training"] = preset.training._replace(**training_changes)
    elif training_changes:
        raise ValueError(
            f"--{next(iter(training_changes))} is given, but --protocol="
            f"{config.protocol} trains by no minibatches; expected a protocol that does"
        )
    protocol = preset._replace(**changes)
    _validate(protocol, config)
    return protocol, names


def _given(**values):
    return {name: value for name, value in values.items() if value is not None}


def _validate(protocol: Protocol, config: ProbeConfig) -> None:
    validation.validate_seed(config.data.split_seed, name="--split_seed")
    exact.validate(config.exact)
    runtime.validate(config.runtime, config.scheduler)
    for name in ("batch_size", "epochs"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}; expected at least 1")
    choose.validate_rule(config.selection.rule)
    ranking.validate_metric(protocol.metric)
    preprocessing.validate(protocol.preprocessing)
    shots.validate(protocol.shots, config.draws)
    if protocol.shots and (protocol.training or protocol.penalty.unit == "C"):
        raise ValueError(
            f"--shots is given with --protocol={config.protocol}; expected a protocol "
            "that solves exactly, on a grid of l2, which means the same for any "
            "number of rows: exact, clip_benchmark, fewshot"
        )
