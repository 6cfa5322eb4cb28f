"""What every study promises, whatever it fits: one contract for all of them."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from linclf_jax.config import flat
from linclf_jax.data import datasets
from linclf_jax.reports import search
from linclf_jax.runs import checkpoint, directory, model, record, schema
from linclf_jax.runs.store import Batch
from linclf_jax.scheduler import signals
from linclf_jax.selection import ranking
from linclf_jax.studies import pipeline, run_files, testing
from linclf_jax.studies.training import TrainingStudy
from tests import feature_files, small_studies

each_study = pytest.mark.parametrize("name", small_studies.NAMES)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return feature_files.write(tmp_path_factory.mktemp("files") / "one", noise=1.0)


@pytest.fixture(scope="module", autouse=True)
def _blank_pages():
    with small_studies.blank_pages():
        yield


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    """Runs each study once; nobody writes into its directory."""
    folder, results = tmp_path_factory.mktemp("runs"), {}

    def result(name):
        if name not in results:
            study = small_studies.prepare(name, files)
            results[name] = pipeline.run(study, folder / name)
        return results[name]

    return result


@each_study
def test_the_directory_is_complete_and_sealed(name, finished):
    result = finished(name)
    names = {item.name for item in result.directory.iterdir()}
    made = {"config.json", "flags.txt", "manifest.json", "report.html"}
    assert names >= made | {*small_studies.SAME}
    assert set(directory.verify(result.directory)) == names - {"manifest.json"}
    assert result.rows == directory.read(result.directory / schema.RESULTS)
    assert result.selected == directory.read(result.directory / schema.SELECTED)
    assert [row["trial"] for row in result.rows] == list(range(len(result.rows)))
    text = (result.directory / schema.SELECTED).read_text()
    json.loads(text, parse_constant=lambda c: pytest.fail(c))


@each_study
def test_its_flagfile_gives_the_same_in_memory_and_writes_nothing(
    name, finished, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    ours = finished(name)
    flagfile = ours.directory / run_files.FLAGS
    config = flat.read(flagfile, small_studies.CONFIGS[name])
    prepare = small_studies.PREPARE.get(name, small_studies.probe.prepare)
    result = pipeline.run(prepare(config))
    assert (result.rows, result.selected) == (ours.rows, ours.selected)
    np.testing.assert_equal(result.history, ours.history)
    for file, one in result.models.items():
        np.testing.assert_array_equal(one.params.W, ours.models[file].params.W)
    assert result.directory is None
    assert not [*tmp_path.iterdir()]


@each_study
def test_test_rows_are_read_once_after_all_selections(
    name, files, finished, tmp_path, monkeypatch
):
    load, reads = datasets.load, []

    def poisoned(*args, **kwargs):
        dataset = load(*args, **kwargs)

        def read():
            reads.append((tmp_path / "other" / schema.RESULTS).exists())
            split = dataset.test.read()
            return split._replace(x=-np.asarray(split.x), labels=(split.labels + 1) % 6)

        return dataset._replace(test=dataset.test._replace(read=read))

    monkeypatch.setattr(datasets, "load", poisoned)
    other = pipeline.run(small_studies.prepare(name, files), tmp_path / "other")
    assert reads == [True]
    assert other.rows == finished(name).rows
    ours = finished(name).selected
    for one, known in zip(other.selected["entries"], ours["entries"], strict=True):
        assert one["test"]["accuracy"] != known["test"]["accuracy"]
        assert {**one, "test": None} == {**known, "test": None}
    assert other.selected["chosen"] == ours["chosen"]


@each_study
def test_the_stored_classifier_has_the_stored_test_scores(name, files, finished):
    result = finished(name)
    x, labels = (np.load(files / f"test_{what}.npy") for what in ("features", "labels"))
    entries = result.selected["entries"]
    for average in schema.across_seeds(entries):
        entry = average.entries[0]
        stored = model.load(result.directory / entry["model"])
        accuracy = np.mean(model.predict(stored, x) == labels)
        assert entry["test"]["accuracy"] == accuracy
    file = entries[result.selected["chosen"]]["model"]
    chosen, own = (model.load(result.directory / name) for name in (schema.MODEL, file))
    np.testing.assert_array_equal(chosen.params.W, own.params.W)


@each_study
def test_the_selected_setting_is_the_best_of_its_group(name, finished):
    result = finished(name)
    for entry in result.selected["entries"]:
        rows = [
            row
            for row in result.rows
            if all(row[k] == v for k, v in entry["group"].items())
            and ranking.is_compared(row)
        ]
        if entry["validation"]["resampling"] is None:
            assert entry["trials"] == []
            continue
        metric = result.selected["metric"]
        best, *_ = ranking.rank_settings(rows, metric=metric)
        assert entry["trials"] == [row["trial"] for row in best]
        spread = ranking.spread(best, metric)
        assert entry["repeats"][metric]["mean"] == spread.mean
        assert entry["validation"]["val_loss"] == ranking.spread(best, "val_loss").mean


@each_study
def test_another_configuration_and_a_finished_one_are_refused(name, files, finished):
    ours = finished(name).directory
    before = small_studies.contents(ours)
    with pytest.raises(ValueError, match="is complete"):
        pipeline.run(small_studies.prepare(name, files), ours)
    other = small_studies.prepare(name, files, split_seed=3)
    with pytest.raises(ValueError, match=r"flags.split_seed is 0 there and 3 here"):
        pipeline.run(other, ours)
    assert small_studies.contents(ours) == before


class StopAfter(signals.Stop):
    """Asks for a stop at the n-th look."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def requested(self):
        self.looks -= 1
        return "SIGTERM" if self.looks < 0 else None


