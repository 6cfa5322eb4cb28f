"""Features of images, kept on the disk of who computed them.

An entry is named by a SHA-256 of all that decides its values: the images to the byte,
their shape, the name and version of the recipe, the version of scikit-image. So it is
never out of date, only unused; the folder may be deleted at any time. An entry that
cannot be read, or whose checksum is wrong, is computed and written anew.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from linclf_jax.data import image_recipes, images, private_folder
from linclf_jax.data.images import ImageShape, Tell

# What zipfile and NumPy raise of damaged bytes: they document no closed set.
_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError, OverflowError, MemoryError, TypeError),
)


def features(
    name: str,
    x: np.ndarray,
    image_shape: ImageShape | None,
    *,
    folder: str | Path | None = None,
    tell: Tell | None = None,
) -> np.ndarray:
    """Returns ``images.compute``, from the disk if it was computed before.

    What takes no longer than a second, and the pixels themselves, are not kept.

    Args:
        name: One of ``images.NAMES``.
        x: Images ``(N, D)``.
        image_shape: ``(H, W)`` or ``(H, W, 3)``.
        folder: Where entries are kept; made if it is missing, and closed to others.
            None for ``images`` in the user's own cache, or for no cache where that
            cannot be written.
        tell: As of ``images.compute``; not called for what is read.

    Returns:
        ``(N, K)`` float32.

    Raises:
        ValueError: As ``images.compute``; or the folder is somebody else's, a symbolic
            link or a file, or the one that was named cannot be made or written.
    """
    columns = images.size(name, image_shape)
    if name == "rgb" or len(x) <= images.ROWS:
        return images.compute(name, x, image_shape, tell=tell)
    kept = _folder(folder)
    entry = kept / f"{key(name, x, image_shape)}.npz" if kept else None
    found = _read(entry) if entry else None
    if found is not None and found.shape == (len(x), columns):
        return found
    computed = images.compute(name, x, image_shape, tell=tell)
    if entry:
        _write(entry, computed)
    return computed


def key(name: str, x: np.ndarray, image_shape: ImageShape | None) -> str:
    """Returns what an entry is called: 64 hexadecimal digits.

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


def _folder(named: str | Path | None) -> Path | None:
    try:
        path = Path(named) if named else private_folder.in_user_cache("images")
        private_folder.make(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        if named:
            raise ValueError(
                f"{named} cannot keep features of images ({error}); expected a folder "
                "that can be made and written"
            ) from error
        return None
    return path


def _read(entry: Path) -> np.ndarray | None:
    """Returns the features of an entry; None if it is not there or damaged."""
    try:
        # Opened here: np.load leaves a damaged archive open.
        with entry.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = archive["features"]  # zipfile compares a checksum of the bytes
    except _DAMAGE:
        return None
    return found if found.dtype == np.float32 else None


def _write(entry: Path, computed: np.ndarray) -> None:
    """Writes an entry whole, if there is room: the features are there without it.

    Nothing is flushed to the disk: what a power cut damages is computed anew.
    """
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, features=computed)
            Path(temporary).replace(entry)
        finally:
            Path(temporary).unlink(missing_ok=True)
