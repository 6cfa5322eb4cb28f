"""The problems that ``benchmarks.path`` solves: rows, folds, and a grid of penalties.

| | problem | rows x features, classes | what it stands for |
| --- | --- | --- | --- |
| a | digits | 1797 x 64, 10 | small: overheads count |
| b | power_law | 20000 x 256, 10 | features with a spectrum that decays fast |
| c | fashion | 10000 x 784, 10 | raw pixels of Fashion-MNIST, from ``--data_dir`` |
| d | few_shot | 5000 x 768, 100 | unit-norm features, 50 rows a class |
| e | wide | 2000 x 2048, 10 | fewer rows than features |
| f | probe | 20000 x 768, 100 | features of a network, stored as float16; separable |

Features are float32, and whoever computes in float64 gets the same numbers. All rows of
f are for a whole probe, by ``benchmarks.probe``; ``make`` returns 8,000 of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.data import files
from linclf_jax.selection import folds as folds_lib

MOST_SCALE = 20  # beyond, some class has fewer rows than there are folds
FOLDS = 5
IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"
FASHION_ROWS = 10_000
ROWS_A_CLASS = 50  # of few_shot
PROBE_ROWS, PROBE_TEST_ROWS, PROBE_ROWS_A_CLASS = 20_000, 4_000, 200


class Problem(NamedTuple):
    """A path of penalties to follow in every fold of a cross-validation."""

    name: str
    x: np.ndarray  # (N, D) float32
    labels: np.ndarray  # (N,) int32, every class of 0..C-1 in every fold
    folds: np.ndarray | None  # (N,) int32, which holds a row out; None for all rows
    l2s: tuple[float, ...]  # from the largest to the smallest

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self.labels.max()) + 1

    @property
    def num_folds(self) -> int:
        """L, the lanes of a solver that takes all folds at once."""
        return 1 if self.folds is None else int(self.folds.max()) + 1

    @property
    def weights(self) -> np.ndarray:
        """1 where a lane trains on a row and 0 where it holds it out, ``(L, N)``."""
        if self.folds is None:
            return np.ones((1, len(self.x)), np.float32)
        lanes = np.arange(self.num_folds, dtype=np.int32)[:, None]
        return (self.folds[None] != lanes).astype(np.float32)

    @property
    def shape(self) -> str:
        """Rows, features and classes, for a table."""
        return ",".join(map(str, (*self.x.shape, self.num_classes)))

    def single(self, l2: float) -> "Problem":
        """Returns one fit to all rows."""
        return self._replace(folds=None, l2s=(l2,))


def make(letter: str, scale: int = 1, data_dir: str | None = None) -> Problem:
    """Returns the problem that a letter stands for.

    For trying, rows and features are divided by ``scale``. Problem c reads the IDX
    files of Fashion-MNIST's training split.
    """
    if letter not in LETTERS:
        raise ValueError(
            f"--problems names {letter!r}; expected some of {', '.join(LETTERS)}"
        )
    check_scale(scale)
    return _fashion(scale, data_dir) if letter == "c" else LETTERS[letter](scale)


def check_scale(scale: int) -> None:
    """Refuses a scale at which some fold would lack a class."""
    if not 1 <= scale <= MOST_SCALE:
        raise ValueError(f"--scale is {scale}; expected 1 to {MOST_SCALE}")


def spectral(
    shape: tuple[int, int, int],
    decay: float,
    separation: float,
    *,
    seed: int = 0,
    rotated: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws classes that share one covariance, with a spectrum of a power law.

    Along the k-th axis of a random basis all rows spread by ``(1 + k)^-decay``, and the
    class means by ``separation`` times that. Not rotated, the axes are the columns.

    Args:
        shape: N, D and C; the classes of the rows take turns.
        decay: Exponent of the power law.
        separation: Of the class means.
        seed: Of everything that is drawn.

    Returns:
        Features ``(N, D)`` float64 and labels ``(N,)`` int32.
    """
    rows, features, classes = shape
    rng = np.random.default_rng([seed, *shape])
    scales = (1.0 + np.arange(features)) ** -decay
    basis = np.linalg.qr(rng.normal(size=(features, features)))[0]
    means = separation * rng.normal(size=(classes, features))
    labels = (np.arange(rows) % classes).astype(np.int32)
    x = (means[labels] + rng.normal(size=(rows, features))) * scales
    return (x @ basis if rotated else x), labels


def grid(low: float, count: int) -> tuple[float, ...]:
    """Returns penalties from 1 down to ``low``, evenly spaced in their logarithm."""
    return tuple(np.geomspace(1.0, low, count).tolist())


def assemble(
    name: str, data: tuple[np.ndarray, np.ndarray], l2s: tuple[float, ...]
) -> Problem:
    """Returns the problem with its folds assigned class by class."""
    x, labels = data
    folds = folds_lib.assign(labels, FOLDS, seed=0)
    return Problem(name, x.astype(np.float32), labels.astype(np.int32), folds, l2s)


def _digits(scale: int) -> Problem:
    from sklearn import datasets as bundled

    bunch: Any = bundled.load_digits()
    x, labels = bunch.data[::scale, ::scale], bunch.target[::scale]
    return assemble("digits", (x / 16.0, labels), grid(1e-6, 45))


def _power_law(scale: int) -> Problem:
    shape = (20_000 // scale, 256 // scale, 10)
    data = spectral(shape, decay=1.0, separation=2.0)
    return assemble("power_law", data, grid(1e-6, 45))


def _fashion(scale: int, data_dir: str | None) -> Problem:
    if data_dir is None:
        raise ValueError(
            f"--problems names 'c'; expected --data_dir, a folder with {IMAGES} "
            f"and {LABELS}"
        )
    images, labels = (files.read_idx(Path(data_dir, name)) for name in (IMAGES, LABELS))
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max() > 9:
        raise ValueError(
            f"{data_dir} has images of shape {images.shape} and labels of shape "
            f"{labels.shape} up to {labels.max()}; expected (N, H, W), (N,) and 9"
        )
    kept = slice(0, FASHION_ROWS, scale)
    pixels = images[kept].reshape(-1, images[0].size)[:, ::scale] / 255.0
    return assemble("fashion", (pixels, labels[kept]), grid(1e-5, 11))


def _few_shot(scale: int) -> Problem:
    rows = 5_000 // scale
    shape = (rows, 768 // scale, rows // ROWS_A_CLASS)
    x, labels = spectral(shape, decay=0.5, separation=1.0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return assemble("few_shot", (x, labels), grid(1e-5, 11))


def _wide(scale: int) -> Problem:
    data = spectral((2_000 // scale, 2_048 // scale, 10), decay=0.5, separation=0.5)
    return assemble("wide", data, grid(1e-5, 11))


def probe_data(scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws features ``(N, D)`` float16 and labels of problem f, and its test rows."""
    rows = (PROBE_ROWS + PROBE_TEST_ROWS) // scale
    shape = (rows, 768 // scale, PROBE_ROWS // scale // PROBE_ROWS_A_CLASS)
    x, labels = spectral(shape, decay=1.0, separation=2.0, rotated=False)
    return x.astype(np.float16), labels


def _probe(scale: int) -> Problem:
    x, labels = probe_data(scale)
    rows = 2 * PROBE_ROWS // 5 // scale
    return assemble("probe", (x[:rows], labels[:rows]), grid(1e-6, 45))


LETTERS: dict[str, Callable[..., Problem]] = {
    "a": _digits,
    "b": _power_law,
    "c": _fashion,
    "d": _few_shot,
    "e": _wide,
    "f": _probe,
}
