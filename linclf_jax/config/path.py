"""The configuration of a regularisation path."""

import dataclasses

from linclf_jax import validation
from linclf_jax.config import exact, runtime
from linclf_jax.config.data import DataConfig
from linclf_jax.config.exact import ExactConfig
from linclf_jax.config.fields import flag, one_of, part
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.runtime import RuntimeConfig
from linclf_jax.config.selection import SelectionConfig
from linclf_jax.data import preprocessing
from linclf_jax.selection import choose, ranking
from linclf_jax.training.search_space import Range


@dataclasses.dataclass(frozen=True)
class PathConfig:
    """Data, penalties, and how one of them is selected."""

    data: DataConfig = part(DataConfig())
    preprocessing: str = flag(
        "standardize",
        f"Fitted on training and validation rows. {one_of(preprocessing.NAMES)}",
    )
    penalty: Penalty = part(Penalty("l2", Range("log", 1e-6, 1.0, 45)))
    leave_one_out: bool = flag(
        False, "Approximate leave-one-out, from one fit a penalty; --folds is not used."
    )
    selection: SelectionConfig = part(SelectionConfig(folds=5))
    exact: ExactConfig = part(ExactConfig())
    runtime: RuntimeConfig = part(RuntimeConfig())


def validate(config: PathConfig) -> None:
    """Checks what can be checked before there is any data.

    Raises:
        ValueError: With the flag's name, what was found and what is allowed.
    """
    exact.validate(config.exact)
    runtime.validate(config.runtime)
    ranking.validate_metric(config.selection.metric)
    choose.validate_rule(config.selection.rule)
    validation.validate_seed(config.data.split_seed, name="--split_seed")
