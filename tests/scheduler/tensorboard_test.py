"""The event file, read back record by record as TensorBoard would."""

import contextlib
import importlib.util
import math
import struct

import numpy as np
import pytest

from linclf_jax.scheduler import progress, tensorboard

pytest.importorskip("tensorboardX")
from tensorboardX import record_writer
from tensorboardX.proto import event_pb2


def read(path):
    """Returns the events of a file; each frame's check sums are verified."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        head, body = data[:12], data[12 : 12 + length]
        check = data[12 + length : 16 + length]
        for text, sum_ in ((head[:8], head[8:]), (body, check)):
            assert struct.unpack("<I", sum_)[0] == record_writer.masked_crc32c(text)
        found.append(event_pb2.Event.FromString(body))
        data = data[16 + length :]
    return found


def scalars(path):
    """Returns {tag: {step: value}}."""
    found = {}
    for event in read(path)[1:]:
        for value in event.summary.value:
            steps = found.setdefault(value.tag, {})
            assert event.step not in steps
            steps[event.step] = value.simple_value
    return found


def opened(*arguments, **options):
    return contextlib.closing(tensorboard.EventFile(*arguments, **options))


def row(val_loss, val_accuracy, status="ok"):
    scores = {"val_loss": val_loss, "val_accuracy": val_accuracy}
    return {"trial": 0, "status": status, **scores}


def test_the_file_is_one_and_begins_as_tensorboard_expects(tmp_path):
    with opened(tmp_path, "val_loss") as file:
        file.update([row(0.5, 0.5)])
    (path,) = tmp_path.iterdir()
    assert "tfevents" in path.name
    first, *others = read(path)
    assert first.file_version == "brain.Event:2"
    assert len(others) == 1
    assert all(event.wall_time > 1.7e9 for event in (first, *others))


def test_the_spread_is_over_the_usable_trials_so_far(tmp_path):
    generator = np.random.default_rng(0)
    loss, accuracy = generator.random((2, 30))
    with opened(tmp_path, "val_loss") as file:
        for start in range(0, 30, 10):
            batch = slice(start, start + 10)
            bad = [row(None, None, "diverged"), row(0.0, 1.0, "retired")]
            file.update([*map(row, loss[batch], accuracy[batch]), *bad])
    found = scalars(tmp_path / tensorboard.NAME)
    steps = {12: 10, 24: 20, 36: 30}  # trials done: usable trials
    for name, values in (("val_loss", loss), ("val_accuracy", accuracy)):
        for level in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1):
            assert found.pop(f"{name}/quantile_{level}") == pytest.approx(
                {step: np.quantile(values[:ok], level) for step, ok in steps.items()},
                rel=1e-6,  # float32 in the file
            )
    assert found.pop("sweep/best_val_loss") == pytest.approx(
        {step: loss[:ok].min() for step, ok in steps.items()}, rel=1e-6
    )
    share = {12: 1 / 12, 24: 2 / 24, 36: 3 / 36}
    assert found.pop("sweep/share_diverged") == pytest.approx(share, rel=1e-6)
    assert not found


def test_the_best_is_the_best_by_the_metric_of_the_study(tmp_path):
    with opened(tmp_path, "val_accuracy") as file:
        file.update([row(0.1, 0.5), row(0.2, 0.75)])
        file.update([row(0.05, 0.25)])
    best = scalars(tmp_path / tensorboard.NAME)["sweep/best_val_accuracy"]
    assert best == {2: 0.75, 3: 0.75}


def test_where_all_trials_diverged_there_is_no_best(tmp_path):
    with opened(tmp_path, "val_loss") as file:
        file.update([row(math.nan, math.nan, "diverged")])
    assert scalars(tmp_path / tensorboard.NAME) == {"sweep/share_diverged": {1: 1.0}}


def test_the_curves_of_the_chosen_trial_are_by_epoch(tmp_path):
    names = ("train_loss", "val_loss", "val_accuracy")
    curves = {name: np.arange(3, dtype=np.float32) + i for i, name in enumerate(names)}
    with opened(tmp_path, "val_loss") as file:
        file.write_curves(curves)
    assert scalars(tmp_path / tensorboard.NAME) == {
        f"chosen/{name}": {1: 0.0 + i, 2: 1.0 + i, 3: 2.0 + i}
        for i, name in enumerate(names)
    }


def test_a_resumed_study_begins_the_file_anew(tmp_path):
    for losses in ([0.5], [0.5, 0.25]):
        with opened(tmp_path, "val_loss") as file:
            for loss in losses:
                file.update([row(loss, 0.5)])
    assert len(list(tmp_path.iterdir())) == 1
    found = scalars(tmp_path / tensorboard.NAME)
    assert found["sweep/best_val_loss"] == {1: 0.5, 2: 0.25}


def test_what_was_written_can_be_read_while_the_study_goes_on(tmp_path):
    now = 1e9
    with opened(tmp_path, "val_loss", clock=lambda: now) as file:
        file.update([row(0.5, 0.5)])
        now += tensorboard.INTERVAL
        file.update([row(0.25, 0.5)])
        found = scalars(tmp_path / tensorboard.NAME)
    assert found["sweep/best_val_loss"] == {1: 0.5, 2: 0.25}


def test_a_file_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OSError, match="missing"):
        tensorboard.EventFile(
            tmp_path / "missing" / tensorboard.NAME / "deeper", "val_loss"
        )


def test_without_tensorboardx_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'linclf_jax\[tensorboard\]'"):
        tensorboard.require()


def test_records_of_progress_are_recorded_until_the_end(tmp_path):
    with tensorboard.recording(tmp_path, "val_loss") as events:
        progress.begin(3, "val_loss")
        progress.update([row(0.5, 0.5)], restored=True)
        progress.update([])  # a sign of life is no news
        progress.update([row(0.25, 0.5)])
        progress.end()
        events.write_curves({"val_loss": np.ones(1)})
    progress.update([row(0.125, 0.5)])
    found = scalars(tmp_path / tensorboard.NAME)
    assert found["sweep/best_val_loss"] == {1: 0.5, 2: 0.25}
    assert found["chosen/val_loss"] == {1: 1.0}
