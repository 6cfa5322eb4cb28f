"""Columns of two tables, matched by the names of the features, in any order."""

from collections.abc import Sequence

import numpy as np

_MOST = 5  # names in a message


def check(names: Sequence[str]) -> None:
    """Refuses two features of the same name.

    Args:
        names: Of all columns.
    """
    if len({*names}) < len(names):
        repeated = next(name for name in names if list(names).count(name) > 1)
        raise ValueError(
            f"found two features {repeated!r}; expected names of their own"
        )


def are_header(names: Sequence[str], trained: Sequence[str]) -> bool:
    """Whether a line is a header, by the names of training, rather than a row.

    Args:
        names: The fields of the line.
        trained: Names of the features of training, perhaps none. With more than half of
            them the line is a header: ``order`` says which are missing.

    >>> trained = ("2019", "2020")
    >>> are_header(("2020", "2019", "y"), trained), are_header(("2019", "7"), trained)
    (True, False)
    """
    common = {*names} & {*trained}
    return 2 * len(common) > len(trained) and len({*names}) == len(names)


def order(
    names: Sequence[str] | None, trained: Sequence[str] | None
) -> list[int] | None:
    """Returns the columns of a table in the order of the features of training.

    Args:
        names: Of the columns of the table, None where they have none.
        trained: Of the features of training, likewise.

    Returns:
        D numbers of columns; None where columns are matched by position: the order is
        the same, or one side has no names.

    Raises:
        ValueError: A feature is missing, a column is none, or a name is repeated.

    >>> order(("b", "a"), ("a", "b")), order(None, ("a", "b"))
    ([1, 0], None)
    """
    if names is None or trained is None:
        return None
    check(names)
    index = {name: number for number, name in enumerate(names)}
    missing = [name for name in trained if name not in index]
    features = {*trained}
    unknown = [name for name in names if name not in features]
    if missing or unknown:
        differences = [f"no column {_some(missing)}"] if missing else []
        differences += [f"the unknown column {_some(unknown)}"] if unknown else []
        raise ValueError(
            f"found {' and '.join(differences)}; expected the {len(trained)} features "
            "of training by their names, in any order; drop_columns (--drop_columns) "
            "leaves columns out"
        )
    if tuple(names) == tuple(trained):
        return None
    return [index[name] for name in trained]


def taken(
    x: np.ndarray, names: Sequence[str] | None, trained: Sequence[str] | None
) -> np.ndarray:
    """Returns a table with its columns in the order of the features of training.

    Args:
        x: ``(N, D)`` of any dtype; the same array where the order is right.
        names: As in ``order``.
        trained: As in ``order``.

    Raises:
        ValueError: As ``order``.
    """
    columns = order(names, trained)
    return x if columns is None else x[:, columns]


def _some(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    rest = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(map(repr, names[:_MOST])) + rest
