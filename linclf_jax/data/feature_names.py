"""Columns of two tables that meet by the names of the features, in whatever order."""

from collections.abc import Sequence

import numpy as np

_MOST = 5  # names in a message


def check(names: Sequence[str]) -> None:
    """Refuses names that call two features the same.

    Args:
        names: Of all columns.

    Raises:
        ValueError: With the first such name.
    """
    if len({*names}) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ValueError(f"found two features {twice!r}; expected names of their own")


def are_known(names: Sequence[str], known: Sequence[str]) -> bool:
    """Whether a line has the names of training rather than a row of numbers.

    Args:
        names: The fields of the line.
        known: Of the features of training, none where they have none. Most of them make
            the line one of names: ``order`` says which are missing.

    >>> known = ("2019", "2020")
    >>> are_known(("2020", "2019", "y"), known), are_known(("2019", "7"), known)
    (True, False)
    """
    found = {*names} & {*known}
    return 2 * len(found) > len(known) and len({*names}) == len(names)


def order(names: Sequence[str] | None, known: Sequence[str] | None) -> list[int] | None:
    """Returns where in a table each of the known features is.

    Args:
        names: Of the columns of the table, None where they have none.
        known: Of the features, in the order in which they are wanted, likewise.

    Returns:
        Numbers of columns, D; None where the columns meet by place: the order is the
        same, or one side has no names.

    Raises:
        ValueError: A feature is missing, a column is no known feature, or a name comes
            twice.

    >>> order(("b", "a"), ("a", "b")), order(None, ("a", "b"))
    ([1, 0], None)
    """
    if names is None or known is None:
        return None
    check(names)
    missing, unknown = set(known) - set(names), set(names) - set(known)
    lacks = [name for name in known if name in missing]
    others = [name for name in names if name in unknown]
    if lacks or others:
        found = [f"no column {_some(lacks)}"] if lacks else []
        found += [f"the unknown column {_some(others)}"] if others else []
        raise ValueError(
            f"found {' and '.join(found)}; expected the {len(known)} features of "
            "training by their names, in any order; drop_columns (--drop_columns) "
            "leaves columns out"
        )
    if tuple(names) == tuple(known):
        return None
    place = {name: number for number, name in enumerate(names)}
    return [place[name] for name in known]


def taken(
    x: np.ndarray, names: Sequence[str] | None, known: Sequence[str] | None
) -> np.ndarray:
    """Returns the columns of a table in the order of the known features.

    Args:
        x: ``(N, D)`` of any dtype; the same array where the order is right.
        names: As in ``order``.
        known: As in ``order``.

    Raises:
        ValueError: As ``order``.
    """
    columns = order(names, known)
    return x if columns is None else x[:, columns]


def _some(names: Sequence[str]) -> str:
    """Returns the first of some names, and how many others there are."""
    rest = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(map(repr, names[:_MOST])) + rest
