"""Whatever fails after the fits, they stay, and the same command does the rest."""

import dataclasses
import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import path, probe, sweep
from linclf_jax.cli.options import Config
from linclf_jax.config import probe as probe_flags
from linclf_jax.data import datasets
from linclf_jax.figures import classifier
from linclf_jax.reports import path_page, probe_page, sweep_page
from linclf_jax.runs import directory
from linclf_jax.selection import cross_validation as path_lib
from linclf_jax.studies import last_step, path_problem
from linclf_jax.training import execution
from tests import feature_files

ROOT = Path(__file__).parents[2]
SAME = ("results.jsonl", "history.npz", "selected.json", "selected.safetensors")
STUDIES = ("path", "probe", "sweep")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return feature_files.write(tmp_path_factory.mktemp("files") / "one", noise=1.0)


@pytest.fixture(autouse=True)
def _restored(files):
    """Each test may spoil the test rows."""
    kept = {p: p.read_bytes() for p in files.glob("test_*.npy")}
    yield
    for item, content in kept.items():
        item.write_bytes(content)


@pytest.fixture
def drawn():
    """Asks for real pages."""


@pytest.fixture(autouse=True)
def _draw_little(request, monkeypatch):
    if "drawn" not in request.fixturenames:
        for module in (sweep_page, path_page, probe_page):
            monkeypatch.setattr(module, "write", blank)


def blank(folder):
    directory.write(folder / "report.html", "blank")


def run(study, files, folder):
    """Runs a small study; the sweep by folds, with a fit after its choice."""
    given = {
        f"{role}_{what}": str(files / f"{role}_{what}.npy")
        for role in ("train", "test")
        for what in ("features", "labels")
    }
    given |= {"l2": (0.1, 0.01), "folds": 2, "out_dir": str(folder)}
    if study == "path":
        return path.run(path_problem.Config(dataset="features", **given))
    if study == "probe":
        return probe.run(probe_flags.Config(**given))
    few = {"epochs": (2,), "learning_rate": (0.1,), "tile_width": 4}
    return sweep.run(Config(dataset="features", **few, **given))


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory):
    folders = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for module in (sweep_page, path_page, probe_page):
            patch.setattr(module, "write", blank)
        return {study: run(study, files, folders / study).folder for study in STUDIES}


def forbid_fits(monkeypatch):
    def fit(*_, **__):
        raise AssertionError("a fit is made again")

    monkeypatch.setattr(path_lib, "cross_validate", fit)
    monkeypatch.setattr(probe.probe_exact, "find", fit)
    monkeypatch.setattr(execution, "run", fit)


def assert_goes_on(study, files, folder, undisturbed, monkeypatch):
    """The same command trains nothing, and its folder is as if nothing had failed."""
    assert not (folder / "manifest.json").exists()
    assert (folder / "results.jsonl").read_bytes() == (
        undisturbed[study] / "results.jsonl"
    ).read_bytes()
    with monkeypatch.context() as patch:
        forbid_fits(patch)
        run(study, files, folder)
    for name in SAME:
        expected = (undisturbed[study] / name).read_bytes()
        assert (folder / name).read_bytes() == expected, name
    directory.verify(folder)
    assert not (folder / "pieces").exists()


each_study = pytest.mark.parametrize("study", STUDIES)


@each_study
def test_a_bad_test_row_costs_no_fit(study, files, tmp_path, undisturbed, monkeypatch):
    good = files / "test_features.npy"
    content, x = good.read_bytes(), np.load(good)
    x[7, 2] = np.nan
    np.save(good, x)
    with pytest.raises(last_step.Unfinished) as caught:
        run(study, files, tmp_path / "run")
    said = str(caught.value)
    assert said.startswith(
        f"{good}: 1 of 300 numbers are not finite, the first, in row"
    )
    command = f"--flagfile={tmp_path / 'run'}/flags.txt --out_dir={tmp_path / 'run'} "
    assert f"is safe in {tmp_path / 'run'}: " in said
    assert f"python -m experiments.{study} {command}does the rest" in said
    good.write_bytes(content)
    assert_goes_on(study, files, tmp_path / "run", undisturbed, monkeypatch)


@each_study
def test_a_test_file_that_was_not_opened_may_have_other_rows_then(
    study, files, tmp_path, undisturbed, monkeypatch
):
    good, labels = files / "test_features.npy", files / "test_labels.npy"
    before = good.read_bytes(), labels.read_bytes()
    longer = np.vstack([np.load(good), np.full((1, 5), np.inf, np.float32)])
    np.save(good, longer)
    np.save(labels, np.append(np.load(labels), 0))
    with pytest.raises(last_step.Unfinished, match="not finite"):
        run(study, files, tmp_path / "run")
    assert directory.read(tmp_path / "run" / "config.json")["data"]["test"] == 61
    good.write_bytes(before[0])
    labels.write_bytes(before[1])
    assert_goes_on(study, files, tmp_path / "run", undisturbed, monkeypatch)
    assert directory.read(tmp_path / "run" / "config.json")["data"]["test"] == 60


@each_study
@pytest.mark.usefixtures("drawn")
def test_a_figure_that_fails_is_named(study, files, tmp_path, undisturbed, monkeypatch):
    def confusion(*_):
        raise RuntimeError("no ink")

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "confusion", confusion)
        with pytest.raises(last_step.Unfinished) as caught:
            run(study, files, tmp_path / "run")
    said = "confusion.png cannot be drawn: RuntimeError: no ink; what was finished"
    assert str(caught.value).startswith(said)
    assert_goes_on(study, files, tmp_path / "run", undisturbed, monkeypatch)


