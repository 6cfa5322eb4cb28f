"""A probe of frozen features as a study: one setting for each set and draw of shots."""

from collections.abc import Sequence
from typing import Any

from linclf_jax.config import exact as exact_config
from linclf_jax.config import probe as probe_config
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.config.protocols import Protocol
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection.resampling import Resampling
from linclf_jax.studies import exact_problem, feature_sets
from linclf_jax.studies.exact import ExactStudy
from linclf_jax.studies.study import Inputs
from linclf_jax.training import search_space

GROUP_BY = ("features", "shots", "seed")
SEED = 0  # of initial weights and minibatch order
SCALED_TO = 256  # rows of a batch that a protocol's learning rates are for


def prepare(config: ProbeConfig) -> Any:
    """Loads and scales all feature sets and deals their rows, after checking flags.

    Args:
        config: All flags.

    Returns:
        An ``ExactStudy``, or a ``TrainingStudy`` where the protocol trains.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    protocol, overridden = probe_config.resolve_protocol(config)
    sets = feature_sets.load(config, protocol)
    common = {
        "name": "probe",
        "config": config,
        "group_by": GROUP_BY,
        "metric": protocol.metric,
        "rule": config.selection.rule,
        "selection_flags": {"l2": protocol.penalty.unit},
        "protocol": describe(config, protocol, overridden),
    }
    if protocol.training is None:
        return ExactStudy(
            problems=_problems(config, protocol, sets),
            limits=config.exact,
            checkpoint_every=config.runtime.checkpoint_every,
            **common,
        )
    raise NotImplementedError


def describe(
    config: ProbeConfig, protocol: Protocol, overridden: Sequence[str]
) -> dict[str, Any]:
    """Returns what ``selected.json`` says of the protocol, flags included.

    Args:
        config: Its name is used.
        protocol: With what flags override.
        overridden: The names of those flags.
    """
    sets = protocol._asdict()
    told = {name: sets.pop(name) for name in ("source", "changed")}
    training, penalty = sets.pop("training"), sets.pop("penalty")
    sets |= {"unit": penalty.unit, "grid": search_space.text(penalty.axis)}
    if training is not None:
        sets |= training._asdict()
    return {"name": config.protocol, **told, "sets": sets, "overridden": overridden}


def _problems(
    config: ProbeConfig, protocol: Protocol, sets: Sequence[Inputs]
) -> tuple[exact_problem.Problem, ...]:
    problems, first_trial = [], 0
    for inputs in sets:
        resamplings = _resamplings(config, protocol, inputs)
        num_rows = int(resampling_lib.compared_fits(resamplings)[0].train.sum())
        try:
            l2s = exact_config.penalties(
                protocol.penalty, num_rows=num_rows, num_classes=inputs.num_classes
            )
        except ValueError as error:
            raise ValueError(f"{inputs.name}: {error}") from error
        problem = exact_problem.make(
            (inputs.name, protocol.preprocessing),
            inputs,
            l2s,
            resamplings,
            first_trial=first_trial,
            refit=protocol.refit,
            unit=protocol.penalty.unit,
        )
        problems.append(problem)
        first_trial += problem.num_trials + exact_problem.num_final_trials(problem)
    return tuple(problems)


def _resamplings(
    config: ProbeConfig, protocol: Protocol, inputs: Inputs
) -> tuple[Resampling, ...]:
    if not protocol.shots:
        return (resampling_lib.of_folds(inputs.fold),)
    draws = [(shots, seed) for shots in protocol.shots for seed in range(config.draws)]
    return tuple(
        resampling_lib.of_draw(
            rows,
            inputs.labels,
            shots=shots,
            seed=seed,
            num_features=inputs.x.shape[1],
            num_classes=inputs.num_classes,
        )
        for (shots, seed), rows in zip(draws, inputs.draws, strict=True)
    )
