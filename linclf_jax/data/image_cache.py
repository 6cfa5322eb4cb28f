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
from linclf_jax.data.images import ImageShape, Tell


def features(
    name: str,
    x: np.ndarray,
    image_shape: ImageShape | None,
    *,
    folder: str | Path | None = None,
    tell: Tell | None = None,
) -> np.ndarray:
    """Returns ``images.compute``, from the disk if it was computed before.

    Not cached are the pixels themselves, and what takes no longer than a second.

    Args:
        name: One of ``images.NAMES``.
        x: Images ``(N, D)``.
        image_shape: ``(H, W)`` or ``(H, W, 3)``.
        folder: Of the entries; made if it is missing, and closed to other users. None
            for ``images`` in the user's cache, or for no cache where that cannot be
            written.
        tell: As of ``images.compute``; not called for cached features.

    Returns:
        ``(N, K)`` float32.

    Raises:
        ValueError: As ``images.compute``; or the folder is another user's, a symbolic
            link or a file, or it is given and cannot be made or written.
    """
    columns = images.size(name, image_shape)
    if name == "rgb" or len(x) <= images.ROWS:
        return images.compute(name, x, image_shape, tell=tell)
    cache = _folder(folder)
    entry = cache / f"{key(name, x, image_shape)}.npz" if cache else None
    cached = _read(entry) if entry else None
    if cached is not None and cached.shape == (len(x), columns):
        return cached
    computed = images.compute(name, x, image_shape, tell=tell)
    if entry:
        _write(entry, computed)
    return computed


def key(name: str, x: np.ndarray, image_shape: ImageShape | None) -> str:
    """Returns the name of an entry: 64 hexadecimal digits.

    Args:
        name: One of ``images.NAMES``.
        x: Images ``(N, D)``; the digits depend on their dtype, not on memory order.
        image_shape: ``(H, W)`` or ``(H, W, 3)``.
    """
    little = x.dtype.newbyteorder("<")
    library = importlib.metadata.version("scikit-image")
    shapes = f"{len(x)} of {image_shape}"
    facts = (name, image_recipes.VERSION, library, little.name, shapes)
    digest = hashlib.sha256(repr(facts).encode())
    for start in range(0, len(x), images.ROWS):
        block = x[start : start + images.ROWS]
        digest.update(block.astype(little, copy=False).tobytes())
    return digest.hexdigest()


def _folder(given: str | Path | None) -> Path | None:
    try:
        path = Path(given) if given else private_folder.in_user_cache("images")
        private_folder.make(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        if given:
            raise ValueError(
                f"{given} cannot keep features of images ({error}); expected a folder "
                "that can be made and written"
            ) from error
        return None
    return path


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
