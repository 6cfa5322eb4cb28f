"""The chosen setting once more, on all rows but the test's, after a cross-validation.

It is kept in the store: what comes after it may fail, and it is trained once.
"""

import dataclasses
import statistics
from collections.abc import Callable

from linclf_jax.params import Params
from linclf_jax.runs import formats
from linclf_jax.runs.store import Batch, Store
from linclf_jax.selection.choose import Selection
from linclf_jax.selection.ranking import Row
from linclf_jax.training import program, trials
from linclf_jax.training.execution import Output
from linclf_jax.training.trials import Trial, TrialBatch


def refit(
    store: Store,
    first: Trial,
    selection: Selection,
    num_rows: int,
    train_single: Callable[[TrialBatch, int | None], Output],
) -> Batch:
    """Returns row and arrays of the chosen setting, trained on all rows.

    It has seen its held-out rows, so that its scores there say nothing. It may have
    diverged.

    Args:
        store: Where it is kept, apart.
        first: The first trial of the setting.
        selection: The setting.
        num_rows: All but the test's.
        train_single: Trains a batch to a step or the end.
    """
    name = f"refit-{first.trial:06d}"
    batch = store.load_batch(name, apart=True)
    if batch is None:
        batch = _train(first, selection, num_rows, train_single)
        store.save_batch(name, batch, apart=True)
    return batch


def diverged(row: Row) -> str:
    """Returns what to say of a setting that diverged.

    Args:
        row: From ``refit``.
    """
    return (
        f"the chosen setting diverged ({row['reason']}) when it was trained on all "
        "rows; lower --learning_rate"
    )


def _train(
    first: Trial,
    selection: Selection,
    num_rows: int,
    train_single: Callable[[TrialBatch, int | None], Output],
) -> Batch:
    static, steps = first.static, None
    if static.keep == "best":
        # No rows are left to find its best epoch on: it ends where its folds did.
        kept = statistics.median_high(row["epoch"] for row in selection.rows)
        steps = kept * program.steps_per_epoch(num_rows, static)
        static = dataclasses.replace(static, keep="last")
    trial = first._replace(static=static, fold=None, num_rows=num_rows)
    batch = TrialBatch(static, trial.seed, (trial,))
    output = train_single(batch, steps)
    (row,) = trials.make_rows(batch, output)
    row |= {"trial": None, "val_loss": None, "val_accuracy": None}
    arrays = trials.make_arrays(batch, output)
    names = (*Params._fields, "train_loss")
    return Batch([formats.plain(row)], {name: arrays[name] for name in names})
