"""The rows of a feature set as trials are trained and validated on them."""

import jax.numpy as jnp
import numpy as np

from linclf_jax.selection.folds import NOT_HELD_OUT
from linclf_jax.selection.resampling import FOLDS
from linclf_jax.studies.study import Inputs
from linclf_jax.training.states import Data


def make(inputs: Inputs) -> Data:
    """Returns training and validation rows; with folds both are all rows.

    Args:
        inputs: With folds, or a validation split.
    """
    x, labels, fold = inputs.x, inputs.labels, inputs.fold
    if inputs.resampling == FOLDS:
        rows = jnp.asarray(x), jnp.asarray(labels)
        # A number that no trial holds out: these rows are in training in every fold.
        folds = jnp.asarray(np.where(fold == NOT_HELD_OUT, fold.max() + 1, fold))
        return Data(*rows, *rows, folds, folds)
    train, held_out = fold == NOT_HELD_OUT, fold != NOT_HELD_OUT
    count = inputs.num_train
    if train[:count].all() and held_out[count:].all():  # slices are no copies
        train, held_out = slice(count), slice(count, None)
    parts = (x[train], labels[train], x[held_out], labels[held_out])
    return Data(*map(jnp.asarray, parts))


def is_held_out(inputs: Inputs, fold: int | None = None) -> np.ndarray:
    """Returns which validation rows are held out, ``(M,)`` boolean.

    Args:
        inputs: With folds, or a validation split.
        fold: By the trial of this fold; by any if None.
    """
    if inputs.resampling != FOLDS:
        return np.ones(np.count_nonzero(inputs.fold != NOT_HELD_OUT), bool)
    return inputs.fold != NOT_HELD_OUT if fold is None else inputs.fold == fold


def num_train_rows(inputs: Inputs, fold: int | None) -> int:
    """Returns how many rows a trial is trained on.

    Args:
        inputs: With folds, or a validation split.
        fold: That the trial holds out, if any.
    """
    if inputs.resampling != FOLDS:
        return int(np.count_nonzero(inputs.fold == NOT_HELD_OUT))
    if fold is None:
        return len(inputs.fold)
    return int(np.count_nonzero(inputs.fold != fold))
