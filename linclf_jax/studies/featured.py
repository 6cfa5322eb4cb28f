"""Features of images in place of their pixels, and what is seen while they are made."""

import contextlib
import sys
import time
from collections.abc import Iterator

from linclf_jax.data import image_cache
from linclf_jax.data.datasets import Split
from linclf_jax.data.images import ImageShape, Tell
from linclf_jax.training.settings import RAW

UNTOLD = 2.0  # seconds: what took no longer is no news in a log file


def split(features: str, rows: Split, image_shape: ImageShape | None) -> Split:
    """Returns rows with features of their images in place of the pixels.

    Args:
        features: ``raw``, or one of ``images.NAMES``.
        rows: Of the data.
        image_shape: ``(H, W)`` or ``(H, W, 3)``; None of rows that are no images.

    Raises:
        ValueError: The rows have no such features.
    """
    if features == RAW:
        return rows
    with _shown(features) as tell:
        x = image_cache.features(features, rows.x, image_shape, tell=tell)
    return rows._replace(x=x)


@contextlib.contextmanager
def _shown(features: str) -> Iterator[Tell]:
    """Gives a terminal a bar, and a log file a line at the end."""
    begun = time.monotonic()
    if not sys.stderr.isatty():

        def say(done: int, total: int) -> None:
            if done == total and time.monotonic() - begun > UNTOLD:
                print(f"computed {features} of {total} images", file=sys.stderr)

        yield say
        return
    from tqdm import tqdm

    with tqdm(desc=features, unit=" images", file=sys.stderr, leave=False) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell
