"""Small files of features: two sets of the same rows, one of them worse."""

from pathlib import Path

import numpy as np

CLASSES, COLUMNS = 6, 5
SIZES = {"train": 90, "val": 36, "test": 60}


def write(folder: Path, *, noise=1.5, val=False, seed=0) -> Path:
    """Writes the six or four files of a set; labels do not depend on the noise."""
    folder.mkdir()
    means = np.random.default_rng(7).normal(size=(CLASSES, COLUMNS))
    for number, (role, size) in enumerate(SIZES.items()):
        if role == "val" and not val:
            continue
        labels = np.arange(size) % CLASSES
        drawn = np.random.default_rng([seed, number]).normal(size=(size, COLUMNS))
        x = 3.0 + means[labels] + noise * drawn
        np.save(folder / f"{role}_features.npy", x.astype(np.float32))
        np.save(folder / f"{role}_labels.npy", labels)
    return folder
