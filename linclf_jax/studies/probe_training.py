"""A probe by minibatches: the learning rates of a protocol as lanes of one program."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import metrics
from linclf_jax import params as params_lib
from linclf_jax.config import probe
from linclf_jax.config.protocols import Training
from linclf_jax.params import Params
from linclf_jax.runs import formats, record
from linclf_jax.selection import choose, held_out
from linclf_jax.selection.choose import Choice
from linclf_jax.studies import probe_scores, validated
from linclf_jax.studies.probe_problem import Fit, Found, Problem
from linclf_jax.studies.probe_scores import HeldOut
from linclf_jax.studies.probe_sources import NOT_HELD_OUT, FeatureSet
from linclf_jax.training import execution, optimizers, search_space, settings, trials
from linclf_jax.training.execution import Output
from linclf_jax.training.settings import Static
from linclf_jax.training.states import Data
from linclf_jax.training.trials import TrialBatch

Rows = list[dict[str, Any]]

SEED = 0  # of initial weights and minibatch order
SCALED_TO = 256  # rows of a batch that a protocol's learning rates are for


def find(problem: Problem, features: FeatureSet) -> Found:
    """Trains all settings on the rows that are not held out, and chooses.

    Args:
        problem: Flags and protocol.
        features: The set.

    Raises:
        ValueError: A setting is out of range, or all diverged.
    """
    kept = features.fold == NOT_HELD_OUT
    x, labels = jnp.asarray(features.x), jnp.asarray(features.labels)
    data = Data(x[kept], labels[kept], x[~kept], labels[~kept])
    trials.validate_data(data, features.num_classes)
    tile = arrange(problem, features)
    output = train(tile, data)
    names = {"shots": None, "seed": SEED, "fold": None, "stage": "final"}
    arrays = trials.make_arrays(tile, output)
    stack = Params(jnp.asarray(arrays["W"]), jnp.asarray(arrays["b"]))
    values = _held_out(stack, data)
    means = np.mean(values.calibrated, axis=1)
    rows = [
        {**row, "val_loss_calibrated": mean, **names}
        for row, mean in zip(trials.make_rows(tile, output), means, strict=True)
    ]
    rates = [lane.hparams.learning_rate for lane in tile.trials]
    curves = {name: arrays[name] for name in record.CURVES}
    return Found(
        [formats.plain(row) for row in rows],
        {"learning_rate": np.array(rates), **curves},
        (_chosen(problem, rows, stack, data, values),),
    )


def _held_out(stack: Params, data: Data) -> HeldOut:
    """Returns how all lanes fare with each validation row, ``(L, M)`` each."""
    x, labels = np.asarray(data.val_x), np.asarray(data.val_labels)
    loss, right = probe_scores.row_scores(stack, x, labels)
    every = np.ones((1, len(labels)), bool)
    lanes = (Params(W[None], b[None]) for W, b in zip(*stack, strict=True))
    scaled = [held_out.out_of_fold(lane, x, labels, every).calibrated for lane in lanes]
    return HeldOut(loss, right, np.stack(scaled))


def _chosen(
    problem: Problem, rows: Rows, stack: Params, data: Data, values: HeldOut
) -> Fit:
    """Returns the best lane on the validation rows."""
    labels = np.asarray(data.val_labels)
    choice = _choose(problem, rows, values)
    lane = choice.rows[0]["trial"]
    params = jax.tree.map(lambda array: array[lane], stack)
    return Fit(
        params=params,
        place=lane,
        num_rows=len(data.labels),
        reason=choice.reason,
        validation=_validation(problem, rows, values, lane),
        logits=np.asarray(params_lib.logits(params, data.val_x, precision="highest")),
        labels=labels,
        warnings=(*choice.warnings, *_short(problem, rows[lane]["steps"])),
        ties=choice.ties,
    )


def arrange(problem: Problem, features: FeatureSet) -> TrialBatch:
    """Returns the settings of a protocol as the lanes of one tile.

    Args:
        problem: The protocol trains.
        features: The set.

    Raises:
        ValueError: A setting is out of range.
    """
    protocol = problem.protocol
    training = protocol.training
    if training is None:
        raise ValueError(f"--protocol={problem.config.protocol} trains nothing")
    num_rows = int(np.sum(features.fold == NOT_HELD_OUT))
    batch_size = min(training.batch_size, num_rows)
    static = Static(
        num_classes=features.num_classes,
        optimizer=training.optimizer,
        schedule=training.schedule,
        batch_size=batch_size,
        epochs=_epochs(training, batch_size, num_rows),
        preprocessing=protocol.preprocessing,
    )
    settings.validate_static(
        static, num_rows=num_rows, optimizers=optimizers.OPTIMIZERS
    )
    rates = tuple(rate * batch_size / SCALED_TO for rate in training.learning_rate)
    axes = {
        "learning_rate": rates,
        "l2": tuple(probe.penalties(protocol, num_rows, features.num_classes).tolist()),
        "warmup": (training.warmup,),
        "init_scale": (training.init_scale,),
    }
    lanes = trials.make_trials(search_space.grid([static], axes), (SEED,))
    return TrialBatch(static, SEED, lanes)


def train(tile: TrialBatch, data: Data) -> Output:
    """Trains the lanes of a tile to the end, on one device.

    Args:
        tile: The lanes.
        data: Training and validation rows.
    """
    mesh = execution.make_mesh(jax.devices()[:1])
    placed = execution.place(data, mesh)
    width = len(tile.trials)
    program = execution.build(tile.static, placed, width, mesh)
    start = execution.Start(trials.filled(tile, width, np.dtype(data.x.dtype)))
    (output,) = execution.run(
        program, [start], placed, program.last_step, lambda *_: None
    )
    return output


def _choose(problem: Problem, rows: Rows, values: HeldOut) -> Choice:
    by = problem.protocol.select_by
    names = {"val_accuracy": "right", "val_loss_calibrated": "calibrated"}
    each = getattr(values, names.get(by, "loss"))
    errors = np.std(each, axis=1, ddof=1) / np.sqrt(each.shape[1])
    return choose.choose(
        rows, by=by, rule=problem.config.choice, errors=dict(enumerate(errors.tolist()))
    )


def _validation(
    problem: Problem, rows: Rows, values: HeldOut, lane: int
) -> dict[str, Any]:
    good = [row["trial"] for row in rows if row["status"] == "ok"]
    size, accuracy = values.loss.shape[1], rows[lane]["val_accuracy"]
    by, optimism = problem.protocol.select_by, None
    if problem.config.choice == "min":
        loss, right, scaled = (each[good] for each in values)
        optimism = validated.flattery(loss, right, by=by, calibrated=scaled)
    return {
        "held_out": probe_scores.VALIDATION,
        "loss": rows[lane]["val_loss"],
        "loss_calibrated": rows[lane]["val_loss_calibrated"],
        "standard_error": np.std(values.loss[lane], ddof=1) / np.sqrt(size),
        "accuracy": accuracy,
        "accuracy_interval": metrics.wilson_interval(accuracy, size),
        "size": size,
        "optimism": optimism,
    }


def _short(problem: Problem, steps: int) -> Iterator[str]:
    """Warns of a run so short that the protocol's settings are not made for it."""
    training = problem.protocol.training
    if training is not None and 2 * steps < training.original_steps:
        yield (
            f"{steps} steps, where the original makes {training.original_steps}: there "
            "are few rows for this protocol; raise --epochs, lower --batch_size, or "
            "solve exactly"
        )


def _epochs(training: Training, batch_size: int, num_rows: int) -> int:
    if training.steps is None:
        return training.epochs or 0
    return max(1, round(training.steps / math.ceil(num_rows / batch_size)))
