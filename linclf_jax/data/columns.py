"""Which columns of a table are features, which holds the labels, and their order.

The rules are the same for every format of tables. Flags and messages refer to a column
without a name by its number from 0, as text. Columns of two tables are matched by the
names of the features, in any order.
"""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linclf_jax.data import checks
from linclf_jax.data.checks import BadFileError

LABELS = ("label", "labels", "target", "y")
LISTS = ("features", "embedding")
VALUES = ("consecutive", "as_is")
_MOST = 5  # names in a message
# How pandas and R name an index that the user has not named.
_INDEX = re.compile(r"|Unnamed: 0|__index_level_\d+__")
_TO_ESCAPE = re.compile(r"([\\,])")


class ReadOptions(NamedTuple):
    """What a file does not tell itself; the fields are flags of the same names."""

    label_column: str | None = None
    drop_columns: tuple[str, ...] = ()
    keep_columns: tuple[str, ...] = ()  # features, whatever they look like
    label_values: str = "as_is"  # one of VALUES
    ignore_label: str | None = None  # rows with this label are left out
    class_names: Mapping[int, str] | None = None  # of integers
    # No flags, but facts of training, for tables of text: names of features, by which a
    # first line of numbers is a header; and whether labels are texts even where they
    # look like numbers.
    feature_names: tuple[str, ...] = ()
    label_texts: bool = False


class Columns(NamedTuple):
    """All columns of a table, in the order of the file."""

    names: tuple[str, ...]
    named: bool = True  # else the names are numbers
    index: Collection[str] = ()  # those that the metadata of the file calls an index
    lists: Collection[str] = ()  # those that hold all features of a row

    def is_index(self, name: str) -> bool:
        """Returns whether a column is an index, by the metadata or by its name."""
        return name in self.index or _INDEX.fullmatch(name) is not None


def features(
    columns: Columns, options: ReadOptions, path: str | Path
) -> tuple[str, ...]:
    """Returns the columns that are features, or the one of lists that has all of them.

    All columns are features, but for those of ``drop_columns``, the labels, and an
    index; those of ``keep_columns`` are in any case.

    Raises:
        BadFileError: Two columns have the same name, several could be the labels, a
            column is both dropped and kept, or none is left.
    """
    repeated = checks.first_repeated(columns.names)
    if repeated is not None:
        raise BadFileError(
            f"{path} has two columns {repeated!r}; expected names of their own"
        )
    both = {*options.keep_columns} & {*options.drop_columns, options.label_column}
    if both:
        raise BadFileError(
            f"{path}: {min(map(str, both))!r} is in keep_columns, and dropped or the "
            "label column; expected one of them"
        )
    excluded = {*options.drop_columns, _label(columns, options, path)}
    names = tuple(
        name
        for name in columns.names
        if name in options.keep_columns
        or not (name in excluded or columns.is_index(name))
    )
    if not names:
        raise BadFileError(
            f"{path} has the columns {[*columns.names]}, none of which is a feature; "
            "expected at least one"
        )
    lists = [name for name in names if name in columns.lists]
    usual = [name for name in LISTS if name in lists]
    return ((usual or lists)[0],) if usual or lists == [*names] else names


def label(columns: Columns, options: ReadOptions, path: str | Path) -> str:
    """Returns the column of the labels: the named one, a usual name, or the only one.

    Raises:
        BadFileError: There is no such column, or there are several.
    """
    name = _label(columns, options, path)
    others = [other for other in columns.names if not columns.is_index(other)]
    if name is None and len(others) == 1:
        return others[0]
    if name in columns.names:
        return str(name)
    expected = (
        f"one of {', '.join(LABELS)}, or label_column (--label_column) to name the "
        "column of the labels"
        if name is None
        else f"the column {name} of label_column (--label_column)"
    )
    raise BadFileError(
        f"{path} has the columns {[*columns.names]}; expected {expected}"
    )


def _label(columns: Columns, options: ReadOptions, path: str | Path) -> str | None:
    """Returns what is named as the labels, else the one column of a usual name."""
    if options.label_column is not None:
        return options.label_column
    no_labels = {*options.drop_columns, *options.keep_columns}
    usual = [name for name in LABELS if name in {*columns.names} - no_labels]
    if len(usual) > 1:
        raise BadFileError(
            f"{path} has the columns {', '.join(usual)}, any of which could be the "
            f"labels; expected label_column ({flag('label_column', usual[0])}) to name "
            "them"
        )
    return usual[0] if usual else None


def flag(field: str, *names: str) -> str:
    r"""Returns the flag that names columns, as it is typed in a shell.

    >>> print(flag("drop_columns", "id", "a,b"), flag("label_column", "a,b"))
    --drop_columns='id,a\,b' --label_column=a,b
    """
    # label_column takes one name, the others a list.
    items = names if field == "label_column" else map(list_item, names)
    return f"--{field}={shlex.quote(','.join(items))}"


def list_item(name: str) -> str:
    """Returns a name as it stands in the list of a flag; see ``config.flag_text``."""
    escaped = _TO_ESCAPE.sub(r"\\\1", name)
    is_quoted = not name or name != name.strip() or name[0] == name[-1] == '"'
    return f'"{escaped}"' if is_quoted else escaped


def check_feature_names(names: Sequence[str]) -> None:
    """Refuses two features of the same name."""
    repeated = checks.first_repeated(names)
    if repeated is not None:
        raise ValueError(
            f"found two features {repeated!r}; expected names of their own"
        )


def are_header(names: Sequence[str], trained: Sequence[str]) -> bool:
    """Whether a line is a header rather than a row, by the names of training.

    With more than half of them it is one: ``order`` says which are missing.

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

    They are D numbers; None where columns are matched by position: the order is the
    same, or one side has no names, which is None. A feature that is missing, a column
    that is none and a name that is repeated are refused.

    >>> order(("b", "a"), ("a", "b")), order(None, ("a", "b"))
    ([1, 0], None)
    """
    if names is None or trained is None:
        return None
    check_feature_names(names)
    index = {name: number for number, name in enumerate(names)}
    missing = [name for name in trained if name not in index]
    features_of_training = {*trained}
    unknown = [name for name in names if name not in features_of_training]
    if missing or unknown:
        differences = [f"no column {_some(missing)}"] if missing else []
        differences += [f"the unknown column {_some(unknown)}"] if unknown else []
        raise ValueError(
            f"found {' and '.join(differences)}; expected the {len(trained)} features "
            "of training by their names, in any order; drop_columns (--drop_columns) "
            "leaves columns out"
        )
    return None if tuple(names) == tuple(trained) else [index[n] for n in trained]


def ordered(
    x: np.ndarray, names: Sequence[str] | None, trained: Sequence[str] | None
) -> np.ndarray:
    """Returns a table ``(N, D)`` with its columns in the order of training's features.

    It is the same array where the order is right; names, and errors, as in ``order``.
    """
    columns = order(names, trained)
    return x if columns is None else x[:, columns]


def _some(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    rest = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(map(repr, names[:_MOST])) + rest
