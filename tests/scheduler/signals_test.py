"""A stop is asked for by a signal and answered when the loop asks for it."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from linclf_jax.scheduler import signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def usual_handlers():
    """Whatever started the tests may have made them ignore Ctrl-C."""
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: pytest.fail("the handler from outside"))
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_is_noted_and_heard_once_and_raises_nothing(number, capfd):
    heard = []
    with signals.Stop() as stop:
        assert stop.requested() is None
        with signals.heard(heard.append):
            send(number)
            send(signal.SIGTERM)
        assert stop.requested() == number.name
    assert heard == [number.name]
    assert capfd.readouterr() == ("", "")


def test_the_first_signal_is_the_reason():
    with signals.Stop() as stop:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            send(number)
        assert stop.requested() == "SIGINT"


@pytest.mark.parametrize("first", signals.SIGNALS)
def test_ctrl_c_after_a_request_stops_at_once(first):
    with signals.Stop() as stop:
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert stop.requested() == first.name


def test_the_old_handlers_come_back_whatever_happens():
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    with contextlib.suppress(KeyError), signals.Stop():
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
        raise KeyError
    for number, handler in before.items():
        assert signal.getsignal(number) == handler


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.Stop() as stop:
        send(signal.SIGINT)
        assert stop.requested() is None
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_another_thread_can_ask_and_is_never_asked_to_stop():
    requested = []

    def work():
        with signals.Stop() as stop:
            requested.append(stop.requested())

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requested == [None]
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_stopped_a_run_is_told_in_one_line():
    stopped = signals.Stopped("SIGTERM", 384, 1024)
    assert str(stopped) == "stopped by SIGTERM: 384 of 1024 trials are done"
    assert (stopped.name, stopped.done, stopped.total) == ("SIGTERM", 384, 1024)
    assert str(signals.Interrupted(stopped, Path("runs/the one"))) == (
        "stopped by SIGTERM: 384 of 1024 trials are done and saved; the same command "
        "with --out_dir='runs/the one' goes on"
    )
