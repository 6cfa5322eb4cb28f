"""A regularisation path as a study: of every penalty the classifier is kept."""

import numpy as np

from linclf_jax.config import data as data_config
from linclf_jax.config import flat
from linclf_jax.config import penalty as penalty_config
from linclf_jax.config.path import PathConfig
from linclf_jax.exact import leave_one_out
from linclf_jax.selection import folds, resampling
from linclf_jax.studies import exact_problem, inputs
from linclf_jax.studies.exact import ExactStudy
from linclf_jax.studies.study import Plan
from linclf_jax.training.settings import RAW


def prepare(config: PathConfig) -> ExactStudy:
    """Loads and scales the data and assigns the folds, after checking every flag.

    Raises:
        ValueError: A flag or the data is bad; nothing has been compiled or written.
    """
    flat.validate(config)
    dataset = data_config.load(config.data)
    rows = inputs.joined(dataset)
    num_classes = len(dataset.class_names)
    l2s = penalty_config.descending(
        config.penalty, num_rows=len(rows.labels), num_classes=num_classes
    )
    if config.leave_one_out:
        fold = np.full(len(rows.labels), folds.NOT_HELD_OUT, np.int32)
        compared = resampling.of_leave_one_out(rows.labels)
        num_rows, num_features = rows.x.shape
        leave_one_out.require_memory(num_rows, num_features, num_classes)
    else:
        fold = folds.assign(
            rows.labels,
            config.selection.folds,
            seed=config.data.split_seed,
            name="--folds",
        )
        compared = resampling.of_folds(fold)
    scaled = inputs.make(
        dataset.name,
        dataset,
        fold,
        scaling=config.preprocessing,
        leave_one_out=config.leave_one_out,
    )
    key = (RAW, config.preprocessing)
    problem = exact_problem.make(key, scaled, l2s, (compared,), keep_path=True)
    plan = Plan("path", config, {key: scaled}, config.penalty.unit)
    return ExactStudy(plan, (problem,))
