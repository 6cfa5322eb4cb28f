"""What a run directory says, and which directories say nothing that fits together."""

import numpy as np
import pytest

from linclf_jax.runs import checkpoint, directory, record, schema, store
from tests.reports import records

CONFIG = {"experiment": "sweep", "flags": {}, "data": {}, "environment": {}}


def batch(*trials):
    """A finished batch of trials with curves of two epochs."""
    arrays = {"trial": np.array(trials), "W": np.zeros((len(trials), 2, 2))}
    arrays |= dict.fromkeys(schema.CURVES, np.ones((len(trials), 2)))
    return store.Batch([{"trial": trial, "status": "ok"} for trial in trials], arrays)


@pytest.fixture
def unfinished(tmp_path):
    directory.open_run(tmp_path, CONFIG)
    directory.write(tmp_path / "flags.txt", "")
    return tmp_path


@pytest.fixture
def batches(unfinished):
    return checkpoint.DiskStore(unfinished)


@pytest.fixture
def finished(tmp_path):
    return records.write(records.sweep(), tmp_path / "run")


class TestUnfinished:
    def test_it_has_what_is_finished_and_names_what_is_damaged(
        self, unfinished, batches
    ):
        with pytest.raises(ValueError, match=r"and no finished batch yet$"):
            record.read(unfinished)
        batches.save_state("c", 5, {"W": np.zeros(3)})
        (unfinished / "pieces" / "b.npz").write_bytes(b"")
        with pytest.raises(ValueError, match=r"batch yet; .*b\.npz: .*left out here$"):
            record.read(unfinished)
        batches.save_batch("a", batch(3, 0))
        run = record.read(unfinished)
        assert [row["trial"] for row in run.rows] == [0, 3]
        assert set(run.history) == {"trial", *schema.CURVES}
        assert (run.fitting, run.sealed) == (True, False)
        assert (run.selected, run.weights, run.chosen, run.tested) == (*[None] * 3, [])
        (note,) = run.notes
        assert "b.npz" in note

    def test_exact_fits_have_no_curves_yet(self, unfinished, batches):
        rows = [{"trial": 0, "status": "converged"}]
        batches.save_batch("a", store.Batch(rows, {"W": np.zeros((1, 2, 2))}))
        run = record.read(unfinished)
        assert (run.rows, run.history, run.notes) == (rows, None, [])

    def test_results_take_the_place_of_batches(self, unfinished, batches):
        batches.save_batch("a", batch(0, 1))
        rows = [{"trial": 0, "status": "ok"}]
        directory.write(unfinished / "results.jsonl", rows)
        run = record.read(unfinished)
        assert (run.fitting, run.history, run.rows) == (False, None, rows)

    def test_curves_of_other_trials_are_refused(self, unfinished, batches):
        wrong = batch(0, 1)
        wrong.arrays["trial"] = np.array([0, 2])
        batches.save_batch("a", wrong)
        message = r"in the finished batches, .* lacks trials \[1, 2\]"
        with pytest.raises(ValueError, match=message):
            record.read(unfinished)

    def test_a_sealed_directory_without_its_results_is_damaged(
        self, unfinished, batches
    ):
        directory.seal(unfinished)
        batches.save_batch("a", batch(0, 1))
        message = r"complete run directory: results.jsonl missing"
        with pytest.raises(ValueError, match=message):
            record.read(unfinished)


class TestFinished:
    @pytest.mark.parametrize("study", [records.sweep, records.path, records.shots])
    def test_what_was_written_is_read(self, study, tmp_path):
        written = study()
        run = record.read(records.write(written, tmp_path / "run"))
        assert (run.config, run.rows) == (written.config, written.rows)
        np.testing.assert_equal(dict(run.history), written.history)
        np.testing.assert_array_equal(run.weights, written.weights)
        assert (run.fitting, run.sealed) == (False, False)
        assert run.chosen == written.selected["entries"][0]
        directory.seal(run.directory)
        assert record.read(run.directory).sealed

    def test_a_shard_selects_nothing(self, tmp_path):
        settings = records.config("sweep", num_shards=3, shard_index=1)
        shard = records.sweep(trial=None, settings=settings)
        path = records.write(shard, tmp_path / "run")
        assert record.read(path).shard is None  # it is not sealed yet
        directory.seal(path)
        run = record.read(path)
        assert (run.shard, run.selected, run.weights) == ((1, 3), None, None)
        # A run of all shards, and one whose trials all failed, are no shards.
        assert records.sweep(settings=settings).shard is None
        assert records.sweep(trial=None).shard is None

    def test_the_metric_is_that_of_the_selection(self):
        settings = records.config("sweep", metric="val_accuracy")
        assert records.sweep(settings=settings).metric == "val_loss"
        assert records.sweep(settings=settings, trial=None).metric == "val_accuracy"
        settings["flags"]["metric"] = None
        assert records.sweep(settings=settings, trial=None).metric == "val_loss"

    def test_trials_are_ranked_and_what_they_differ_in_is_named(self):
        run = records.sweep()
        assert run.ranked[0]["trial"] == 17
        assert len(run.ranked) == len(run.rows) - 2  # that diverged
        assert run.differing == ["optimizer", "learning_rate", "l2", "seed"]

    def test_a_failed_group_has_no_classifier(self):
        run = records.grouped()
        failed, chosen = run.selected["entries"]
        failed["failure"] = "all 3 trials diverged"
        assert (run.tested, run.chosen) == ([chosen], chosen)

    def test_a_classifier_that_was_fitted_again_is_no_trial(self, finished):
        change(finished, "selected.json", lambda s: first(s).update(trial=None))
        assert record.read(finished).chosen["trial"] is None


