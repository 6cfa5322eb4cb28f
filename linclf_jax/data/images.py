"""Features of images, computed by every core.

scikit-image takes half a millisecond for the oriented gradients of an image of 28x28
pixels, most of it in Python, where threads wait for each other. So blocks of images are
computed by processes that import neither JAX nor the script that runs
(``image_recipes``): 60,000 such images take 17 s on two cores.
"""

import importlib.util
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import numpy as np

from linclf_jax import validation
from linclf_jax.data import image_recipes

NAMES = tuple(image_recipes.RECIPES)
ROWS = 2048  # of a block; so many are computed before a process has started
REPORT_EVERY = 10.0  # seconds
logger = logging.getLogger(__name__)

ImageShape = tuple[int, ...]  # (H, W) or (H, W, 3)


def size(name: str, image_shape: ImageShape | None) -> int:
    """Returns K, the number of features of one image; refuses as ``validate``.

    >>> size("hog", (28, 28)), size("hog+h_histogram", (32, 32, 3))
    (1296, 1780)
    """
    image_shape = validate(name, image_shape)
    if name == "rgb":
        return math.prod(image_shape)
    gradients, hues = _num_gradients(image_shape), image_recipes.HUES
    return gradients * ("hog" in name) + hues * ("h_histogram" in name)


def compute(
    name: str,
    x: np.ndarray,
    image_shape: ImageShape | None,
    *,
    workers: int | None = None,
) -> np.ndarray:
    """Computes the features of images, ``(N, K)`` float32, with K of ``size``.

    Args:
        name: ``rgb``, the pixels; ``hog``, histograms of oriented gradients of the grey
            image; ``h_histogram``, the shares of 16 bins of hue; ``hog+h_histogram``.
        x: Images ``(N, D)``, columns row-major, D the product of ``image_shape``.
            Integers are taken as 0..255 and divided by 255; floating pixels are used as
            they are.
        image_shape: ``(H, W)`` or ``(H, W, 3)``.
        workers: Processes; None for one a core. One, or a single block of images, is
            computed without any. The features are the same, bit for bit.

    Raises:
        ValueError: As ``validate``; ``x`` is no matrix of finite numbers, does not fit
            the shape, or has pixels out of range; fewer than one process.
        RuntimeError: A process failed; with the last line of its errors.
    """
    image_shape = validate(name, image_shape)
    _check(name, x, image_shape)
    blocks = [slice(start, start + ROWS) for start in range(0, len(x), ROWS)]
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"found {workers} workers, expected at least 1")
    if name == "rgb" or min(workers, len(blocks)) == 1:
        computed = map(image_recipes.RECIPES[name], _pixels(x, blocks, image_shape))
    else:
        computed = _in_processes(name, _pixels(x, blocks, image_shape), workers)
    features = np.empty((len(x), size(name, image_shape)), np.float32)
    reported = time.monotonic()
    for block, rows in zip(blocks, computed, strict=True):
        features[block] = rows
        if time.monotonic() - reported > REPORT_EVERY:
            reported = time.monotonic()
            done = min(block.stop, len(x))
            logger.info("computed %s of %d of %d images", name, done, len(x))
    return features


def validate(name: str, image_shape: ImageShape | None) -> ImageShape:
    """Returns the shape, if images of it have these features.

    Raises:
        ValueError: The name is unknown, the shape none of an image, the images too
            small for ``hog``, or grey, so that they have no hue; scikit-image is
            missing.
    """
    if name not in NAMES:
        raise ValueError(f"found features {name!r}, expected one of {', '.join(NAMES)}")
    if image_shape is None:
        raise ValueError(f"features {name!r} are of images; the rows here are none")
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or min(shape) < 1 or shape[2:] not in ((), (3,)):
        raise ValueError(f"found image shape {shape}, expected (H, W) or (H, W, 3)")
    if "h_histogram" in name and len(shape) == 2:
        raise ValueError(
            f"features {name!r} are of colour images; these are grey, of shape "
            f"{shape}, and grey has no hue"
        )
    if "hog" in name and _num_gradients(shape) == 0:
        least = image_recipes.CELL * image_recipes.BLOCK
        raise ValueError(
            f"found images of {shape[0]} x {shape[1]} pixels, expected at least "
            f"{least} x {least} for features {name!r}"
        )
    if name != "rgb" and importlib.util.find_spec("skimage") is None:
        raise ValueError(
            f"features {name!r} need scikit-image, which is not installed: "
            "pip install 'linclf_jax[experiments]'"
        )
    return image_shape


def _num_gradients(image_shape: ImageShape) -> int:
    """The number of features of ``hog``."""
    block = image_recipes.BLOCK
    down, across = (
        max(side // image_recipes.CELL - block + 1, 0) for side in image_shape[:2]
    )
    return down * across * block * block * image_recipes.ORIENTATIONS


def _check(name: str, x: np.ndarray, image_shape: ImageShape) -> None:
    validation.validate_features(x)
    if x.shape[1] != math.prod(image_shape):
        raise ValueError(
            f"x has {x.shape[1]} columns; expected {math.prod(image_shape)}, those of "
            f"images of shape {tuple(image_shape)}"
        )
    lowest, highest = np.min(x), np.max(x)
    if x.dtype.kind in "iu" and not 0 <= lowest <= highest <= 255:
        raise ValueError(f"found pixels {lowest} to {highest}, expected 0 to 255")
    if "h_histogram" in name and lowest < 0:
        raise ValueError(f"found a pixel {lowest}, expected none below 0: hue has none")


def _pixels(
    x: np.ndarray, blocks: list[slice], image_shape: ImageShape
) -> Iterator[np.ndarray]:
    """Yields blocks of images, in float32."""
    unit = np.float32(255 if x.dtype.kind in "iu" else 1)
    for block in blocks:
        yield x[block].astype(np.float32).reshape(-1, *image_shape) / unit


def _in_processes(
    name: str, blocks: Iterator[np.ndarray], workers: int
) -> Iterator[np.ndarray]:
    """Yields the features of blocks, in their order, computed by processes."""
    threads = futures.ThreadPoolExecutor(workers)  # each waits for a process
    waiting: list[futures.Future[np.ndarray]] = []
    try:
        for block in blocks:
            waiting.append(threads.submit(_in_process, name, block))
            if len(waiting) > 2 * workers:  # more blocks would only take memory
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
    finally:
        threads.shutdown(cancel_futures=True)


def _in_process(name: str, pixels: np.ndarray) -> np.ndarray:
    # multiprocessing would run the caller's script again in every process, and import
    # JAX there. -P: modules beside the program must not shadow those that it imports.
    done = subprocess.run(
        [sys.executable, "-P", str(Path(image_recipes.__file__)), name],
        input=image_recipes.encode(pixels),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        errors = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(
            f"a process for features {name!r} ended with {done.returncode}"
            f"{': ' + errors[-1] if errors else ''}"
        )
    return image_recipes.decode(done.stdout)
