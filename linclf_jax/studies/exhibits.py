"""The few test rows that the page of a run shows."""

from collections.abc import Sequence
from pathlib import Path

from linclf_jax import params
from linclf_jax.data.datasets import Split
from linclf_jax.runs import examples
from linclf_jax.runs.model import Model
from linclf_jax.studies import featured, problem
from linclf_jax.training.settings import Static


def keep(
    folder: Path,
    chosen: Model,
    test: Split,
    static: Static,
    image_shape: Sequence[int] | None,
) -> None:
    """Writes ``examples.npz``, where rows are images.

    Args:
        folder: The run folder.
        chosen: The classifier, which was measured.
        test: The rows that it was measured on, raw.
        static: Its choices; a hinge loss makes no probabilities.
        image_shape: ``(H, W)`` or ``(H, W, 3)``, if the raw columns are pixels.
    """
    if image_shape is None:
        return
    shape = chosen.image_shape
    x, _ = problem.scaled(chosen.scaling, featured.split(chosen.features, test, shape))
    found = examples.collect(
        params.logits(chosen.params, x, precision=static.precision),
        test,
        image_shape=image_shape,
        calibrated=static.loss == "softmax_cross_entropy",
    )
    examples.write(folder, found)
