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
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        head, body = data[:12], data[12 : 12 + length]
        check = data[12 + length : 16 + length]
        for text, sum_ in ((head[:8], head[8:]), (body, check)):
            assert struct.unpack("<I", sum_)[0] == record_writer.masked_crc32c(text)
        events.append(event_pb2.Event.FromString(body))
        data = data[16 + length :]
    return events


def scalars(path):
    """Returns {tag: {step: value}}."""
    tags = {}
    for event in read(path)[1:]:
        for value in event.summary.value:
            steps = tags.setdefault(value.tag, {})
            assert event.step not in steps
            steps[event.step] = value.simple_value
    return tags


def opened(*arguments, **options):
    return contextlib.closing(tensorboard.EventFile(*arguments, **options))


def row(val_loss, val_accuracy, status="ok"):
    scores = {"val_loss": val_loss, "val_accuracy": val_accuracy}
    return {"trial": 0, "status": status, **scores}


def test_the_spread_is_over_the_usable_trials_so_far(tmp_path):
    generator = np.random.default_rng(0)
    loss, accuracy = generator.random((2, 30))
    with opened(tmp_path, "val_loss") as file:
        for start in range(0, 30, 10):
            batch = slice(start, start + 10)
            bad = [row(None, None, "diverged"), row(0.0, 1.0, "retired")]
            file.update([*map(row, loss[batch], accuracy[batch]), *bad])
    tags = scalars(tmp_path / tensorboard.NAME)
    steps = {12: 10, 24: 20, 36: 30}  # trials done: usable trials
    for name, values in (("val_loss", loss), ("val_accuracy", accuracy)):
        for level in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1):
            assert tags.pop(f"{name}/quantile_{level}") == pytest.approx(
                {step: np.quantile(values[:ok], level) for step, ok in steps.items()},
                rel=1e-6,  # float32 in the file
            )
    assert tags.pop("sweep/best_val_loss") == pytest.approx(
        {step: loss[:ok].min() for step, ok in steps.items()}, rel=1e-6
    )
    share = {12: 1 / 12, 24: 2 / 24, 36: 3 / 36}
    assert tags.pop("sweep/share_diverged") == pytest.approx(share, rel=1e-6)
    assert not tags


def test_the_best_is_the_best_by_the_metric_of_the_study_if_there_is_any(tmp_path):
    with opened(tmp_path, "val_accuracy") as file:
        file.update([row(math.nan, math.nan, "diverged")])
        file.update([row(0.1, 0.5), row(0.2, 0.75)])
        file.update([row(0.05, 0.25)])
    tags = scalars(tmp_path / tensorboard.NAME)
    assert tags["sweep/best_val_accuracy"] == {3: 0.75, 4: 0.75}
    assert tags["sweep/share_diverged"] == {1: 1.0, 3: pytest.approx(1 / 3), 4: 0.25}


def test_a_resumed_study_begins_the_file_anew(tmp_path):
    for losses in ([0.5], [0.5, 0.25]):
        with opened(tmp_path, "val_loss") as file:
            for loss in losses:
                file.update([row(loss, 0.5)])
    (path,) = tmp_path.iterdir()
    assert "tfevents" in path.name
    first, *others = read(path)
    assert first.file_version == "brain.Event:2"
    assert len(others) == 2
    assert all(event.wall_time > 1.7e9 for event in (first, *others))
    assert scalars(path)["sweep/best_val_loss"] == {1: 0.5, 2: 0.25}


def test_what_was_written_can_be_read_while_the_study_goes_on(tmp_path):
    now = 1e9
    with opened(tmp_path, "val_loss", clock=lambda: now) as file:
        file.update([row(0.5, 0.5)])
        now += tensorboard.INTERVAL
        file.update([row(0.25, 0.5)])
        tags = scalars(tmp_path / tensorboard.NAME)
    assert tags["sweep/best_val_loss"] == {1: 0.5, 2: 0.25}


def test_a_file_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OSError, match="missing"):
        tensorboard.EventFile(
            tmp_path / "missing" / tensorboard.NAME / "deeper", "val_loss"
        )


def test_without_tensorboardx_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'linclf_jax\[tensorboard\]'"):
        tensorboard.require()


def test_records_of_progress_are_recorded_and_the_curves_by_epoch(tmp_path):
    with tensorboard.recording(tmp_path, "val_loss") as events:
        progress.begin(3, "val_loss")
        progress.update([row(0.5, 0.5)], restored=True)
        progress.update([])  # a sign of life is no news
        progress.update([row(0.25, 0.5)])
        progress.end()
        curves = {"train_loss": np.arange(3.0), "val_loss": np.ones(3, np.float32)}
        events.write_curves(curves)
    progress.update([row(0.125, 0.5)])
    tags = scalars(tmp_path / tensorboard.NAME)
    assert tags["sweep/best_val_loss"] == {1: 0.5, 2: 0.25}
    assert tags["chosen/train_loss"] == {1: 0.0, 2: 1.0, 3: 2.0}
    assert tags["chosen/val_loss"] == {1: 1.0, 2: 1.0, 3: 1.0}
