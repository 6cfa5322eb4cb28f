"""Long-tailed data: a hundred classes, half of them of one or two rows."""

import dataclasses

import numpy as np
import pytest

from experiments import path, probe, sweep
from linclf_jax.cli.options import Config
from linclf_jax.config import probe as probe_flags
from linclf_jax.reports import sweep_page
from linclf_jax.runs import directory
from linclf_jax.studies import path_outcome, path_problem

CLASSES, COLUMNS = 100, 6
COUNTS = np.repeat([5, 1, 2], [50, 25, 25])
ONE_ROW = range(50, 75)
NEVER = "held-out scores contain no row of 25 classes, which stay in training: 50 (1 r"
TRAINED = {
    "dataset": "features",
    "optimizer": ("adam",),
    "learning_rate": (0.1, 0.3),
    "l2": (1e-3,),
    "epochs": (3,),
    "batch_size": (32,),
    "tile_width": 6,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Test rows are of the common classes alone."""
    folder, rng = tmp_path_factory.mktemp("tail"), np.random.default_rng(3)
    means = 3.0 * rng.normal(size=(CLASSES, COLUMNS))
    order = rng.permutation(COUNTS.sum())
    parts = {
        "train": np.repeat(np.arange(CLASSES), COUNTS)[order],
        "test": np.arange(50),
    }
    paths = {}
    for role, labels in parts.items():
        x = means[labels] + rng.normal(size=(len(labels), COLUMNS))
        for what, array in (("features", x.astype(np.float32)), ("labels", labels)):
            paths[f"{role}_{what}"] = str(folder / f"{role}_{what}.npy")
            np.save(paths[f"{role}_{what}"], array)
    return paths


@pytest.fixture(autouse=True)
def _draw_nothing(monkeypatch):
    monkeypatch.setattr(sweep_page, "write", lambda _: None)
    monkeypatch.setattr(path_outcome.path_report, "write", lambda _: None)


def assert_told_of(selected, sentence, capsys):
    """In selected.json, of which the page is made, and once on stderr."""
    assert sum(sentence in warning for warning in selected["warnings"]) == 1
    assert capsys.readouterr().err.count(sentence) == 1
    assert selected["warnings"][0].endswith("and 22 more")


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({}, 1),
        ({"shots": (1,), "seeds": 2}, 0),
        ({"protocol": "dinov2_linear", "l2": None, "epochs": 3}, 1),
    ],
)
def test_a_probe_runs(changes, sentences, files, tmp_path, capsys):
    config = probe_flags.Config(**{**files, "l2": (0.1, 0.01), "folds": 3, **changes})
    # The page too: its figures and tables have classes without a test row.
    found = probe.run(dataclasses.replace(config, out_dir=str(tmp_path / "run")))
    said = [w for w in found.selected["warnings"] if "held-out scores contain" in w]
    assert len(said) == sentences
    assert capsys.readouterr().err.count("held-out scores contain no") == sentences
    if not changes:
        assert said[0].startswith(f"features: {NEVER}")
        fold = directory.read(found.folder / "splits.npz")["features.fold"]
        assert (fold == -1).sum() == 25
        (run,) = found.selected["entries"][0]["runs"]
        assert run["validation"]["size"] == COUNTS.sum() - 25
        assert run["temperature"] is not None
        assert run["validation"]["optimism"]["rows"] == COUNTS.sum() - 25
        assert [v is None for v in run["test"]["per_class_recall"]] == [False] * 50 + [
            True
        ] * 50


def test_folds_with_rows_that_none_holds_out_scale_all_rows(files):
    config = probe_flags.Config(**files, l2=(0.1,), folds=3)
    (features,) = probe.probe_problem.prepare(config).sets
    np.testing.assert_allclose(features.x.mean(axis=0), 0.0, atol=1e-5)
    assert (features.fold == -1).sum() == 25


@pytest.mark.parametrize("loo", [False, True])
def test_a_path_runs(loo, files, tmp_path, capsys):
    config = path_problem.Config(
        **files,
        dataset="features",
        l2=(0.1, 0.01),
        folds=3,
        loo=loo,
        out_dir=str(tmp_path / "run"),
    )
    found = path.run(config)
    assert_told_of(found.selected, NEVER, capsys)
    assert found.selected["validation"]["size"] == COUNTS.sum() - 25
    assert found.selected["optimism"]["rows"] == COUNTS.sum() - 25
    if not loo:
        folds = [row for row in found.rows if row["fold"] is not None]
        assert all(row["val_loss"] is not None for row in folds)


def test_a_sweep_by_a_dealt_split_runs(files, tmp_path, capsys):
    """Neither validation nor test have all classes; training has."""
    given = {name: path for name, path in files.items() if name.startswith("train")}
    config = Config(**{**TRAINED, **given, "out_dir": str(tmp_path / "run")})
    found = sweep.run(config)
    assert found.selected is not None
    said = "validation scores contain no row of 25 classes with too few"
    assert_told_of(found.selected, said, capsys)
    assert "test scores contain no row of 50 classes" in found.selected["warnings"][1]
    recall = np.array(found.selected["test"]["per_class_recall"], float)
    assert np.isnan(recall).sum() == 50
    assert found.selected["test"]["mean_per_class_recall"] == pytest.approx(
        np.nanmean(recall)
    )


def test_a_sweep_by_folds_runs(files, tmp_path, capsys):
    config = Config(**{**TRAINED, **files, "folds": 3, "table": ("learning_rate",)})
    found = sweep.run(dataclasses.replace(config, out_dir=str(tmp_path / "run")))
    assert found.selected is not None
    assert_told_of(found.selected, NEVER, capsys)
    assert found.selected["validation"]["size"] == COUNTS.sum() - 25
    assert found.selected["optimism"]["rows"] == COUNTS.sum() - 25
    assert not any(NEVER in w for cell in found.table for w in cell["warnings"])
    # The last training has all rows, those too that no fold holds out.
    weights, _ = directory.read(found.folder / "selected.safetensors")
    assert np.abs(weights["W"][:, list(ONE_ROW)]).max(axis=0).min() > 0.05


def test_lanes_of_folds_train_on_rows_that_none_holds_out(files):
    config = Config(**{**TRAINED, **files, "folds": 3})
    problem = sweep.problem_lib.prepare(config)
    (data,) = problem.data.values()
    folds, labels = np.asarray(data.folds), np.asarray(data.labels)
    assert np.isin(labels, ONE_ROW).tolist() == (folds == 3).tolist()
    assert {lane.fold for lane in problem.lanes} == {0, 1, 2}
    for lane in problem.lanes:
        assert lane.num_rows == np.sum(folds != lane.fold)


def test_draws_of_more_shots_than_a_class_has_name_classes_and_remedy(files, tmp_path):
    config = probe_flags.Config(**files, shots=(1, 5), out_dir=str(tmp_path / "run"))
    with pytest.raises(
        ValueError, match=r"50 \(1 row\), .* 47 more: lower --shots, or"
    ):
        probe.run(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(30) // 2, "no class with a row to spare for the test split"),
        (
            np.array([0, 0, 0, 0, *range(1, 27)]),
            "found 1 validation rows; .*--val_feat",
        ),
    ],
)
def test_a_dealt_split_without_rows_names_the_flags(labels, message, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 3)))
    np.save(tmp_path / "y.npy", labels)
    paths = {"train_features": f"{tmp_path}/x.npy", "train_labels": f"{tmp_path}/y.npy"}
    with pytest.raises(ValueError, match=message):
        sweep.problem_lib.prepare(Config(**{**TRAINED, **paths}))
