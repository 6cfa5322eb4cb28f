"""Records of how far a study is, which nobody sees who has not asked for them."""

import logging

import pytest

from linclf_jax.scheduler import progress, scheduler, signals
from linclf_jax.scheduler.progress import Begin, End, Update
from tests import sweeps


class Noting(logging.Handler):
    def __init__(self):
        super().__init__()
        self.events = []

    def emit(self, record):
        self.events.append(record.progress)


@pytest.fixture
def events():
    handler = Noting()
    with progress.attached(handler):
        yield handler.events


def test_a_study_says_what_is_done_and_when_it_ends(events):
    sweeps.fit()
    assert events[0] == Begin(16, "val_loss")
    assert events[-1] == End()
    updates = events[1:-1]
    assert [type(event) for event in updates] == [Update] * len(updates)
    trials = [row["trial"] for event in updates for row in event.rows]
    assert sorted(trials) == list(range(16))
    assert not any(event.restored for event in updates)


def test_what_an_earlier_process_did_is_restored(events):
    store = sweeps.fit().store
    events.clear()
    sweeps.fit(store)
    assert all(event.restored for event in events[1:-1])


def test_of_halving_each_trial_is_done_once(events):
    sweeps.fit(halving=3)
    done = [row["trial"] for event in events[1:-1] for row in event.rows]
    assert sorted(done) == list(range(16))


def test_there_is_a_sign_of_life_while_nothing_ends(events, monkeypatch):
    monkeypatch.setattr(scheduler, "TICK", 1e-3)
    sweeps.fit(epochs=(200,))
    assert Update([], False) in events


def test_the_end_is_said_of_a_study_that_is_stopped(events):
    study = sweeps.prepare()
    stop = signals.Stop()
    stop.requested = lambda: "SIGTERM"
    with pytest.raises(signals.Stopped, match="stopped by SIGTERM: 0 of 16 trials"):
        study.fit(sweeps.MemoryStore(), stop)
    assert events == [Begin(16, "val_loss"), End()]


def test_without_a_handler_nothing_is_seen(capfd):
    progress.begin(1, "val_loss")
    progress.update([])
    progress.end()
    assert capfd.readouterr() == ("", "")
