"""The configuration of a probe, and what it makes of the protocol that it names."""

import dataclasses

from linclf_jax.config import flat, protocols
from linclf_jax.config.data import DataConfig
from linclf_jax.config.fields import at_least, flag, part
from linclf_jax.config.parts import ExactConfig, RuntimeConfig, SchedulerConfig
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.protocols import Protocol
from linclf_jax.data import preprocessing
from linclf_jax.selection import choose, ranking, shots
from linclf_jax.training import search_space
from linclf_jax.training.search_space import Axis


@dataclasses.dataclass(frozen=True)
class ProbeSelection:
    """How a setting is selected; what is unset is as the protocol has it."""

    metric: str | None = flag(None, names=ranking.METRICS)
    rule: str = flag("best", names=choose.RULES)
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
    protocol: str = flag("exact", names=protocols.PROTOCOLS)
    shots: tuple[int, ...] = flag((), "Rows of each class; all if unset.")
    draws: int = flag(5, "How many draws of --shots, with seeds from 0.")
    preprocessing: str | None = flag(
        None, "Of the features: one of none, standardize, l2_normalize, pca:K, ..."
    )
    penalty: Penalty | None = part(None)
    learning_rate: Axis | None = flag(
        None, "Of the protocols that train: for a batch of 256, scaled to the batch."
    )
    batch_size: int | None = flag(
        None, "Of the protocols that train.", check=at_least(1)
    )
    epochs: int | None = flag(None, "Of the protocols that train.", check=at_least(1))
    selection: ProbeSelection = part(ProbeSelection())
    exact: ExactConfig = part(ExactConfig())
    runtime: RuntimeConfig = part(RuntimeConfig(), is_compared=False)
    scheduler: SchedulerConfig = part(SchedulerConfig(), is_compared=False)


def resolve_protocol(config: ProbeConfig) -> tuple[Protocol, tuple[str, ...]]:
    """Returns the protocol with what flags override, and the names of those flags.

    Raises:
        ValueError: A flag is bad, or is none of this protocol's.
    """
    flat.validate(config)
    preset = protocols.PROTOCOLS[config.protocol]
    metric, rates = config.selection.metric, config.learning_rate
    changes = _given(
        preprocessing=config.preprocessing,
        # What equals the protocol's own, as in the flags of its run, overrides nothing.
        metric=None if metric == preset.metric else metric,
        shots=config.shots or None,
        penalty=config.penalty,
    )
    of_training = _given(
        learning_rate=None if rates is None else search_space.values(rates),
        batch_size=config.batch_size,
        epochs=config.epochs,
    )
    names = tuple(
        changes["penalty"].unit if name == "penalty" else name
        for name in (*changes, *of_training)
    )
    if preset.training is not None:
        if "epochs" in of_training:
            of_training["steps"] = None
        changes["training"] = preset.training._replace(**of_training)
    elif of_training:
        raise ValueError(
            f"--{next(iter(of_training))} is given, but --protocol={config.protocol} "
            "trains by no minibatches; expected a protocol that does"
        )
    protocol = preset._replace(**changes)
    preprocessing.validate(protocol.preprocessing)
    shots.validate(protocol.shots, config.draws)
    if protocol.shots and (protocol.training or protocol.penalty.unit == "C"):
        raise ValueError(
            f"--shots is given with --protocol={config.protocol}; expected a protocol "
            "that solves exactly, on a grid of l2, which means the same for any "
            "number of rows: exact, clip_benchmark, fewshot"
        )
    return protocol, names


def _given(**values):
    return {name: value for name, value in values.items() if value is not None}
