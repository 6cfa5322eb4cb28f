"""What a person should know of classes that are too rare for every split or fold."""

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from linclf_jax.data.datasets import Dataset
from linclf_jax.selection import folds as folds_lib


def of_splits(dataset: Dataset, *, validates: bool) -> Iterator[str]:
    """Yields what dealt splits lack.

    Args:
        dataset: Its test split stays closed.
        validates: Whether settings are compared on the validation split as it is.
    """
    for name, missing in dataset.lacking._asdict().items():
        if missing and (validates or name == "test"):
            labels, counts = zip(*missing, strict=True)
            names = [dataset.class_names[label] for label in labels]
            classes = "1 class" if len(names) == 1 else f"{len(names)} classes"
            yield (
                f"{name} scores contain no row of {classes} with too few to deal to "
                f"every split: {folds_lib.listed(names, counts)}"
            )


def of_folds(
    dataset: Dataset, labels: np.ndarray, held_out: np.ndarray
) -> Iterator[str]:
    """Yields what held-out rows lack.

    Args:
        dataset: It names the classes.
        labels: ``(N,)``.
        held_out: ``(N,)`` boolean, rows that some fit did not see.
    """
    sentence = folds_lib.warning(labels, held_out, dataset.class_names)
    if sentence is not None:
        yield sentence


def tell(sentences: Sequence[str]) -> None:
    """Warns the person at the terminal, before the work begins."""
    for sentence in sentences:
        print(f"Warning: {sentence}", file=sys.stderr)
