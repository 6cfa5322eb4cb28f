"""Files of a user's own: loaded as a dataset, or refused."""

import pytest

from linclf_jax.data import datasets, files
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.datasets import Files


def load(train, labels=None, paths=(), **options):
    """Returns the dataset of training files, and of others by their fields."""
    paths = {"train_features": train, "train_labels": labels or train, **dict(paths)}
    return datasets.load(
        "features", split_seed=0, files=Files(**paths), options=ReadOptions(**options)
    )


def refuse(message, path, read=files.read_features):
    """Checks that a file is refused by a message, which names it."""
    with pytest.raises(ValueError, match=message) as refused:
        read(path)
    assert str(path) in str(refused.value)