def first(selected):
    return selected["entries"][0]


def change(folder, name, edit):
    """Writes a file again with a change."""
    value = directory.read(folder / name)
    edit(value)
    directory.write(folder / name, value)


class TestRefusals:
    @pytest.mark.parametrize(
        "name",
        [
            "config.json",
            "flags.txt",
            "results.jsonl",
            "history.npz",
            "selected.safetensors",
        ],
    )
    def test_a_missing_file_is_named(self, name, finished):
        (finished / name).unlink()
        message = rf"not a complete run directory: {name} missing, found \["
        with pytest.raises(ValueError, match=message):
            record.read(finished)

    @pytest.mark.parametrize("name", ["selected.json", "history.npz", "results.jsonl"])
    def test_a_damaged_file_is_named(self, name, finished):
        (finished / name).write_bytes(b"{")
        with pytest.raises(ValueError, match=name):
            record.read(finished)

    def test_no_run_directory(self, tmp_path):
        with pytest.raises(ValueError, match="missing, found nothing"):
            record.read(tmp_path / "nowhere")

    def test_a_run_of_another_version_is_named_so(self, tmp_path):
        settings = records.config("sweep")
        settings["environment"]["linclf_jax"] = "0.1.0"
        rows = [{"lane": 0, "status": "ok"}]
        records.write(records.made("sweep", rows, None, None, settings), tmp_path)
        message = "column trial: it was written by version 0.1.0 of linclf_jax"
        with pytest.raises(ValueError, match=message):
            record.read(tmp_path)

    def test_curves_of_other_trials(self, finished):
        def without_the_last(history):
            history.update({name: array[:-1] for name, array in history.items()})

        change(finished, "history.npz", without_the_last)
        message = r"of 23 trials in history.npz, .* the 24 trials .*lacks trials \[23\]"
        with pytest.raises(ValueError, match=message):
            record.read(finished)

    def test_a_classifier_without_weights(self, finished):
        path = finished / "selected.safetensors"
        directory.write(path, ({"b": np.zeros(3)}, {}))
        with pytest.raises(ValueError, match=r"expected a tensor W .*found \['b'\]"):
            record.read(finished)

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (lambda s: s.update(chosen=1), "the choice of entry 1 of 1, expected"),
            (lambda s: s.update(chosen=-1), "the choice of entry -1 of 1"),
            (lambda s: s.update(chosen_ties=[7]), "the choice of entry 7 of 1"),
            (lambda s: first(s).update(failure="no"), "the choice of entry 0 of 1"),
            (lambda s: first(s).pop("reason"), "entry 0 has no reason$"),
            (
                lambda s: first(s)["test"]["confusion"].pop(),
                "entry 0 has a confusion matrix of 2 classes, expected the 3 of config",
            ),
            (lambda s: first(s).update(trial=99), "entry 0 names trial 99, which"),
            (lambda s: first(s).update(trials=[17, 99]), "entry 0 names trial 99"),
            (
                lambda s: s.update(comparisons=[records.pair("clip", "clip", 0.5)]),
                r"a comparison names clip, expected one of \['None'\]",
            ),
        ],
    )
    def test_a_selection_that_does_not_fit(self, edit, message, finished):
        change(finished, "selected.json", edit)
        with pytest.raises(ValueError, match=rf"selected\.json: .*{message}"):
            record.read(finished)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("val_loss", np.zeros(3), r"has val_loss of shape \(3,\) in .*ted \(4,\)"),
            ("l2s", np.zeros(()), r"has l2s of shape \(\) in history.*ted \(K,\)"),
            ("val_accuracy_se", None, r".*_se of shape \(\) in .*ted \(4,\)"),
        ],
    )
    def test_curves_that_are_not_of_all_penalties(self, name, value, message, tmp_path):
        run = records.path()
        run.history.pop(f"0.{name}")
        if value is not None:
            run.history[f"0.{name}"] = value
        with pytest.raises(ValueError, match=f"entry 0 {message}"):
            record.read(records.write(run, tmp_path / "run"))
