"""A probe of frozen features as a study: one setting for each set and draw of shots."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from linclf_jax.config import exact as exact_config
from linclf_jax.config import probe as probe_config
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.config.protocols import Protocol, Training
from linclf_jax.runs import schema
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection.folds import NOT_HELD_OUT
from linclf_jax.selection.resampling import Resampling
from linclf_jax.studies import exact_problem, feature_sets
from linclf_jax.studies.exact import ExactStudy
from linclf_jax.studies.study import Inputs
from linclf_jax.studies.training import TrainingStudy
from linclf_jax.training import optimizers, program, search_space, settings
from linclf_jax.training.settings import Static
from linclf_jax.training.trials import make_trials

GROUP_BY = ("features", "shots", "seed")
SEED = 0  # of initial weights and minibatch order
SCALED_TO = 256  # rows of a batch that a protocol's learning rates are for


def prepare(config: ProbeConfig) -> ExactStudy | TrainingStudy:
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
    # The run directory says what its selection ranks by.
    selection = dataclasses.replace(config.selection, metric=protocol.metric)
    config = dataclasses.replace(config, selection=selection)
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
    return _training_study(protocol, sets, common)


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
    texts = {name: sets.pop(name) for name in ("source", "changed")}
    training, penalty = sets.pop("training"), sets.pop("penalty")
    sets |= {"unit": penalty.unit, "grid": search_space.text(penalty.axis)}
    if training is not None:
        sets |= training._asdict()
    return {"name": config.protocol, **texts, "sets": sets, "overridden": overridden}


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


def _training_study(
    protocol: Protocol, sets: Sequence[Inputs], common: Mapping[str, Any]
) -> TrainingStudy:
    """Returns the learning rates of a protocol as trials, those of a set as a batch."""
    training = protocol.training
    assert training is not None
    inputs, trials = {}, []
    for one in sets:
        static = _static(protocol, training, one)
        candidates = search_space.grid([static], _axes(protocol, training, one, static))
        own = make_trials(candidates, (SEED,))
        trials += [trial._replace(trial=len(trials) + trial.trial) for trial in own]
        warnings = (*one.warnings, *_few_steps(training, one, static))
        inputs[static.inputs] = one._replace(warnings=warnings)
    return TrainingStudy(
        inputs=inputs,
        trials=tuple(trials),
        width=len(trials) // len(sets),
        is_calibrated=True,
        columns={"shots": None, "stage": schema.SELECTION},
        **common,
    )


def _static(protocol: Protocol, training: Training, inputs: Inputs) -> Static:
    num_rows = _num_train(inputs)
    batch_size = min(training.batch_size, num_rows)
    epochs = training.epochs or 0
    if training.steps is not None:
        epochs = max(1, round(training.steps / math.ceil(num_rows / batch_size)))
    static = Static(
        num_classes=inputs.num_classes,
        optimizer=training.optimizer,
        schedule=training.schedule,
        batch_size=batch_size,
        epochs=epochs,
        features=inputs.name,
        preprocessing=protocol.preprocessing,
    )
    settings.validate_static(
        static, num_rows=num_rows, optimizers=optimizers.OPTIMIZERS
    )
    return static


def _axes(
    protocol: Protocol, training: Training, inputs: Inputs, static: Static
) -> dict[str, search_space.Axis]:
    scale = static.batch_size / SCALED_TO
    l2s = exact_config.penalties(
        protocol.penalty, num_rows=_num_train(inputs), num_classes=inputs.num_classes
    )
    return {
        "learning_rate": tuple(rate * scale for rate in training.learning_rate),
        "l2": tuple(l2s.tolist()),
        "warmup": (training.warmup,),
        "init_scale": (training.init_scale,),
    }


def _few_steps(training: Training, inputs: Inputs, static: Static) -> Iterator[str]:
    """Warns of a run so short that the protocol's settings are not made for it."""
    steps = static.epochs * program.steps_per_epoch(_num_train(inputs), static)
    if 2 * steps < training.original_steps:
        yield (
            f"{steps} steps, where the original makes {training.original_steps}: there "
            "are few rows for this protocol; raise --epochs, lower --batch_size, or "
            "solve exactly"
        )


def _num_train(inputs: Inputs) -> int:
    return int(np.sum(inputs.fold == NOT_HELD_OUT))


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
