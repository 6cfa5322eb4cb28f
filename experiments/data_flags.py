"""The flags that say which data a script is about, and the data that they name."""

import dataclasses
import sys

from experiments.fields import flag, one_of
from linclf_jax.data import columns, datasets
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
        None, "The file of --dataset=features: .npy, .npz, .parquet, IDX or CIFAR."
    )
    train_labels: str | None = flag(
        None, "Its labels, integers from 0 or names, in a file of any of these kinds."
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
    split_seed: int = flag(
        0, "Deals the rows into training, validation and test, and into folds."
    )


def read_options(config: DataFlags) -> ReadOptions:
    """Returns what the flags say of files that these cannot say of themselves."""
    return ReadOptions(
        label_column=config.label_column,
        drop_columns=config.drop_columns,
        keep_columns=config.keep_columns,
    )


def load(config: DataFlags) -> Dataset:
    """Returns the dataset that the flags name, and warns of columns that say nothing.

    Raises:
        ValueError: A flag or a file is missing or bad.
    """
    paths = Files(**{field: getattr(config, field) for field in Files._fields})
    dataset = datasets.load(
        config.dataset,
        split_seed=config.split_seed,
        files=paths,
        options=read_options(config),
    )
    constant = datasets.constant_columns(dataset)
    # A pixel that is never lit is nothing to warn of.
    if len(constant) and dataset.image_shape is None:
        print(
            f"Warning: {len(constant)} of {dataset.train.x.shape[1]} columns of "
            f"{config.train_features or dataset.name} are constant in the training "
            f"rows, the first is column {constant[0]}",
            file=sys.stderr,
        )
    return dataset
