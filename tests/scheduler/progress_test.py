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


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


@pytest.fixture
def events():
    handler = Noting()
    with progress.attached(handler):
        yield handler.events


@pytest.mark.parametrize("halving", [None, 3])
def test_a_study_says_what_is_done_and_when_it_ends(halving, events):
    """Each trial once, and what an earlier process did as restored."""
    store = None
    for restored in (False, True):
        events.clear()
        store = sweeps.fit(store, halving=halving).store
        begin, *updates, end = events
        assert (begin, end) == (Begin(16, "val_loss"), End())
        assert [type(event) for event in updates] == [Update] * len(updates)
        trials = [row["trial"] for event in updates for row in event.rows]
        assert sorted(trials) == list(range(16))
        if halving is None:
            assert {event.restored for event in updates} == {restored}


def test_there_is_a_sign_of_life_while_nothing_ends(events, monkeypatch):
    monkeypatch.setattr(scheduler, "TICK", 1e-4)
    sweeps.fit()
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
