"""Which columns of a table are features, and which of them holds the labels.

The rules are the same for every format of tables. A column without a name of its own is
called by its number from 0, as text, in flags and in messages alike.
"""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from linclf_jax.data.checks import BadFileError

LABELS = ("label", "labels", "target", "y")
LISTS = ("features", "embedding")
VALUES = ("consecutive", "as_is")
# What pandas and R call an index that nobody has named, in files of either kind.
_INDEX = re.compile(r"|Unnamed: 0|__index_level_\d+__")
_TO_ESCAPE = re.compile(r"([\\,])")


class ReadOptions(NamedTuple):
    """What files cannot say of themselves; fields are flags of the same names."""

    label_column: str | None = None
    drop_columns: tuple[str, ...] = ()
    keep_columns: tuple[str, ...] = ()  # features, whatever they look like
    label_values: str = "as_is"  # one of VALUES
    ignore_label: str | None = None  # rows with this label are left out
    class_names: Mapping[int, str] | None = None  # of integers
    # What training had, and no flags: names that make a header of a first line which
    # has them, though they are numbers; and whether its labels are texts that look like
    # numbers, perhaps, in a table of text.
    feature_names: tuple[str, ...] = ()
    label_texts: bool = False


class FeatureColumns(NamedTuple):
    """The columns that are features, in the order of the file."""

    names: tuple[str, ...]
    named: bool  # else these are numbers, of a file without names


def features(
    names: Sequence[str],
    options: ReadOptions,
    path: str | Path,
    index: Collection[str] = (),
) -> tuple[str, ...]:
    """Returns the columns that are features, in the order of the file.

    Left out are those of ``drop_columns``, the labels, and an index; those of
    ``keep_columns`` stay in any case.

    Args:
        names: Of all columns.
        options: Which columns are meant.
        path: The file, for messages.
        index: Columns that the file itself calls an index.

    Raises:
        BadFileError: Two columns have the same name, several could be the labels, or a
            column is both dropped and kept.
    """
    if len({*names}) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise BadFileError(
            f"{path} has two columns {twice!r}; expected names of their own"
        )
    both = {*options.keep_columns} & {*options.drop_columns, options.label_column}
    if both:
        raise BadFileError(
            f"{path}: {min(map(str, both))!r} is in keep_columns, and dropped or the "
            "label column; expected one of them"
        )
    label = _label(names, options, path)
    return tuple(
        name
        for name in names
        if name in options.keep_columns
        or not (name in options.drop_columns or name == label or _is_index(name, index))
    )


def label(
    names: Sequence[str],
    options: ReadOptions,
    path: str | Path,
    index: Collection[str] = (),
) -> str:
    """Returns the column of the labels: the named one, a usual name, or the only one.

    Args:
        names: As in ``features``.
        options: As in ``features``.
        path: As in ``features``.
        index: As in ``features``.

    Raises:
        BadFileError: There is no such column, or there are several.
    """
    found = _label(names, options, path)
    if found in names:
        return str(found)
    others = [name for name in names if not _is_index(name, index)]
    if found is None and len(others) == 1:
        return others[0]
    if found is None:
        wanted = f"one of {', '.join(LABELS)}, or label_column (--label_column) to name"
        wanted += " the column of the labels"
    else:
        wanted = f"the column {found} of label_column (--label_column)"
    raise BadFileError(f"{path} has the columns {list(names)}; expected {wanted}")


def flag(field: str, *names: str) -> str:
    r"""Returns the flag that names columns, as it is typed in a shell.

    Args:
        field: Of ``ReadOptions``; ``label_column`` takes one name, others a list.
        names: Of the columns.

    >>> print(flag("drop_columns", "id", "a,b"), flag("label_column", "a,b"))
    --drop_columns='id,a\,b' --label_column=a,b
    """
    if field != "label_column":
        names = tuple(_TO_ESCAPE.sub(r"\\\1", name) for name in names)
    return f"--{field}={shlex.quote(','.join(names))}"


def _label(names: Sequence[str], options: ReadOptions, path: str | Path) -> str | None:
    """Returns what is named as the labels, else the one column of a usual name."""
    if options.label_column is not None:
        return options.label_column
    no_labels = {*options.drop_columns, *options.keep_columns}
    usual = [name for name in LABELS if name in {*names} - no_labels]
    if len(usual) > 1:
        raise BadFileError(
            f"{path} has the columns {', '.join(usual)}, any of which could be the "
            f"labels; expected label_column ({flag('label_column', usual[0])}) to name "
            "them"
        )
    return usual[0] if usual else None


def _is_index(name: str, index: Collection[str]) -> bool:
    return name in index or _INDEX.fullmatch(name) is not None
