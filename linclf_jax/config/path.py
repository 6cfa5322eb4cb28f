"""The configuration of a regularisation path."""

import dataclasses

from linclf_jax.config.data import DataConfig
from linclf_jax.config.fields import flag, part
from linclf_jax.config.parts import ExactConfig, RuntimeConfig, SelectionConfig
from linclf_jax.config.penalty import Penalty
from linclf_jax.data import preprocessing
from linclf_jax.training.search_space import Range


@dataclasses.dataclass(frozen=True)
class PathConfig:
    """Data, penalties, and how one of them is selected."""

    data: DataConfig = part(DataConfig())
    preprocessing: str = flag(
        "standardize",
        "Fitted on training and validation rows. One of "
        f"{', '.join(preprocessing.NAMES)}.",
    )
    penalty: Penalty = part(Penalty("l2", Range("log", 1e-6, 1.0, 45)))
    leave_one_out: bool = flag(
        False, "Approximate leave-one-out, from one fit a penalty; --folds is not used."
    )
    selection: SelectionConfig = part(SelectionConfig(folds=5))
    exact: ExactConfig = part(ExactConfig())
    runtime: RuntimeConfig = part(RuntimeConfig(), is_compared=False)
