"""Which data a study is about, and the dataset that it names."""

import dataclasses
import logging

from linclf_jax.config.fields import SEED, flag
from linclf_jax.data import columns, datasets, files, labels
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.datasets import Dataset, Files

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which data, where it is, and how its rows are split."""

    dataset: str = flag("digits", names=datasets.NAMES)
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
        None, "Validation rows; split off the training file if unset."
    )
    val_labels: str | None = flag(None, "Their labels.")
    test_features: str | None = flag(
        None, "Test rows, read after the selection; split off like the others if unset."
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
        "Integers are classes 0..C-1, each with rows, or any integers, as_is.",
        names=columns.VALUES,
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
        0,
        "Assigns rows to training, validation and test, and to folds.",
        check=SEED,
    )


def read_options(config: DataConfig) -> ReadOptions:
    """Returns what the flags say of files that these cannot say of themselves."""
    path = config.class_names
    names = None if path is None else labels.read_class_names(path)
    return ReadOptions(
        label_column=config.label_column,
        drop_columns=config.drop_columns,
        keep_columns=config.keep_columns,
        label_values=config.label_values,
        ignore_label=config.ignore_label,
        class_names=names,
    )


def load(config: DataConfig) -> Dataset:
    """Returns the dataset of the flags, and warns of columns that tell nothing.

    Raises:
        ValueError: A flag or a file is missing or bad.
    """
    paths = Files(**{field: getattr(config, field) for field in Files._fields})
    options = read_options(config)
    dataset = datasets.load(
        config.dataset, split_seed=config.split_seed, files=paths, options=options
    )
    _warn_of_columns_left_out(config, options)
    matching = options._replace(feature_names=dataset.feature_names or ())
    _warn_of_files_without_names(paths, matching)
    _warn_of_constant_columns(dataset, config.train_features or dataset.name)
    return dataset


def _warn_of_constant_columns(dataset: Dataset, source: str) -> None:
    constant = datasets.constant_columns(dataset)
    # A pixel that is never lit is nothing to warn of.
    if not len(constant) or dataset.image_shape is not None:
        return
    names, first = dataset.feature_names, constant[0]
    logger.warning(
        "%d of %d columns of %s are constant in the training rows, the first is "
        "column %s",
        len(constant),
        dataset.train.x.shape[1],
        source,
        first if names is None else repr(names[first]),
    )


def _warn_of_files_without_names(paths: Files, options: ReadOptions) -> None:
    """Says which files cannot be matched by names, where others have them."""
    given = [path for field, path in paths._asdict().items() if "_features" in field]
    names = {
        path: files.DataFile(path, options).feature_names for path in given if path
    }
    without = [path for path in names if names[path] is None]
    for path in without if len(without) < len(names) else ():
        logger.warning(
            "%s has no names of features, as other files have: its columns are taken "
            "in the order in which they stand",
            path,
        )


def _warn_of_columns_left_out(config: DataConfig, options: ReadOptions) -> None:
    """Says which columns are no features though no flag names them."""
    path = config.train_features
    if path is None:
        return
    features = files.DataFile(path, options).feature_names
    if features is None:
        return
    named = {*options.drop_columns, options.label_column}
    # A column without a name is what pandas makes of every index: no news.
    left_out = {*files.DataFile(path).column_names} - {*features, ""} - named
    if path == config.train_labels:
        left_out -= {*columns.LABELS}
    for name in sorted(left_out):
        logger.warning(
            "column %r of %s is taken for %s, and left out of the features; %s makes "
            "it one, %s ends this warning",
            name,
            path,
            "the labels" if name in columns.LABELS else "an index",
            columns.flag("keep_columns", name),
            columns.flag("drop_columns", name),
        )