@pytest.mark.parametrize(
    ("name", "looks"),
    [*((name, 0) for name in small_studies.NAMES), ("path", 1), ("path", 4)],
)
def test_a_stopped_run_goes_on_with_the_same_bytes(
    name, looks, files, finished, tmp_path, monkeypatch
):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "Stop", lambda: StopAfter(looks))
        with pytest.raises(signals.Interrupted, match=r"^stopped by SIGTERM: ") as stop:
            pipeline.run(small_studies.prepare(name, files), path)
    assert str(stop.value).endswith(f"--out_dir={path} goes on")
    assert not (path / directory.MANIFEST).exists()
    pipeline.run(small_studies.prepare(name, files), path)
    ours = finished(name).directory
    assert small_studies.contents(path) == small_studies.contents(ours)
    assert not (path / checkpoint.FOLDER).exists()


@each_study
def test_a_trial_fitted_again_has_the_bits_of_its_row(name, files, finished):
    study, rows = small_studies.prepare(name, files), finished(name).rows
    compared = [row for row in rows if ranking.is_compared(row)]
    for row in (compared[0], compared[-1]):
        again = study.replay(row, signals.Stop())
        assert {k: again[k] for k in again if k in row} == {k: row[k] for k in again}


@each_study
def test_nothing_usable_keeps_the_rows_and_draws_the_page(
    name, files, tmp_path, monkeypatch
):
    monkeypatch.setattr(ranking, "is_usable", lambda _: False)
    monkeypatch.setattr(pipeline, "select", _without_given)
    with pytest.raises(ValueError, match=r"trials|setting"):
        pipeline.run(small_studies.prepare(name, files), tmp_path / "run")
    directory.verify(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists()
    assert directory.read(tmp_path / "run" / schema.RESULTS)
    assert not (tmp_path / "run" / schema.SELECTED).exists()


select = pipeline.select


def _without_given(plan, results):
    return select(plan, results._replace(given=()))


def test_groups_are_selected_and_tested_each(files, finished):
    result = pipeline.run(
        small_studies.prepare("sweep", files, select_per=("learning_rate",), folds=0)
    )
    entries = result.selected["entries"]
    assert [entry["group"] for entry in entries] == [
        {"learning_rate": 0.01},
        {"learning_rate": 0.1},
    ]
    losses = [entry["validation"]["val_loss"] for entry in entries]
    assert result.selected["chosen"] == int(np.argmin(losses))
    assert {*result.models} == {
        "learning_rate-0.01.safetensors",
        "learning_rate-0.1.safetensors",
        "selected.safetensors",
    }
    assert all(entry["test"]["size"] == 60 for entry in entries)
    # The best of all groups was chosen among all settings.
    counts = [entry["selection_bias"]["settings"] for entry in entries]
    assert counts[result.selected["chosen"]] == 4
    assert sorted(counts) == [2, 4]


def test_a_group_without_a_usable_setting_says_why(files, monkeypatch):
    usable = ranking.is_usable
    monkeypatch.setattr(
        ranking, "is_usable", lambda row: usable(row) and row["learning_rate"] > 0.05
    )
    result = pipeline.run(
        small_studies.prepare("sweep", files, select_per=("learning_rate",), folds=0)
    )
    failed, chosen = result.selected["entries"]
    assert failed["failure"]
    assert "test" not in failed
    assert chosen["failure"] is None
    assert (result.selected["chosen"], result.selected["chosen_ties"]) == (1, [])


def test_a_refit_that_fails_takes_the_place_of_its_selection(files, monkeypatch):
    study = small_studies.prepare("sweep", files)
    diverged = Batch([{"status": "diverged", "reason": "the loss"}], {})
    monkeypatch.setattr(TrainingStudy, "_train_on_all_rows", lambda *_: diverged)
    with pytest.raises(ValueError, match="diverged"):
        pipeline.run(study)


def test_entries_that_tie_are_named_and_the_stronger_penalty_goes_first():
    def entry(features, loss, l2, seed=None):
        scores = {"val_loss": loss, "val_accuracy": 0.5}
        row = {"l2": l2}
        return {
            "group": {"features": features, "seed": seed},
            "failure": None,
            "row": row,
            "validation": scores,
        }

    entries = [entry("a", 0.5, 0.1), entry("b", 0.5, 0.2), entry("c", 0.7, 1.0)]
    assert testing.choose_entry(entries, "val_loss") == (1, [0])
    entries = [entry("a", None, 0.1), entry("b", 0.5, 0.1)]
    assert testing.choose_entry(entries, "val_loss") == (1, [])
    # Seeds count by their mean.
    seeds = [entry("a", loss, 0.1, seed) for seed, loss in enumerate((0.1, 0.9))]
    assert testing.choose_entry([*seeds, entry("b", 0.4, 0.1)], "val_loss") == (2, [])


def test_warnings_are_said_before_the_fits_and_kept(files, tmp_path, caplog):
    study = small_studies.prepare("path", files)
    ((key, inputs),) = study.plan.inputs.items()
    warned = {key: inputs._replace(warnings=("rows are odd",))}
    plan = dataclasses.replace(study.plan, inputs=warned)
    study = dataclasses.replace(study, plan=plan)
    result = pipeline.run(study)
    assert result.selected["warnings"] == ["rows are odd"]
    assert caplog.messages.count("rows are odd") == 1


def test_a_directory_is_taken_up_after_a_kill_in_the_middle_of_a_path(
    files, finished, tmp_path, monkeypatch
):
    """What a kill leaves: some penalties are there, and an older state or none."""
    from linclf_jax.studies import exact

    study = small_studies.prepare("path", files, checkpoint_every=0.0)
    store = checkpoint.DiskStore(tmp_path / "killed")
    run_files.open_run(tmp_path / "killed", study.plan)
    steps = study._steps(study.problems[0], [], store, signals.Stop())
    for _ in range(2):
        next(steps)
    ours = small_studies.contents(finished("path").directory)
    # Without the state, or a batch that it goes on from, all is solved again.
    for name, pattern in (("stateless", "*state*"), ("lacking", "*-00001.npz")):
        copy = shutil.copytree(tmp_path / "killed", tmp_path / name)
        (file,) = (copy / checkpoint.FOLDER).glob(pattern)
        file.unlink()
    solved = []
    measure = exact.held_out.measure

    def counted(point, *args):
        solved.append(point.l2)
        return measure(point, *args)

    monkeypatch.setattr(exact.held_out, "measure", counted)
    for name, count in (("killed", 1), ("stateless", 3), ("lacking", 3)):
        solved.clear()
        pipeline.run(small_studies.prepare("path", files), tmp_path / name)
        assert len(solved) == count
        assert small_studies.contents(tmp_path / name) == ours


def test_fits_that_are_all_there_are_not_made_again(files, finished, tmp_path):
    """A page that fails comes after all fits, and no state is kept of the last."""
    ours = finished("path").directory
    study = small_studies.prepare("path", files)
    store = checkpoint.DiskStore(tmp_path / "run")
    run_files.open_run(tmp_path / "run", study.plan)
    study.fit(store, signals.Stop())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linclf_jax.exact.path.follow", None)
        pipeline.run(small_studies.prepare("path", files), tmp_path / "run")
    assert small_studies.contents(tmp_path / "run") == small_studies.contents(ours)


def test_rows_that_a_selection_names_stay_until_it_is_made_again(
    files, tmp_path, monkeypatch
):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.render, "write", lambda _: 1 / 0)
        with pytest.raises(run_files.Unfinished, match=r"report.html cannot"):
            pipeline.run(small_studies.prepare("probe", files), path)
    rows = (path / schema.RESULTS).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(run_files, "check_measured", lambda *_: 1 / 0)
        with pytest.raises(run_files.Unfinished, match="ZeroDivisionError"):
            pipeline.run(small_studies.prepare("probe", files), path)
    assert (path / schema.RESULTS).read_bytes() == rows


