"""The flags that say which data a script is about, and the data that they name."""

import dataclasses
import sys

from linclf_jax.config.fields import flag, one_of
from linclf_jax.data import class_names, columns, datasets, files
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.datasets import Dataset, Files


@dataclasses.dataclass(frozen=True)
class DataFlags:
    """Which data, where it is, and how its rows are dealt."""

    dataset: str = flag("digits", one_of(datasets.NAMES))
    data_dir: str | None = flag(
        None, "The folder with the files of fashion_mnist, mnist or cifar10."
    )
    train_features: str | None = flag(
        None, f"The file of --dataset=features: {files.KINDS}."
    )
    train_labels: str | None = flag(
        None, "Its labels, integers or names, in a file of any of these kinds."
    )
    val_features: str | None = flag(
        None, "Validation rows; dealt from the training file if unset."
    )
    val_labels: str | None = flag(None, "Their labels.")
    test_features: str | None = flag(
        None, "Test rows, read after the choice; dealt like the others if unset."
    )
    test_labels: str | None = flag(None, "Their labels.")
    label_column: str | None = flag(
        None,
        f"The column of the labels in a table; {', '.join(columns.LABELS)} if unset.",
    )
    drop_columns: tuple[str, ...] = flag(
        (),
        "Columns that are no features: names, or numbers from 0 where there are none.",
    )
    keep_columns: tuple[str, ...] = flag(
        (), "Columns that are features though they look like labels or an index."
    )
    label_values: str = flag(
        "consecutive",
        "Integers are classes 0..C-1, each with rows, or any integers, as_is. "
        f"{one_of(columns.VALUES)}",
    )
    ignore_label: str | None = flag(
        None, "Rows with this label, such as -1, are left out of all files."
    )
    class_names: str | None = flag(
        None,
        "A file with the names of labels that are integers: a name a line from 0, or "
        ".json.",
    )
    split_seed: int = flag(
        0, "Deals the rows into training, validation and test, and into folds."
    )


def read_options(config: DataFlags) -> ReadOptions:
    """Returns what the flags say of files that these cannot say of themselves."""
    path = config.class_names
    names = None if path is None else class_names.read(path)
    return ReadOptions(
        label_column=config.label_column,
        drop_columns=config.drop_columns,
        keep_columns=config.keep_columns,
        label_values=config.label_values,
        ignore_label=config.ignore_label,
        class_names=names,
    )


def load(config: DataFlags) -> Dataset:
    """Returns the dataset that the flags name, and warns of columns that say nothing.

    Raises:
        ValueError: A flag or a file is missing or bad.
    """
    if config.label_values not in columns.VALUES:
        raise ValueError(
            f"--label_values is {config.label_values!r}; expected one of "
            f"{', '.join(columns.VALUES)}"
        )
    paths = Files(**{field: getattr(config, field) for field in Files._fields})
    options = read_options(config)
    dataset = datasets.load(
        config.dataset, split_seed=config.split_seed, files=paths, options=options
    )
    _warn_of_columns(config, options)
    known = options._replace(feature_names=dataset.feature_names or ())
    _warn_of_places(paths, known)
    constant = datasets.constant_columns(dataset)
    # A pixel that is never lit is nothing to warn of.
    if len(constant) and dataset.image_shape is None:
        print(
            f"Warning: {len(constant)} of {dataset.train.x.shape[1]} columns of "
            f"{config.train_features or dataset.name} are constant in the training "
            f"rows, the first is column {_called(dataset, constant[0])}",
            file=sys.stderr,
        )
    return dataset


def _called(dataset: Dataset, column: int) -> str:
    names = dataset.feature_names
    return str(column) if names is None else repr(names[column])


def _warn_of_places(paths: Files, options: ReadOptions) -> None:
    """Tells which files cannot be matched by names, where others have them."""
    given = [path for field, path in paths._asdict().items() if "_features" in field]
    named = {path: files.feature_names(path, options) for path in given if path}
    without = [path for path, names in named.items() if names is None]
    for path in without if len(without) < len(named) else ():
        print(
            f"Warning: {path} has no names of features, as other files have: its "
            "columns are taken in the order in which they stand",
            file=sys.stderr,
        )


def _warn_of_columns(config: DataFlags, options: ReadOptions) -> None:
    """Tells which columns are left out that nobody has named."""
    path, labels = config.train_features, config.train_labels
    features = None if path is None else files.feature_names(path, options)
    if path is None or features is None:
        return
    told = {*options.drop_columns, options.label_column}
    # A column without a name is what pandas makes of every index: no news.
    names = {*files.columns(path)} - {*features, ""} - told
    if path == labels:
        names -= {*columns.LABELS}
    for name in sorted(names):
        what = "the labels" if name in columns.LABELS else "an index"
        print(
            f"Warning: column {name!r} of {path} is taken for {what}, and left out of "
            f"the features; {columns.flag('keep_columns', name)} makes it one, "
            f"{columns.flag('drop_columns', name)} ends this warning",
            file=sys.stderr,
        )
