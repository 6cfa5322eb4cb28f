"""Many fits at once: trials, the batches that they are trained in, and their rows.

A *trial* is one fit: its static choices, its hyper-parameters, a seed, and the fold
that it holds out, if any. Trials that share static choices and seed share their
minibatches, so a *batch* of them is one program whose product with ``x`` is one matrix
product. Every batch has the same width: a product of another width may round otherwise,
so a trial keeps its bits only in batches of equal width. Short batches are filled up
with copies of their last trial, and the copies' results are dropped.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from linclf_jax import losses, regularization, validation
from linclf_jax.training import optimizers, states
from linclf_jax.training.execution import BatchInputs, Output
from linclf_jax.training.search_space import Candidate
from linclf_jax.training.settings import Hparams, Static
from linclf_jax.training.states import NO_FOLD, Data

MAX_WIDTH = 65536  # trials of one program; far beyond what gains speed

RETIRED = "retired"  # the status of a trial that successive halving took out


class Trial(NamedTuple):
    """One fit of a study."""

    trial: int  # its number, and its row in every result
    static: Static
    hparams: Hparams  # Python floats
    seed: int
    fold: int | None  # held out; None trains on all training rows
    num_rows: int | None = None  # that it trains on, for the ``C`` of its row


class TrialBatch(NamedTuple):
    """Trials that are trained together: one static choice, one seed."""

    static: Static
    seed: int
    trials: tuple[Trial, ...]


def make_trials(
    candidates: Iterable[Candidate],
    seeds: Sequence[int],
    folds: int = 0,
    num_rows: Mapping[int | None, int] | None = None,
) -> tuple[Trial, ...]:
    """Returns a trial of each candidate, seed and fold, repeats side by side.

    Args:
        candidates: The slowest to change.
        seeds: Distinct, each in uint32.
        folds: K of a K-fold cross-validation; 0 is none.
        num_rows: How many a trial trains on, by the fold that it holds out (None where
            none is), if it is to be in its row.
    """
    held_out, sizes = range(folds) if folds else (None,), num_rows or {}
    runs = itertools.product(candidates, seeds, held_out)
    return tuple(
        Trial(number, candidate.static, candidate.hparams, seed, fold, sizes.get(fold))
        for number, (candidate, seed, fold) in enumerate(runs)
    )


def make_batches(trials: Iterable[Trial], width: int) -> tuple[TrialBatch, ...]:
    """Returns batches of at most ``width`` trials, those of a static side by side."""
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"--trials_per_batch is {width}; expected 1 to {MAX_WIDTH}")
    groups: dict[Static, dict[int, list[Trial]]] = {}
    for trial in trials:
        seeds = groups.setdefault(trial.static, {})
        seeds.setdefault(trial.seed, []).append(trial)
    return tuple(
        TrialBatch(static, seed, tuple(group[start : start + width]))
        for static, by_seed in groups.items()
        for seed, group in by_seed.items()
        for start in range(0, len(group), width)
    )


def default_width(num_classes: int) -> int:
    """Returns a width at which a program is fast, and short batches waste little.

    A product is fast from about a thousand columns, one for each class of each trial,
    on; see docs/performance.md.

    >>> default_width(10), default_width(100), default_width(1000)
    (128, 32, 4)
    """
    return min(128, 1 << max(0, (4096 // num_classes).bit_length() - 1))


def filled(batch: TrialBatch, width: int, dtype: np.dtype) -> BatchInputs:
    """Returns a batch as its program takes it, filled up with its last trial."""
    trials = batch.trials + batch.trials[-1:] * (width - len(batch.trials))
    columns = zip(*(trial.hparams for trial in trials), strict=True)
    hparams = Hparams(*(np.array(column, dtype) for column in columns))
    folds = [NO_FOLD if trial.fold is None else trial.fold for trial in trials]
    return BatchInputs(
        np.array(batch.seed, np.uint32), hparams, np.array(folds, np.int32)
    )


def validate_static(static: Static, *, num_rows: int) -> None:
    """Refuses minibatches larger than the training rows, and too many epochs or none.

    Names are checked as flags, those of features where the features are made.
    """
    for name, highest, why in (
        ("batch_size", num_rows, " (the training rows)"),
        ("epochs", 10**6, ""),
    ):
        value = getattr(static, name)
        if not 1 <= value <= highest:
            raise ValueError(f"--{name} is {value}; expected 1 to {highest}{why}")


def validate_data(data: Data, num_classes: int) -> None:
    """Refuses rows with bad entries, or lengths or widths that do not match."""
    for x, labels in ((data.x, data.labels), (data.val_x, data.val_labels)):
        validation.validate_batch(x, labels, num_classes, targets=np.ndim(labels) == 2)
    if data.x.shape[1] != data.val_x.shape[1]:
        raise ValueError(
            f"training rows have {data.x.shape[1]} columns, validation rows "
            f"{data.val_x.shape[1]}; expected equal numbers"
        )


def make_rows(
    batch: TrialBatch, output: Output, *, finished: bool = True
) -> list[dict[str, Any]]:
    """Returns one row per trial: its choices, its hyper-parameters, what came of it.

    A hyper-parameter that the trial does not use is None. Trials that were stopped
    before they were ``finished`` are retired, unless they have diverged.
    """
    scores = {
        f"{split}_{name}": values.tolist()
        for split, part in (("train", output.train), ("val", output.validation))
        for name, values in part._asdict().items()
    }
    scores |= {
        "epoch": states.final_epochs(output.state).tolist(),
        "steps": output.state.steps.tolist(),
    }
    well, rows = "ok" if finished else RETIRED, []
    for index, trial in enumerate(batch.trials):
        status = int(output.state.status[index])
        used = optimizers.uses(trial.static)
        rows.append(
            {
                "trial": trial.trial,
                **{name: getattr(trial.static, name) for name in _STATIC_COLUMNS},
                **{
                    name: value if name in used else None
                    for name, value in trial.hparams._asdict().items()
                },
                "C": _inverse_strength(trial),
                "seed": trial.seed,
                "fold": trial.fold,
                "status": well if status == states.OK else "diverged",
                "reason": states.REASONS.get(status),
                **{name: values[index] for name, values in scores.items()},
            }
        )
    return rows


def _inverse_strength(trial: Trial) -> float | None:
    """Returns scikit-learn's ``C``; None where it is unknown, infinite or has no sense.

    That is without a penalty, for a loss that is not logistic regression's, and where
    the number of rows is not given.
    """
    is_logistic = trial.static.loss in losses.LOGISTIC
    if trial.num_rows is None or trial.hparams.l2 == 0 or not is_logistic:
        return None
    return regularization.inverse_strength(
        float(trial.hparams.l2),
        trial.num_rows,
        trial.static.num_classes,
        separate=trial.static.loss == losses.SEPARATE,
    )


# Every choice that makes a setting is a column of its row: two settings that differ in
# what is none would be averaged as repeats of one.
_STATIC_COLUMNS = (
    "features",
    "preprocessing",
    "optimizer",
    "schedule",
    "loss",
    "batch_size",
    "epochs",
    "keep",
    "gradient",
    "precision",
    "num_classes",
    "smoothed",
)


def make_arrays(batch: TrialBatch, output: Output) -> dict[str, np.ndarray]:
    """Returns what came of a batch's trials, without copies.

    That is ``trial (L,)``, ``W (L, D, C)``, ``b (L, C)``, and the curves ``(L, E)``.
    """
    count, state = len(batch.trials), output.state
    W, b = map(np.asarray, states.final_params(state))
    curves = {k: np.asarray(v).T[:count] for k, v in state.curves._asdict().items()}
    return {
        "trial": np.array([trial.trial for trial in batch.trials]),
        "W": np.moveaxis(W, -1, 0)[:count],
        "b": b[0].T[:count],
        **curves,
    }
