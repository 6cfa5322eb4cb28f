"""Test and validation rows that are training rows too, and what scripts say of them.

Of 60 training, 20 validation and 30 test rows, 4 test rows are training rows, one of
them with another label, 2 test rows are validation rows, and 3 validation rows are
training rows.
"""

import html

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import path, probe, sweep
from linclf_jax.cli import console, probe_table
from linclf_jax.cli.options import Config as SweepConfig
from linclf_jax.config.probe import Config as ProbeConfig
from linclf_jax.data import duplicates
from linclf_jax.data.duplicates import Counts, Duplicates
from linclf_jax.params import Params
from linclf_jax.reports import warning_text
from linclf_jax.runs import directory, model
from linclf_jax.selection import folds
from linclf_jax.studies import evaluation, leakage, path_outcome
from linclf_jax.studies.path_problem import Config as PathConfig
from linclf_jax.training.settings import Static

SENTENCE = (
    "6 of 30 test rows are byte-equal to a row of training or validation; 1 of them "
    "with another label; without them the test accuracy is "
)
VALIDATION = (
    "3 of 20 held-out rows are byte-equal to a row that is trained on meanwhile"
)


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(6)
    means = rng.normal(size=(3, 4))
    labels = {
        name: np.arange(n) % 3 for name, n in (("train", 60), ("val", 20), ("test", 30))
    }
    x = {n: means[y] + rng.normal(size=(len(y), 4)) for n, y in labels.items()}
    x["val"][:3], labels["val"][:3] = x["train"][30:33], labels["train"][30:33]
    x["test"][:4], labels["test"][:4] = x["train"][:4], labels["train"][:4]
    labels["test"][3] = (labels["test"][3] + 1) % 3
    x["test"][4:6], labels["test"][4:6] = x["val"][5:7], labels["val"][5:7]
    return x, labels


@pytest.fixture(scope="module")
def files(tables, tmp_path_factory):
    folder, flags = tmp_path_factory.mktemp("files"), {}
    for what, arrays in zip(("features", "labels"), tables, strict=True):
        for part, array in arrays.items():
            np.save(folder / f"{part}_{what}.npy", array)
            flags[f"{part}_{what}"] = str(folder / f"{part}_{what}.npy")
    return flags


def check(test, stored, tables, text, page):
    """Checks the counts and the accuracy against a prediction of the other rows."""
    x, labels = (arrays["test"][6:] for arrays in tables)
    found = test["duplicates"]
    accuracy = np.mean(model.predict(model.load(stored), x) == labels)
    assert (found["rows"], found["another_label"]) == (6, 1)
    assert found["without"]["size"] == 24
    assert found["without"]["accuracy"] == accuracy != test["accuracy"]
    low, high = found["without"]["accuracy_interval"]
    assert low < accuracy < high
    for told in (text, html.unescape(page.read_text())):
        assert f"{SENTENCE}{accuracy:.4f} (95 % interval {low:.3f}" in told


def test_a_sweep_says_so(files, tables, tmp_path, capsys):
    config = SweepConfig(
        dataset="features",
        epochs=(2,),
        tile_width=2,
        out_dir=str(tmp_path / "run"),
        **files,
    )
    outcome = sweep.run(config)
    folder, selected = outcome.folder, outcome.selected
    assert selected is not None
    selected = directory.read(folder / "selected.json")
    page = folder / "report.html"
    text = console.summary(*outcome)
    check(selected["test"], folder / "selected.safetensors", tables, text, page)
    counted = {"rows": 3, "another_label": 0, "size": 20}
    assert selected["validation"]["duplicates"] == counted
    (warning,) = selected["warnings"]
    assert warning.startswith(VALIDATION)
    assert warning in html.unescape(page.read_text())
    # Before anything is trained.
    assert capsys.readouterr().err.startswith(f"Warning: {VALIDATION}")


def test_a_path_says_so(files, tables, tmp_path, capsys):
    config = PathConfig(
        dataset="features", l2=(1e-1,), folds=4, out_dir=str(tmp_path / "run"), **files
    )
    outcome = path.run(config)
    folder, selected = outcome.folder, outcome.selected
    page, text = folder / "report.html", path_outcome.summary(outcome)
    check(selected["test"], folder / "selected.safetensors", tables, text, page)
    # Equal rows that are dealt to one fold are held out together.
    assert 0 < selected["validation"]["duplicates"]["rows"] <= 6
    assert selected["validation"]["duplicates"]["size"] == 80
    assert "of 80 held-out rows" in capsys.readouterr().err


def test_a_probe_says_so_of_every_set(files, tables, tmp_path, capsys):
    config = ProbeConfig(l2=(1e-1,), out_dir=str(tmp_path / "run"), **files)
    outcome = probe.run(config)
    folder, (entry,) = outcome.folder, outcome.selected["entries"]
    page, text = folder / "report.html", probe_table.summary(outcome)
    test = entry["runs"][0]["test"]
    check(test, folder / "selected.safetensors", tables, text, page)
    assert entry["validation"]["duplicates"]["rows"] == 3
    assert f"Warning: features: {VALIDATION}" in capsys.readouterr().err
    assert f"Warning: features: {SENTENCE}" in text


def test_of_several_classifiers_the_mean_is_told():
    def test(accuracy):
        others = {"size": 24, "accuracy": accuracy, "accuracy_interval": [0.1, 0.2]}
        counted = {"rows": 6, "another_label": 1, "without": others}
        return {"test": {"size": 30, "duplicates": counted}}

    entry = {"features": "a", "shots": 2, "runs": [test(0.5), test(0.75)]}
    told = warning_text.warnings({"warnings": ["x"], "entries": [entry]})
    assert told == ["x", f"a, 2 shots: {SENTENCE}0.6250 (mean of 2, 24 rows)"]


def test_where_all_test_rows_are_duplicates_no_accuracy_is_left(tables):
    x, labels = (array["test"][:3] for array in tables)
    every = Duplicates(np.ones(3, bool), np.zeros(3, bool))
    chosen = Params(jnp.ones((4, 3)), jnp.zeros(3))
    test = evaluation.measure(
        chosen, jnp.asarray(x), jnp.asarray(labels), Static(3), duplicates=every
    )
    assert test["duplicates"] == {"rows": 3, "another_label": 0, "without": None}
    (told,) = warning_text.duplicates(test)
    assert told.endswith("of training or validation; no other test rows are left")


def test_runs_from_before_they_were_counted_say_nothing():
    assert [*warning_text.duplicates({"size": 30})] == []


def test_without_duplicates_nothing_is_said():
    assert [*leakage.of_validation(Counts(0, 0, 20))] == []
    none = {"rows": 0, "another_label": 0, "without": None}
    assert [*warning_text.duplicates({"size": 9, "duplicates": none})] == []


def test_leave_one_out_compares_all_rows(files, tables):
    x, labels = (np.concatenate([a["train"], a["val"]]) for a in tables)
    found = leakage.across_folds(x, labels, np.arange(80))
    assert found == (6, 0, 80)
    assert duplicates.FITTED == folds.NOT_HELD_OUT
