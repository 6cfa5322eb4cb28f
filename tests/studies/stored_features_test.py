"""Sweeps of features that stay in their files: the bits of those in memory."""

import jax
import numpy as np
import pytest

from linclf_jax.data.preprocessing import ScaledRows
from linclf_jax.runs import directory
from linclf_jax.runs.checkpoint import DiskStore
from linclf_jax.scheduler import memory
from linclf_jax.studies import pipeline, replay
from linclf_jax.training import evaluation, segments
from tests import feature_files, small_studies
from tests.scheduler.interruption_test import Died

FLAGS = {"learning_rate": (0.01, 0.3), "seeds": (0, 1), "epochs": (3,)}
FLAGS |= {"batch_size": (16,), "trials_per_batch": 4, "keep": "best"}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with pytest.MonkeyPatch.context() as patch, small_studies.blank_pages():
        patch.setattr(segments, "SIZE", 4 * 5 * 40)
        patch.setattr(evaluation, "BLOCK", 16)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return feature_files.write(tmp_path_factory.mktemp("data") / "set")


def prepare(files, memory_limit=1, **flags):
    """Returns a sweep of files that exceed the memory, if there is but a byte of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "limit", lambda _: memory_limit)
        return small_studies.prepare("sweep", files, **{**FLAGS, "folds": 0, **flags})


def prepare_in_memory(files, **flags):
    return prepare(files, 2**40, **flags)


@pytest.mark.parametrize("shuffle", ["rows", "blocks"])
@pytest.mark.parametrize("folds", [0, 3])
def test_files_that_are_not_in_memory_make_the_same_run(
    folds, shuffle, files, tmp_path
):
    flags = {"folds": folds, "shuffle": shuffle}
    flags["preprocessing"] = ("standardize", "pca:3")
    stored, whole = prepare(files, **flags), prepare_in_memory(files, **flags)
    for inputs in stored.plan.inputs.values():
        assert isinstance(inputs.x, ScaledRows)
    results = [
        pipeline.run(stored, tmp_path / "stored"),
        pipeline.run(whole, tmp_path / "whole"),
    ]
    names = {*small_studies.SAME, "config.json", "flags.txt"} - {"selected.json"}
    first, second = (
        small_studies.contents(result.directory, names) for result in results
    )
    assert first == second
    first, second = (jax.tree.leaves(result.selected) for result in results)
    # Logits and what is made of them are two programs there, and one in memory.
    assert [
        pytest.approx(n, rel=1e-6) if isinstance(n, float) else n for n in first
    ] == second


def test_the_order_is_by_blocks_unless_the_features_fit(files, tmp_path):
    assert prepare_in_memory(files).plan.config.training.shuffle == "rows"
    pipeline.run(prepare(files), tmp_path / "run")
    config = directory.read(tmp_path / "run" / "config.json")
    assert config["flags"]["shuffle"] == "blocks"
    assert "--shuffle=blocks\n" in (tmp_path / "run" / "flags.txt").read_text()
    rows = directory.read(tmp_path / "run" / "results.jsonl")
    again = replay.run(tmp_path / "run", rows[1]["trial"])  # in memory, where it fits
    assert again.differing == []
    with pytest.raises(ValueError, match='shuffle is "blocks" there and "rows" here'):
        pipeline.run(prepare_in_memory(files), tmp_path / "run")


@pytest.mark.parametrize("call", [1, 2, 4])
def test_a_run_that_died_goes_on_to_the_same_bits(call, files, tmp_path, monkeypatch):
    calls, save = [], DiskStore.save_state

    def dying(*arguments):
        save(*arguments)
        calls.append(arguments)
        if len(calls) == call:
            raise Died

    pipeline.run(prepare(files), tmp_path / "whole")
    flags = {"checkpoint_every": 0.0, "concurrent_batches": 1}
    with monkeypatch.context() as patch:
        patch.setattr(DiskStore, "save_state", dying)
        with pytest.raises(Died):
            pipeline.run(prepare(files, **flags), tmp_path / "run")
    store, (_, name, step, _) = DiskStore(tmp_path / "run"), calls[-1]
    assert step > 0
    assert store.load_batch(name) is None
    pipeline.run(prepare(files), tmp_path / "run")
    first, second = (small_studies.contents(tmp_path / n) for n in ("run", "whole"))
    assert first == second


def test_halving_moves_survivors_as_in_memory(files):
    flags = {"halving": 2, "learning_rate": (0.01, 0.1, 0.3), "epochs": (4,)}
    stored, whole = (
        pipeline.run(make(files, shuffle="blocks", **flags))
        for make in (prepare, prepare_in_memory)
    )
    assert stored.rows == whole.rows
    assert {row["status"] for row in stored.rows} == {"ok", "retired"}


def test_bad_numbers_are_named_before_anything_is_fitted(files, tmp_path):
    other = feature_files.write(tmp_path / "other")
    x = np.load(other / "train_features.npy")
    x[37, 3] = np.nan
    np.save(other / "train_features.npy", x)
    with pytest.raises(ValueError, match=r"train_features\.npy: 1 .* row 37, column 3"):
        prepare(other)
    np.save(other / "train_features.npy", 1e300 * np.nan_to_num(x.astype(np.float64)))
    with pytest.raises(ValueError, match=r"of 3.0 .* x after none\[0, 0\] = "):
        prepare(other, preprocessing=("none",))
