"""A regularisation path as a study: of every penalty the classifier is kept."""

import numpy as np

from linclf_jax.config import data as data_config
from linclf_jax.config import exact as exact_config
from linclf_jax.config import path as path_config
from linclf_jax.config.path import PathConfig
from linclf_jax.exact import leave_one_out
from linclf_jax.selection import folds as folds_lib
from linclf_jax.selection import resampling as resampling_lib
from linclf_jax.studies import exact_problem
from linclf_jax.studies import inputs as inputs_lib
from linclf_jax.studies.exact import ExactStudy
from linclf_jax.training.settings import RAW


def prepare(config: PathConfig) -> ExactStudy:
    """Loads and scales the data and deals the folds, after checking every flag.

    Args:
        config: All flags.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    path_config.validate(config)
    dataset = data_config.load(config.data)
    rows = inputs_lib.joined(dataset)
    num_classes = len(dataset.class_names)
    l2s = exact_config.penalties(
        config.penalty, num_rows=len(rows.labels), num_classes=num_classes
    )
    if config.leave_one_out:
        fold = np.full(len(rows.labels), folds_lib.NOT_HELD_OUT, np.int32)
        kind = resampling_lib.LEAVE_ONE_OUT
        compared = resampling_lib.of_leave_one_out(rows.labels)
        num_rows, num_features = rows.x.shape
        leave_one_out.require_memory(num_rows, num_features, num_classes)
    else:
        fold = folds_lib.assign(
            rows.labels,
            config.selection.folds,
            seed=config.data.split_seed,
            name="--folds",
        )
        kind, compared = resampling_lib.FOLDS, resampling_lib.of_folds(fold)
    inputs = inputs_lib.make(
        dataset.name,
        dataset,
        scaling=config.preprocessing,
        fold=fold,
        resampling=kind,
        rows=rows,
    )
    problem = exact_problem.make(
        (RAW, config.preprocessing), inputs, l2s, (compared,), keep_path=True
    )
    return ExactStudy(
        name="path",
        config=config,
        problems=(problem,),
        limits=config.exact,
        checkpoint_every=config.runtime.checkpoint_every,
        group_by=(),
        metric=config.selection.metric,
        rule=config.selection.rule,
        selection_flags={"l2": config.penalty.unit},
    )