def test_a_stop_is_heeded_before_the_fits_that_are_tested(files, finished, tmp_path):
    path = tmp_path / "run"
    study = small_studies.prepare("probe", files)
    fits = sum(problem.num_trials for problem in study.problems) // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Stop", lambda: StopAfter(fits))
        with pytest.raises(signals.Interrupted):
            pipeline.run(study, path)
    pipeline.run(small_studies.prepare("probe", files), path)
    ours = finished("probe").directory
    assert small_studies.contents(path) == small_studies.contents(ours)


def test_a_group_of_a_setting_that_is_not_used_has_a_name_of_its_own(files, tmp_path):
    """Momentum is none of adam's: None is a group, too."""
    flags = {"optimizer": ("adam", "momentum"), "select_per": ("momentum",), "folds": 0}
    study = small_studies.prepare("sweep", files, **flags)
    result = pipeline.run(study, tmp_path / "run")
    curves = search.group_curves(record.read(tmp_path / "run"), result.history)
    assert [curve.panel for curve in curves] == ["None", "0.9"]
    groups = [entry["group"] for entry in result.selected["entries"]]
    assert groups == [{"momentum": None}, {"momentum": 0.9}]
    files_of = [entry["model"] for entry in result.selected["entries"]]
    assert files_of == ["momentum-None.safetensors", "momentum-0.9.safetensors"]
    assert [schema.name(group) for group in groups] == ["momentum none", "momentum 0.9"]
    first, second = (np.asarray(result.models[name].params.W) for name in files_of)
    assert not np.array_equal(first, second)
