"""What is shown while trials are fitted, in a log file and in a terminal."""

import io
import math

import pytest

from linclf_jax.cli import progress
from linclf_jax.scheduler import progress as records


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class Gone(io.StringIO):
    """A terminal whose window was closed."""

    def write(self, _):
        raise OSError(5, "Input/output error")


def row(val_loss=0.5, val_accuracy=0.75, status="ok"):
    scores = {"val_loss": val_loss, "val_accuracy": val_accuracy}
    return {"trial": 0, "status": status, **scores}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(clock):
    """Returns a log file to which records go."""
    stream = io.StringIO()
    with records.attached(progress.Handler(clock=clock, stream=stream)):
        yield stream


def last_line(log):
    """Ends the study and returns the line that says where it stood."""
    records.end()
    return log.getvalue().splitlines()[-1]


def test_a_log_file_gets_a_line_a_minute_and_one_at_the_end(clock, log):
    records.begin(100, "val_loss")
    for _ in range(25):  # 250 seconds
        clock.wait(10)
        records.update([row()])
    records.end()
    lines = log.getvalue().splitlines(keepends=True)
    assert [line.split(" of ")[0] for line in lines] == ["6", "12", "18", "24", "25"]
    assert all(line.endswith("\n") for line in lines)
    assert not {"\r", "\x1b"} & set(log.getvalue())


def test_a_line_says_how_far_how_well_and_how_long(clock, log):
    records.begin(100, "val_loss")
    clock.wait(4)
    rows = [row(0.5), row(0.25), *[row(math.nan, status="diverged")] * 6]
    records.update(rows)
    assert last_line(log) == (
        "8 of 100 trials, 6 diverged, best val_loss 0.2500, 2 trials/s, 0:00:46 left"
    )


def test_each_study_is_counted_anew(log):
    for total in (3, 4):
        records.begin(total, "val_loss")
        records.update([row(total)])
        assert last_line(log).startswith(f"1 of {total} trials, best val_loss {total}.")
    records.update([row()])  # of nothing that has begun
    assert len(log.getvalue().splitlines()) == 2


@pytest.mark.parametrize(
    ("metric", "best"), [("val_loss", "0.1000"), ("val_accuracy", "0.9000")]
)
def test_the_best_is_the_best_by_the_metric_of_the_study(metric, best, log):
    records.begin(9, metric)
    records.update([row(0.3, 0.7), row(0.1, 0.5), row(0.4, 0.9)])
    # What is no score, and a trial that did not end well, is never the best.
    records.update([row(0.2, 0.8), row(0.01, 0.99, status="diverged")])
    records.update([row(score, score) for score in (None, math.nan)])
    assert f"best {metric} {best}" in last_line(log)


def test_without_a_score_there_is_no_best(log):
    records.begin(9, "val_loss")
    records.update([row(-math.inf), row(None), row(0.01, status="retired")])
    assert "best" not in last_line(log)


def test_a_retired_trial_is_done_and_has_not_diverged(log):
    records.begin(3, "val_loss")
    records.update([row(status="retired"), row()])
    assert last_line(log).startswith("2 of 3 trials, best")


def test_trials_that_are_left_out_are_waited_for_no_more(log):
    records.begin(9, "val_loss")
    records.update([row(0.5)] * 4)
    records.update([], left_out=5)
    records.end()
    assert last_line(log).startswith("4 of 4 trials, best val_loss 0.5000")


def test_restored_trials_are_done_but_not_fast(clock, log):
    records.begin(100, "val_loss")
    clock.wait(progress.INTERVAL)  # reading the batches
    records.update([row(0.2)] * 50, restored=True)
    assert log.getvalue() == "50 of 100 trials, best val_loss 0.2000\n"
    clock.wait(5)
    records.update([row()] * 10)
    assert last_line(log).endswith("2 trials/s, 0:00:20 left")


def test_a_terminal_gets_a_bar_that_ends_complete(clock):
    terminal = Terminal()
    with records.attached(progress.Handler(clock=clock, stream=terminal)):
        records.begin(4, "val_loss")
        for _ in range(2):
            clock.wait(1)
            records.update([row(0.125)] * 2)
        clock.wait(6)
        records.end()
    last = terminal.getvalue().rstrip("\n").split("\r")[-1]
    assert last == (
        "4 of 4 trials, best val_loss 0.1250, 0.5 trials/s, took 0:00:08 |##########|"
    )
    assert terminal.getvalue().endswith("\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_window_that_is_closed_does_not_end_the_study(terminal, clock):
    stream = Gone()
    stream.isatty = lambda: terminal
    with records.attached(progress.Handler(clock=clock, stream=stream)):
        records.begin(100, "val_loss")
        clock.wait(100)
        records.update([row()])
        records.end()


def test_a_sweep_that_would_take_ages_still_shows_a_time():
    assert progress.duration(1e300) == "366 days, 0:00:00"
