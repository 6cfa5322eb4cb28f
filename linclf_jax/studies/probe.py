"""A probe of frozen features as a study: one setting for each set and draw of shots."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from linclf_jax.config import penalty as penalty_config
from linclf_jax.config import probe as probe_config
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.config.protocols import Protocol, Training
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.selection.resampling import Resampling
from linclf_jax.studies import exact_problem, feature_sets, training
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies.exact import ExactStudy
from linclf_jax.studies.study import Inputs, Plan
from linclf_jax.studies.training import TrainingStudy
from linclf_jax.training import program, search_space, trials
from linclf_jax.training.settings import Static

GROUP_BY = ("features", "shots", "seed")
SEED = 0  # of initial weights and minibatch order
SCALED_TO = 256  # rows of a batch that a protocol's learning rates are for


def prepare(config: ProbeConfig) -> ExactStudy | TrainingStudy:
    """Loads and scales all feature sets and assigns their rows, after checking flags.

    Returns:
        A ``TrainingStudy`` where the protocol trains.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    protocol, overridden = probe_config.resolve_protocol(config)
    resources = training.resources(config)
    sets = feature_sets.load(config, protocol)
    if protocol.training is not None:
        sets = [_warned(protocol, protocol.training, one) for one in sets]
    # The run directory says what its selection ranks by.
    selection = dataclasses.replace(config.selection, metric=protocol.metric)
    config = dataclasses.replace(config, selection=selection)
    plan = Plan(
        "probe",
        config,
        {(one.name, protocol.preprocessing): one for one in sets},
        protocol.penalty.unit,
        group_by=GROUP_BY,
        protocol=_description(config.protocol, protocol, overridden),
    )
    if protocol.training is None:
        return ExactStudy(plan, _problems(config, protocol, sets))
    every = []
    for one in sets:
        static = _static(protocol, protocol.training, one)
        axes = _axes(protocol, protocol.training, one, static)
        own = trials.make_trials(search_space.grid([static], axes), (SEED,))
        every += [trial._replace(trial=len(every) + trial.trial) for trial in own]
    return TrainingStudy(plan, tuple(every), len(every) // len(sets), resources)


def _description(
    name: str, protocol: Protocol, overridden: Sequence[str]
) -> dict[str, Any]:
    """Returns what ``selected.json`` says of the protocol, flags included."""
    sets = protocol._asdict()
    texts = {name: sets.pop(name) for name in ("source", "changed")}
    training_sets, penalty = sets.pop("training"), sets.pop("penalty")
    sets |= {"unit": penalty.unit, "grid": search_space.text(penalty.axis)}
    if training_sets is not None:
        sets |= training_sets._asdict()
    return {"name": name, **texts, "sets": sets, "overridden": overridden}


def _problems(
    config: ProbeConfig, protocol: Protocol, sets: Sequence[Inputs]
) -> tuple[exact_problem.Problem, ...]:
    problems, first_trial = [], 0
    for inputs in sets:
        resamplings = _resamplings(config, protocol, inputs)
        num_rows = int(resampling_lib.compared_fits(resamplings)[0].train.sum())
        try:
            l2s = penalty_config.descending(
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
        first_trial += problem.num_trials + problem.num_final_trials
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


def _static(protocol: Protocol, sets: Training, inputs: Inputs) -> Static:
    num_rows = inputs_lib.num_train_rows(inputs)
    batch_size = min(sets.batch_size, num_rows)
    epochs = sets.epochs or 0
    if sets.steps is not None:
        epochs = max(1, round(sets.steps / math.ceil(num_rows / batch_size)))
    static = Static(
        num_classes=inputs.num_classes,
        optimizer=sets.optimizer,
        schedule=sets.schedule,
        batch_size=batch_size,
        epochs=epochs,
        features=inputs.name,
        preprocessing=protocol.preprocessing,
    )
    trials.validate_static(static, num_rows=num_rows)
    return static


def _axes(
    protocol: Protocol, sets: Training, inputs: Inputs, static: Static
) -> dict[str, search_space.Axis]:
    scale = static.batch_size / SCALED_TO
    l2s = penalty_config.descending(
        protocol.penalty,
        num_rows=inputs_lib.num_train_rows(inputs),
        num_classes=inputs.num_classes,
    )
    return {
        "learning_rate": tuple(rate * scale for rate in sets.learning_rate),
        "l2": tuple(l2s.tolist()),
        "warmup": (sets.warmup,),
        "init_scale": (sets.init_scale,),
    }


def _warned(protocol: Protocol, sets: Training, inputs: Inputs) -> Inputs:
    """Warns of a run so short that the protocol's settings are not made for it."""
    static = _static(protocol, sets, inputs)
    num_rows = inputs_lib.num_train_rows(inputs)
    steps = static.epochs * program.steps_per_epoch(num_rows, static)
    if 2 * steps >= sets.original_steps:
        return inputs
    warning = (
        f"{steps} steps, where the original makes {sets.original_steps}: there are few "
        "rows for this protocol; raise --epochs, lower --batch_size, or solve exactly"
    )
    return inputs._replace(warnings=(*inputs.warnings, warning))
