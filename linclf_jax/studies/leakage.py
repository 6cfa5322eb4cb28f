"""Test and validation rows that are training rows too: counted, and warned of.

They are counted as ``data.duplicates`` does, on the rows as they came: validation rows
before training, test rows once they are open.
"""

from collections.abc import Iterator

import numpy as np

from linclf_jax.data import duplicates
from linclf_jax.data.datasets import Dataset, Split
from linclf_jax.data.duplicates import Counts, Duplicates
from linclf_jax.reports import warning_text


def in_test(dataset: Dataset, test: Split) -> Duplicates:
    """Returns which test rows are equal to one of training or validation.

    All those count, whichever of them a classifier was fitted to: the others chose it.

    Args:
        dataset: Whose test split has been opened.
        test: That.
    """
    seen = [(part.x, part.labels) for part in (dataset.train, dataset.validation)]
    return duplicates.between(seen, test.x, test.labels)


def in_validation(dataset: Dataset) -> Counts:
    """Returns how many validation rows are equal to a training row.

    Args:
        dataset: Its test split stays closed.
    """
    train, held_out = dataset.train, dataset.validation
    seen = [(train.x, train.labels)]
    found = duplicates.between(seen, held_out.x, held_out.labels)
    return duplicates.counts(found)


def across_folds(x: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> Counts:
    """Returns how many held-out rows are equal to one that is trained on meanwhile.

    Args:
        x: ``(N, D)``, as it came.
        labels: ``(N,)``.
        fold: As ``duplicates.across``; of leave-one-out a fold a row.
    """
    found = duplicates.across(x, labels, fold)
    return duplicates.counts(found, fold)


def of_validation(counts: Counts) -> Iterator[str]:
    """Yields the warning of held-out rows, if there are such.

    Args:
        counts: From ``in_validation`` or ``across_folds``.
    """
    if counts.rows:
        another = warning_text.another_label(counts.another_label)
        yield (
            f"{counts.rows} of {counts.size} held-out rows are byte-equal to a row "
            f"that is trained on meanwhile{another}; this flatters the scores on them"
        )
