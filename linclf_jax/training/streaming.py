"""Training on rows that stay where they are stored: gathered on the host, in segments.

The steps, their order and their bits are those of ``execution`` on the same rows in
memory; so are states, and a run may stop and go on in either. Scored are validation
rows after each epoch, and all rows after the last step.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from linclf_jax.params import Params
from linclf_jax.training import evaluation, execution, segments
from linclf_jax.training import program as training
from linclf_jax.training.evaluation import Scores, Sums
from linclf_jax.training.execution import BatchInputs, Output, Program, Start
from linclf_jax.training.segments import Table
from linclf_jax.training.settings import Static
from linclf_jax.training.states import Data, State, final_params


class _Calls(NamedTuple):
    """What a program is made of; see ``execution.on_each_device``."""

    static: Static
    advance: Callable[..., State]
    add_training: Callable[..., Sums]
    add_validation: Callable[..., Sums]
    close: Callable[..., State]


def build(static: Static, data: Data, width: int, mesh: Mesh) -> Program:
    """Compiles the programs of a static choice; see ``execution.build``."""
    train, validation = segments.tables(data)
    num_rows, num_columns = data.x.shape
    shape = segments.num_steps(static, num_rows, num_columns), static.batch_size
    weights = np.zeros(shape, jax.dtypes.canonicalize_dtype(float))
    rows = train.zeros(weights.size).data()
    batch, state = execution.shapes(static, rows, width)
    sums, zero = Sums(*[state.epoch_loss] * 3), np.int32(0)

    def compiled(function: Callable, own: Sequence, *shared: Any) -> Any:
        call = execution.on_each_device(mesh, function, len(own))
        each = execution.for_each_device(own, mesh)
        return call.lower(*each, *shared).compile()

    def adding(weights_of: Callable[..., jax.Array], table: Table) -> Any:
        function, part = functools.partial(_add, static, weights_of), table.span
        own = (batch, sums, state.params)
        return compiled(function, own, *table.zeros(part), zero, zero)

    advance = functools.partial(_advance, static, num_rows)
    advance = compiled(advance, (batch, state, zero, rows, weights), zero, zero, zero)
    close, own = functools.partial(_close, static, num_rows), (batch, state, zero)
    calls = _Calls(
        static,
        advance,
        adding(training.training_weights, train),
        adding(training.validation_weights, validation),
        compiled(close, (*own, Scores(*sums[:2])), zero, train.folds),
    )
    return Program(
        mesh,
        calls,
        state,
        training.num_steps(num_rows, static),
        advance.memory_analysis(),
        buffers=3 * rows.x.nbytes,  # of this segment and the next, which is being made
    )


def run(
    program: Program,
    starts: Sequence[Start],
    data: Data,
    last: int,
    on_segment: Callable[[list[int], Callable[[], list[State]]], None],
) -> list[Output]:
    """Advances batches to a step and returns their outputs; see ``execution.run``."""
    train, validation = segments.tables(data)
    calls: _Calls = program.call
    batches, state = execution.arguments(program, starts)
    own = execution.of_each_device(program, starts)
    steps = np.array([start.step for start in own], np.int32)
    seeds = [int(start.batch.seed) for start in own]
    per_epoch = training.steps_per_epoch(len(train.labels), calls.static)
    every = segments.segments(calls.static, train, seeds, int(steps.min()), last)
    for segment in segments.ahead(every):
        own = (steps, segment.rows, segment.weights)
        before, *own = execution.per_device(own, program.mesh)
        numbers = map(np.int32, segment[:3])
        state = calls.advance(batches, state, before, *own, *numbers)
        if segment.stop == per_epoch:
            add, number = calls.add_validation, np.int32(segment.number)
            scores = _scores(program, add, batches, state.params, validation)
            state = calls.close(batches, state, before, scores, number, train.folds)
        jax.block_until_ready(state)  # or segments pile up
        reached = segment.number * per_epoch + segment.stop
        steps = np.maximum(steps, np.int32(reached))
        if reached < last:
            on_segment(
                steps[: len(starts)].tolist(),
                lambda state=state: _on_host(state, len(starts)),
            )
    params = final_params(state)
    scores = (
        _scores(program, calls.add_training, batches, params, train),
        _scores(program, calls.add_validation, batches, params, validation),
    )
    return _on_host(Output(state, *scores), len(starts))


def _on_host(tree: Any, count: int) -> list[Any]:
    return execution.unstack(jax.device_get(tree), count)


def _scores(
    program: Program,
    add: Callable[..., Sums],
    batches: BatchInputs,
    params: Params,
    table: Table,
) -> Scores:
    """Returns the scores on all rows of a table, read a span at a time."""
    zeros = jnp.zeros((program.mesh.size, params.W.shape[-1]), params.W.dtype)
    sums = execution.per_device(Sums(*[zeros] * 3), program.mesh)
    for rows, *numbers in segments.ahead(segments.spans(table)):
        numbers = map(np.int32, numbers)
        sums = jax.block_until_ready(add(batches, sums, params, *rows, *numbers))
    return _mean(sums, None if table.folds is not None else len(table.labels))


_mean = jax.jit(evaluation.mean, static_argnums=1)


def _advance(
    static: Static,
    num_rows: int,
    batch: BatchInputs,
    state: State,
    first: jax.Array,
    rows: Data,
    weights: jax.Array,
    number: jax.Array,
    start: jax.Array,
    stop: jax.Array,
) -> State:
    """Takes the steps of a segment that a batch, at step ``first``, has not made."""
    lanes = execution.lanes_of(batch)
    state = jax.lax.cond(
        first == 0,
        lambda _: training.begin(static, lanes, rows),
        lambda state: state,
        state,
    )
    take_steps = training.make_steps(static, lanes, rows, num_rows)
    index = jnp.arange(weights.size).reshape(weights.shape)
    reached = first - number * training.steps_per_epoch(num_rows, static)
    begun = jnp.maximum(start, reached)
    return take_steps(state, begun, stop, number, index, weights, start)


def _add(
    static: Static,
    weights_of: Callable[..., jax.Array],
    batch: BatchInputs,
    sums: Sums,
    params: Params,
    x: jax.Array,
    labels: jax.Array,
    folds: jax.Array | None,
    repeated: jax.Array,
    count: jax.Array,
) -> Sums:
    """Adds scores of the first ``count`` rows, but for ``repeated`` ones of them."""
    weights = weights_of(batch.fold, folds, len(labels), params.W.dtype)
    index = jnp.arange(len(labels))
    is_counted = (index >= repeated) & (index < count)
    weights = jnp.where(is_counted[:, None], weights, 0.0)
    # Of one block nothing is repeated or missing, nor is there a loop.
    num_rows = count if len(labels) > evaluation.BLOCK else None
    return evaluation.add(sums, params, x, labels, weights, static, num_rows)


def _close(
    static: Static,
    num_rows: int,
    batch: BatchInputs,
    state: State,
    first: jax.Array,
    scores: Scores,
    number: jax.Array,
    folds: jax.Array | None,
) -> State:
    """Ends an epoch of a batch that was within it at step ``first``."""
    end = (number + 1) * training.steps_per_epoch(num_rows, static)
    fold = execution.lanes_of(batch).fold
    count = training.num_trained(fold, folds, num_rows)
    return jax.lax.cond(
        first < end,
        lambda state: training.close_epoch(state, number, scores, count),
        lambda state: state,
        state,
    )
