"""In which order an epoch takes the rows: a new one each time, of its number alone.

With ``rows`` all rows are ordered at random, each order as likely as any other.

With ``blocks``, for files that are read in blocks, ``BLOCK`` rows side by side are a
block, and the blocks are ordered at random. Of the first ``GROUP`` blocks all rows are
ordered at random, then of the next ones, and so on. It is less random than the other
order: rows of one block are in the same group in every epoch, 32,768 rows of N. Where
neighbours in a file are alike, sorted by class for instance, a group holds no more
different neighbourhoods than blocks, and the gradients of its steps are as biased as
their sample of the file is.
"""

import jax
import jax.numpy as jnp

from linclf_jax.training.settings import Static

BLOCK = 256  # rows
GROUP = 128  # blocks


def of_epoch(
    static: Static, key: jax.Array, number: int | jax.Array, num_rows: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the rows of an epoch's minibatches and their weights, ``(S, B)``.

    The key is that of the whole run.
    """
    _, order_key = jax.random.split(key)
    epoch_key = jax.random.fold_in(order_key, number)
    return draw_minibatches(epoch_key, num_rows, static.batch_size, static.shuffle)


def draw_minibatches(
    key: jax.Array, num_rows: int, batch_size: int, shuffle: str = "rows"
) -> tuple[jax.Array, jax.Array]:
    """Returns one epoch's rows and weights, both ``(S, B)``, in a new random order.

    Every row occurs once. When B, at most N, does not divide N, the last batch is
    filled up with rows of weight 0, so that all steps have one shape and no example is
    dropped.
    """
    steps = -(-num_rows // batch_size)
    padding = (0, steps * batch_size - num_rows)
    order = _ORDERS[shuffle](key, num_rows)
    weights = jnp.pad(jnp.ones(num_rows), padding)
    return jnp.pad(order, padding).reshape(steps, -1), weights.reshape(steps, -1)


def _by_blocks(key: jax.Array, num_rows: int) -> jax.Array:
    """Returns the rows, ``(N,)``, group by group, in random order within each."""
    block_key, row_key = jax.random.split(key)
    position = jax.random.permutation(block_key, -(-num_rows // BLOCK))
    rows = jnp.arange(num_rows)
    group = position[rows // BLOCK] // GROUP
    # Ties of the random bits, if any, leave rows in the order of the file.
    return jnp.lexsort((jax.random.bits(row_key, (num_rows,)), group))


_ORDERS = {"rows": jax.random.permutation, "blocks": _by_blocks}
