"""How one setting is selected, by scores on rows that are held out."""

import dataclasses

from linclf_jax.config.fields import flag, one_of
from linclf_jax.selection import choose, ranking


@dataclasses.dataclass(frozen=True)
class SelectionConfig:
    """What a selection ranks by, the rule that it takes, and how rows are held out."""

    metric: str = flag(
        "val_loss",
        f"On rows that are held out. {one_of(ranking.TRIAL_METRICS)} For exact fits "
        "also val_loss_calibrated.",
    )
    rule: str = flag(
        "best",
        f"The best, or the strongest l2 within its error. {one_of(choose.RULES)}",
    )
    folds: int = flag(
        0,
        "Of a cross-validation over training and validation rows, at least 2; 0, in a "
        "sweep, takes the validation split as it is.",
    )


def validate_metric(metric: str) -> None:
    """Checks the metric of trials, whose rows hold no logits.

    Raises:
        ValueError: It is another word, or one of exact fits.
    """
    ranking.validate_metric(metric)
    if metric not in ranking.TRIAL_METRICS:
        raise ValueError(
            f"--metric is {metric!r}, which takes the logits of all validation rows, "
            "and a sweep keeps none; expected one of "
            f"{', '.join(ranking.TRIAL_METRICS)}; experiments.path and "
            "experiments.probe go by it"
        )
