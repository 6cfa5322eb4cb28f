"""Data as flags name it: what a script warns of, and what it refuses."""

import re
import shlex

import numpy as np
import pytest

from linclf_jax.config import data, flag_text, flat
from linclf_jax.config.data import DataConfig
from linclf_jax.data import columns

N = 60
X = np.random.default_rng(5).normal(size=(N, 3))
LABELS = np.random.default_rng(6).permutation(np.arange(N) % 3)


@pytest.fixture
def flags(tmp_path):
    """Writes features and labels, and returns their flags."""

    def write(x=X, labels=LABELS):
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "y.npy", labels)
        names = {"train_features": "x.npy", "train_labels": "y.npy"}
        paths = {name: str(tmp_path / file) for name, file in names.items()}
        return {"dataset": "features", "label_values": "as_is", **paths}

    return write


def write_csv(path, *columns):
    path.write_text(
        "\n".join(",".join(map(str, row)) for row in zip(*columns, strict=True))
    )
    return str(path)


def test_a_flag_in_a_message_is_what_a_shell_takes():
    names = ("a,b", "back\\slash", "it's $HOME", "plain")
    flag, text = shlex.split(columns.flag("drop_columns", *names))[0].split("=")
    assert flag == "--drop_columns"
    assert flag_text.parse(text, tuple[str, ...]) == names
    label = shlex.split(columns.flag("label_column", "a,b\\c"))
    assert label == ["--label_column=a,b\\c"]


@pytest.mark.parametrize("values", [[1, 2, 3], [-1, 0, 1], [0, 1, 5]])
def test_it_says_why_and_what_takes_labels(values, flags):
    given = flags(labels=np.array(values)[LABELS])
    with pytest.raises(ValueError, match=r"y\.npy.*--label_values=as_is"):
        data.load(DataConfig(**given | {"label_values": "consecutive"}))
    assert data.load(DataConfig(**given)).class_names == tuple(map(str, values))
    with pytest.raises(ValueError, match="--label_values is 'other'; expected one"):
        flat.validate(DataConfig(label_values="other"))


def test_columns_that_are_left_out_are_named(flags, tmp_path, caplog):
    rows = np.arange(N)[::-1] % 7
    path = write_csv(
        tmp_path / "x.csv",
        ["f0", *X[:, 0]],
        ["target", *LABELS],
        ["__index_level_0__", *rows],
        ["", *rows],  # an index without a name is not worth a warning
    )
    given = flags() | {"train_features": path}
    data.load(DataConfig(**given))
    index, labels = caplog.messages
    assert "'__index_level_0__' of" in index
    assert "'target' of" in labels
    assert "taken for the labels" in labels
    caplog.clear()
    given |= {"train_labels": path, "drop_columns": ("__index_level_0__",)}
    data.load(DataConfig(**given))
    assert not caplog.messages


def test_constant_columns_are_warned_of(flags, caplog):
    data.load(DataConfig(**flags()))
    data.load(DataConfig())  # digits has pixels that are never lit
    assert not caplog.messages
    x = np.column_stack([X, np.full(N, 2.0)])
    data.load(DataConfig(**flags(x)))
    warning = r"1 of 4 columns of \S*x.npy are constant in the training rows"
    assert re.match(warning + ", the first is column 3", caplog.messages[0])