@each_study
@pytest.mark.parametrize("name", ["selected.json", "report.html", "manifest.json"])
def test_a_full_disk_names_the_file_and_its_size(
    study, name, files, tmp_path, undisturbed, monkeypatch
):
    replace = Path.replace

    def full(self, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(last_step.Unfinished) as caught:
            run(study, files, folder)
    said = str(caught.value)
    assert said.startswith(f"{folder / name}: No space left on device, ")
    assert "expected room for " in said
    assert "Errno" not in said
    assert_goes_on(study, files, folder, undisturbed, monkeypatch)


@each_study
def test_fits_that_cannot_be_kept_are_not_called_safe(
    study, files, tmp_path, undisturbed, monkeypatch
):
    replace = Path.replace

    def full(self, target):
        if Path(target).parent.name == "pieces":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(last_step.Unfinished) as caught:
            run(study, files, folder)
    said = str(caught.value)
    assert said.startswith(f"{folder / 'pieces'}/")
    assert (
        "; what was to be kept in it is lost and computed again; what was saved before "
        f"is safe in {folder}: once this is mended, python -m experiments.{study} "
    ) in said
    run(study, files, folder)
    for name in SAME:
        expected = (undisturbed[study] / name).read_bytes()
        assert (folder / name).read_bytes() == expected, name


@each_study
def test_rows_that_were_measured_may_not_be_others_then(
    study, files, tmp_path, monkeypatch
):
    def page(_):
        raise PermissionError(errno.EACCES, "Permission denied", "report.html")

    with monkeypatch.context() as patch:
        patch.setattr(last_step, "draw_page", lambda *_: page(_))
        with pytest.raises(last_step.Unfinished, match=r"^report.html: Permission den"):
            run(study, files, tmp_path / "run")
    np.save(files / "test_features.npy", np.load(files / "test_features.npy") + 1)
    with pytest.raises(last_step.Unfinished, match="put the measured ones back"):
        run(study, files, tmp_path / "run")


def test_sets_of_a_probe_are_kept_one_by_one(files, tmp_path, monkeypatch):
    """The second set fails; the first is not fitted again."""
    other = feature_files.write(tmp_path / "two", noise=2.0)
    config = probe_flags.Config(
        features=(f"a={files}", f"b={other}"), l2=(0.1,), folds=2
    )
    config = dataclasses.replace(config, out_dir=str(tmp_path / "run"))
    find, fitted = probe.probe_exact.find, []

    def failing(problem, features):
        fitted.append(features.name)
        if fitted == ["a", "b"]:
            raise OSError(errno.EIO, os.strerror(errno.EIO), "scratch")
        return find(problem, features)

    monkeypatch.setattr(probe.probe_exact, "find", failing)
    with pytest.raises(
        last_step.Unfinished, match=r"^scratch: Input/output error; what"
    ):
        probe.run(config)
    found = probe.run(config)
    assert fitted == ["a", "b", "b"]
    directory.verify(found.folder)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            6,
            r"test_labels\.npy: 1 of 60 labels are invalid, the first, in row 59, is 6",
        ),
        ("x", "expected"),
    ],
)
@each_study
def test_labels_that_training_lacks_are_refused_before_it(
    study, label, message, files, tmp_path
):
    labels = np.load(files / "test_labels.npy").astype(type(label))
    labels[-1] = label
    np.save(files / "test_labels.npy", labels)
    with pytest.raises(ValueError, match=message):
        run(study, files, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_test_file_of_another_width_then_is_refused(files):
    paths = datasets.Files(
        train_features=files / "train_features.npy",
        train_labels=files / "train_labels.npy",
        test_features=files / "test_features.npy",
        test_labels=files / "test_labels.npy",
    )
    dataset = datasets.load("features", split_seed=0, files=paths)
    assert dataset.test.labels is not None
    assert dataset.test.labels.tolist() == (np.arange(60) % 6).tolist()
    x = np.load(files / "test_features.npy")
    np.save(files / "test_features.npy", x[:, :4])
    with pytest.raises(ValueError, match="has 4 columns; expected 5"):
        dataset.test.read()


def test_the_command_that_is_told_does_the_rest(files, tmp_path):
    """From the shell: one line, status 2, and a traceback for whoever asks."""
    spoilt = np.load(files / "test_features.npy")
    np.save(
        files / "test_features.npy", np.where(spoilt == spoilt[0, 0], np.inf, spoilt)
    )
    flags = [
        *(
            f"--{r}_{w}={files}/{r}_{w}.npy"
            for r in ("train", "test")
            for w in ("features", "labels")
        ),
        *("--l2=0.1", "--folds=2", f"--out_dir={tmp_path / 'a run'}"),
    ]

    def shell(*words):
        return subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True
        )

    failed = shell("experiments.probe", *flags)
    assert failed.returncode == 2
    (line,) = failed.stderr.splitlines()
    assert line.startswith(f"error: {files}/test_features.npy: 1 of 300 numbers")
    assert "Traceback" in shell("experiments.probe", *flags, "--debug").stderr
    np.save(files / "test_features.npy", spoilt)
    told = line.partition("python -m ")[2].removesuffix(" does the rest")
    finished = shell(*shlex.split(told))
    assert finished.returncode == 0, finished.stderr
    directory.verify(tmp_path / "a run")
