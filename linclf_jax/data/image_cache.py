"""A cache of the features of images, on the user's disk.

The name of an entry is a SHA-256 of all that determines its values: the images to the
byte, their shape, the name and version of the recipe, the version of scikit-image. So
it is never out of date, only unused; the folder may be deleted at any time. An entry
that cannot be read, or whose checksum is wrong, is computed and written again.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import tempfile
from pathlib import Path

import numpy as np

from linclf_jax.data import image_recipes, images, private_folder
from linclf_jax.data.images import ImageShape


def features(name: str, x: np.ndarray, image_shape: ImageShape | None) -> np.ndarray:
    """Returns ``images.compute``, from the disk if it was computed before.

    Not cached are the pixels themselves, what takes no longer than a second, and
    anything where the user's cache cannot be written.

    Raises:
        ValueError: As ``images.compute``; or the folder of the cache is another user's,
            a symbolic link or a file.
    """
    shape = (len(x), images.size(name, image_shape))
    if name == "rgb" or len(x) <= images.ROWS:
        return images.compute(name, x, image_shape)
    try:
        folder = private_folder.in_user_cache("images")
        private_folder.make(folder)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return images.compute(name, x, image_shape)
    entry = folder / f"{_key(name, x, image_shape)}.npz"
    cached = _read(entry)
    if cached is not None and cached.shape == shape:
        return cached
    computed = images.compute(name, x, image_shape)
    _write(entry, computed)
    return computed


def _key(name: str, x: np.ndarray, image_shape: ImageShape | None) -> str:
    """Returns the name of an entry, which depends on no memory order."""
    little = x.dtype.newbyteorder("<")
    library = importlib.metadata.version("scikit-image")
    shapes = f"{len(x)} of {image_shape}"
    facts = (name, image_recipes.VERSION, library, little.name, shapes)
    digest = hashlib.sha256(repr(facts).encode())
    for start in range(0, len(x), images.ROWS):
        block = x[start : start + images.ROWS]
        digest.update(block.astype(little, copy=False).tobytes())
    return digest.hexdigest()


def _read(entry: Path) -> np.ndarray | None:
    """Returns the features of an entry; None if it is not there or damaged."""
    try:
        # Opened here: np.load leaves a damaged archive open.
        with entry.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            values = archive["features"]  # zipfile verifies a checksum of the bytes
    except Exception:  # zipfile and NumPy raise many kinds at damaged bytes
        return None
    return values if values.dtype == np.float32 else None


def _write(entry: Path, computed: np.ndarray) -> None:
    """Writes an entry at once, and none if the disk is full: it is only a cache.

    Nothing is flushed to the disk: what a power cut damages is computed again.
    """
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, features=computed)
            Path(temporary).replace(entry)
        finally:
            Path(temporary).unlink(missing_ok=True)
