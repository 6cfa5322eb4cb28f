"""What a fit keeps in memory, and what it reads or computes again in every pass."""

import logging
from typing import Any, NamedTuple

import numpy as np

from linclf_jax.exact import columns as columns_lib
from linclf_jax.exact import rows as rows_lib

BLOCK = 2**24  # entries of the rows that are read at once
# Arrays of the size of the parameters, of a chunk's scores, and of the probabilities of
# all rows: those of a step, those before it, and those of the lanes that go on.
PARAMETERS, SCORES, PROBABILITIES = 14, 8, 3

logger = logging.getLogger(__name__)


class Layout(NamedTuple):
    """What is kept of the rows."""

    chunks: int | None  # of a block that is read in each pass; all in memory if None
    keep: bool  # the probabilities of all rows
    size: int  # predicted bytes, beside what is in use before
    is_bounded: bool  # by a budget, or because rows are read again in each pass


def plan(x: Any, num_lanes: int, num_classes: int, budget: int | None) -> Layout:
    """Returns the layout that needs the fewest passes of those that fit.

    Without a budget an array is kept with all that helps, and what is no array, or one
    that is memory-mapped, is read again in each pass.

    Args:
        x: Features ``(N, D)``, of which slices are arrays.
        budget: Bytes, beside what is in use.

    Raises:
        ValueError: Not even the smallest layout fits; nothing has been read.
    """
    num_rows, features = x.shape
    chunks = max(1, BLOCK // (rows_lib.CHUNK * features))
    is_stored = isinstance(x, np.memmap) or not isinstance(x, np.ndarray)
    is_bounded = is_stored or budget is not None
    layouts = [
        Layout(c, keep, _size(x, num_lanes, num_classes, c, keep), is_bounded)
        for keep in (True, False)
        for c in ((chunks,) if is_stored else (None, chunks))
    ]
    if budget is None:
        return layouts[0]
    for layout in layouts:
        if layout.size <= budget:
            logger.info("the fit takes %.1f MiB by prediction", layout.size / 2**20)
            return layout
    raise ValueError(
        f"memory_budget is {budget / 2**20:,.1f} MiB; expected at least "
        f"{layouts[-1].size / 2**20:,.1f} MiB, for {num_lanes} lanes of {num_classes} "
        f"classes and {num_rows} x {features} features read in blocks"
    )


def _size(x: Any, lanes: int, classes: int, chunks: int | None, keep: bool) -> int:
    """Returns the bytes that a layout takes."""
    num_rows, features = x.shape
    free = lanes * columns_lib.num_free(classes)
    itemsize = np.dtype(x.dtype).itemsize
    count, chunk = rows_lib.shape(num_rows)
    rows = count * chunk if chunks is None else min(chunks, count) * chunk
    # As stored, in chunks, and as columns in float32; twice where they are made anew.
    of_rows = rows * features * (itemsize + 4) * (1 if chunks is None else 2)
    weights = num_rows * lanes * (8 if chunks is None else 0) + rows * lanes * 12
    probabilities = PROBABILITIES * 4 * free * num_rows if keep else 0
    parameters = 8 * (PARAMETERS * free * (features + 1) + 4 * lanes * classes**2)
    scores = SCORES * 8 * lanes * classes * chunk
    return of_rows + weights + probabilities + parameters + scores
