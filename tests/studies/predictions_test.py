"""Predictions of a finished run on new files: what is written, and what is refused."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from linclf_jax.data import datasets
from linclf_jax.runs import csv_text, directory, model
from linclf_jax.studies import pipeline, prediction_files, predictions
from linclf_jax.studies.prediction_files import Predictions
from linclf_jax.studies.predictions import PredictConfig
from tests import small_studies


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    study = small_studies.prepare("path", dataset="iris")
    with small_studies.blank_pages():
        return pipeline.run(study, tmp_path_factory.mktemp("runs") / "path").directory


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Some rows of iris of every class, as a file."""
    file = tmp_path_factory.mktemp("rows") / "new.npy"
    np.save(file, datasets.load("iris", split_seed=0).train.x[::5])
    return file


def run(finished, rows, to, **changes):
    flags = {"run": str(finished), "features": str(rows), "out": str(to), **changes}
    return predictions.run(PredictConfig(**flags))


def test_every_format_says_the_same(finished, rows, tmp_path):
    for kind in ("npy", "csv", "parquet"):
        result = run(finished, rows, tmp_path / f"out.{kind}", probabilities=True)
    stored = model.load(finished / "selected.safetensors")
    classes = np.array(stored.class_names)[model.predict(stored, np.load(rows))]
    assert len({*classes.tolist()}) > 1
    plain = run(finished, rows, tmp_path / "plain.npy")
    written = np.load(tmp_path / "plain.npy")["class"]
    for one in (plain.classes, result.classes, written):
        assert one.tolist() == classes.tolist()
    assert stored.feature_names == datasets.load("iris", split_seed=0).feature_names
    scaled = (np.load(rows) - stored.scaling.shift) / stored.scaling.scale
    logits = scaled @ np.asarray(stored.params.W) + np.asarray(stored.params.b)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = result.probabilities
    assert probabilities is not None
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    table = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(table["probabilities"], probabilities)
    read = parquet.read_table(tmp_path / "out.parquet")
    names = ["class", *(f"probability of {name}" for name in stored.class_names)]
    assert read.column_names == names
    assert read["class"].to_pylist() == classes.tolist()
    for column, values in zip(names[1:], probabilities.T, strict=True):
        np.testing.assert_array_equal(read[column].to_numpy(), values)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == names
    assert [line[0] for line in lines] == classes.tolist()
    written = np.array([line[1:] for line in lines]).astype(np.float32)
    np.testing.assert_array_equal(written, probabilities)


def test_names_of_classes_are_no_formulas_in_a_csv_and_come_back():
    names = ("=HYPERLINK(A1)", "-1")
    predicted = Predictions(names, np.array(names), None)
    written = prediction_files.encode(predicted, ".csv").decode().splitlines()
    assert written == ["class", "'=HYPERLINK(A1)", "-1"]
    assert tuple(csv_text.unmarked(cell) for cell in written[1:]) == names


def test_a_run_that_was_changed_is_refused(finished, rows, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    stored = copy / "selected.safetensors"
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    with pytest.raises(ValueError, match=r"selected\.safetensors has changed"):
        run(copy, rows, tmp_path / "out.csv")
    (copy / directory.MANIFEST).unlink()
    with pytest.raises(ValueError, match="the run is not finished"):
        run(copy, rows, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("loss", ["weston_watkins_hinge", "sigmoid_cross_entropy"])
def test_scores_of_other_losses_are_no_probabilities(
    loss, finished, rows, tmp_path, monkeypatch
):
    read = directory.read

    def of_another_loss(path):
        value = read(path)
        if Path(path).name == "selected.json":
            value["entries"][0]["row"]["loss"] = loss
        return value

    monkeypatch.setattr(directory, "read", of_another_loss)
    run(finished, rows, tmp_path / "out.csv")
    with pytest.raises(ValueError, match=f"{loss}, whose scores make no probab"):
        run(finished, rows, tmp_path / "out.csv", probabilities=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": None}, "--run is missing; expected a path"),
        ({"out": "out.txt"}, "--out is out.txt; expected a name in .npy, .parquet"),
        ({"out": "nowhere/out.csv"}, "expected a folder that is there"),
        ({"drop_columns": ("9",)}, r"--drop_columns holds '9'; .*new.npy: 0, 1, 2, 3"),
        ({"label_column": "y"}, r"--label_column is 'y'; .*new.npy: 0, 1, 2, 3"),
        ({"model": "best"}, "--model is 'best'; .* holds selected"),
    ],
)
def test_bad_flags_are_refused(changes, message, finished, rows, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(finished, rows, tmp_path / "out.csv", **changes)


def test_rows_of_another_width_are_refused(finished, rows, tmp_path):
    narrow = tmp_path / "narrow.npy"
    np.save(narrow, np.load(rows)[:, :3])
    with pytest.raises(ValueError, match=r"narrow\.npy: found 3 columns, expected 4"):
        run(finished, narrow, tmp_path / "out.csv")
    # Nor are the rows written over, whatever they are called.
    with pytest.raises(ValueError, match=r"--out is .*, the file of --features"):
        run(finished, narrow, tmp_path / ".." / tmp_path.name / "narrow.npy")


def test_images_of_another_shape_are_refused(finished):
    stored = model.load(finished / "selected.safetensors")
    stored = stored._replace(image_shape=(1, 4))
    with pytest.raises(ValueError, match=r"shape \(2, 2\), expected \(1, 4\)"):
        predictions.predict(stored, np.ones((3, 2, 2)))
    assert predictions.predict(stored, np.ones((3, 1, 4))).classes.shape == (3,)
