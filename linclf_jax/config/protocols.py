"""Linear-probe protocols that papers name, as presets: what each sets, and whence.

Where an original chooses on the data that it reports, or stops a solver before it has
converged, the preset does it right; ``changed`` says so, and ``selected.json`` repeats
it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from linclf_jax.config.penalty import Penalty
from linclf_jax.training.search_space import Range


class Training(NamedTuple):
    """How a protocol trains by minibatches."""

    optimizer: str
    schedule: str
    learning_rate: tuple[float, ...]  # for a batch of 256, and scaled to the batch
    batch_size: int  # at most; all rows where there are fewer
    epochs: int | None
    steps: int | None  # in place of epochs, to the nearest whole pass
    original_steps: int  # on ImageNet
    warmup: float  # share of the steps
    init_scale: float


class Protocol(NamedTuple):
    """One protocol."""

    source: str
    penalty: Penalty = Penalty("l2", (0.0,))  # a refit keeps its unit
    preprocessing: str = "none"
    metric: str = "val_accuracy"  # a name in ``ranking.METRICS``
    # Without a validation file one row in this many is held out; None deals folds.
    hold_out: int | None = None
    refit: bool = False  # the chosen setting once more, on all rows but the test's
    shots: tuple[int, ...] = ()  # of each class; none for all rows
    training: Training | None = None  # None solves exactly
    changed: tuple[str, ...] = ()


_SOLVED = (
    "every penalty is solved to a certified optimality gap; the original stops its "
    "solver after a number of iterations, converged or not"
)
_UNIFORM = (
    "W starts uniform with the standard deviation of the original's normal "
    "distribution, 0.01"
)

_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1)
_DINOV2 = Training(
    optimizer="momentum",
    schedule="cosine",
    learning_rate=_RATES,
    batch_size=128,
    epochs=None,
    steps=12_500,
    original_steps=12_500,
    warmup=0.0,
    # Half the width of a uniform distribution with the standard deviation 0.01.
    init_scale=0.01 * 3**0.5,
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "exact": Protocol(
            source="experiments/path.py",
            preprocessing="standardize",
            # The best of three on test rows, see docs/selection.md.
            metric="val_loss_calibrated",
            penalty=Penalty("l2", Range("log", 1e-6, 1.0, 45)),
            refit=True,
        ),
        "clip": Protocol(
            source="Radford et al., Learning Transferable Visual Models From Natural "
            "Language Supervision, 2021, appendix A.3; openai/CLIP, README.md",
            penalty=Penalty("C", Range("log", 1e-6, 1e6, 97)),
            hold_out=5,
            refit=True,
            changed=(
                _SOLVED,
                "all 97 penalties are solved; the original halves an interval around "
                "the best of seven, which finds another one where accuracy has "
                "several peaks",
                "without a validation file one row in five of each class is held out; "
                "the original does not say how many",
            ),
        ),
        "clip_benchmark": Protocol(
            source="LAION-AI/CLIP_benchmark, clip_benchmark/metrics/linear_probe.py",
            preprocessing="l2_normalize",
            penalty=Penalty("l2", Range("log", 1e-6, 1e2, 97)),
            hold_out=5,
            refit=True,
            changed=(
                "every l2 is solved to a certified optimality gap; the original "
                "trains by AdamW, whose weight decay is no penalty of the objective, "
                "and decays the bias too",
                "all 97 penalties are solved; the original halves an interval around "
                "the best of seven",
                "without a validation file one row in five of each class is held out; "
                "the original then does not choose, and takes no decay",
            ),
        ),
        "dinov2_linear": Protocol(
            source="facebookresearch/dinov2, dinov2/eval/linear.py",
            hold_out=10,
            training=_DINOV2,
            changed=(
                "the classifier is chosen on validation rows; the original chooses the "
                "best of 52 on the set that it reports",
                "one feature set at a time, 13 classifiers of it; the original chooses "
                "among four kinds of features too",
                "whole passes over the rows, as many as come nearest to 12,500 steps",
                _UNIFORM,
            ),
        ),
        "dinov2_logreg": Protocol(
            source="facebookresearch/dinov2, dinov2/eval/log_regression.py",
            penalty=Penalty("C", Range("log", 1e-6, 1e5, 45)),
            hold_out=10,
            refit=True,
            changed=(
                _SOLVED,
                "without a validation file one row in ten of each class is held out; "
                "the original holds out a tenth at random, whatever the classes",
            ),
        ),
        "mae": Protocol(
            source="facebookresearch/mae, main_linprobe.py, util/lars.py, FINETUNE.md",
            preprocessing="standardize",
            hold_out=10,
            training=_DINOV2._replace(
                optimizer="lars",
                learning_rate=(0.1,),
                batch_size=16_384,
                epochs=90,
                steps=None,
                original_steps=7_020,
                warmup=1 / 9,
            ),
            changed=(
                "features are scaled by the mean and deviation of the training rows; "
                "the original's BatchNorm scales by those of each batch",
                "features are fixed; the original crops and flips images anew in every "
                "epoch",
                "the last epoch is tested; the original prints the best epoch on the "
                "test set too",
                "the last minibatch of an epoch may be short; the original drops it",
                _UNIFORM,
            ),
        ),
        "fewshot": Protocol(
            source="google-research/big_vision, big_vision/evaluators/fewshot_lsr.py",
            preprocessing="standardize",
            metric="val_loss",
            penalty=Penalty("l2", Range("log", 1e-5, 1.0, 16)),
            shots=(1, 5, 10, 25),
            changed=(
                "softmax regression; the original solves least squares on targets of "
                "plus and minus 1",
                "the penalty is chosen for each draw by estimated leave-one-out loss; "
                "the original has a fixed one",
                "features are scaled by all training rows, whose labels are not used; "
                "the original scales by the shots",
            ),
        ),
    }
)
