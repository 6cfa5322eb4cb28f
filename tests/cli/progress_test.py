"""What is shown while a sweep runs, in a log file and in a terminal."""

import contextlib
import io
import math

import pytest

from linclf_jax.cli import progress


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


def shown(total=100, by="val_loss", stream=None):
    clock, stream = Clock(), stream or io.StringIO()
    return progress.Progress(total, by, clock=clock, stream=stream), clock, stream


def test_a_log_file_gets_a_line_a_minute_and_one_at_the_end():
    bar, clock, log = shown()
    with bar:
        for _ in range(25):  # 250 seconds
            clock.wait(10)
            bar.update([row()])
    lines = log.getvalue().splitlines(keepends=True)
    assert [line.split(" of ")[0] for line in lines] == ["6", "12", "18", "24", "25"]
    assert all(line.endswith("\n") for line in lines)
    assert not {"\r", "\x1b"} & set(log.getvalue())


def test_a_line_says_how_far_how_well_and_how_long():
    bar, clock, _ = shown(total=100)
    with bar:
        clock.wait(4)
        bar.update([row(0.5), row(0.25), *[row(math.nan, status="diverged")] * 6])
        assert bar.line() == (
            "8 of 100 lanes, 6 diverged, best val_loss 0.2500, 2 lanes/s, 0:00:46 left"
        )


def test_the_last_line_says_how_long_it_took():
    bar, clock, log = shown(total=2)
    with bar:
        clock.wait(83)
        bar.update([row()] * 2)
    assert log.getvalue().splitlines()[-1].endswith(", took 0:01:23")


def test_a_run_that_fails_says_how_far_it_was():
    bar, _, log = shown()
    with contextlib.suppress(KeyError), bar:
        bar.update([row()])
        raise KeyError
    assert log.getvalue().startswith("1 of 100 lanes")


@pytest.mark.parametrize(
    ("by", "best"), [("val_loss", "0.1000"), ("val_accuracy", "0.9000")]
)
def test_the_best_is_the_best_by_the_criterion_of_the_run(by, best):
    bar, _, _ = shown(by=by)
    bar.update([row(0.3, 0.7), row(0.1, 0.5), row(0.4, 0.9)])
    bar.update([row(0.2, 0.8)])
    assert f"best {by} {best}" in bar.line()


@pytest.mark.parametrize("score", [None, math.nan, -math.inf])
@pytest.mark.parametrize("by", ["val_loss", "val_accuracy"])
def test_what_is_no_score_is_never_the_best(by, score):
    bar, _, _ = shown(by=by)
    bar.update([row(score, score)])
    assert "best" not in bar.line()
    bar.update([row(), row(score, score)])
    assert f"best {by}" in bar.line()


@pytest.mark.parametrize("status", ["diverged", "retired"])
def test_only_lanes_that_ended_well_can_be_the_best(status):
    bar, _, _ = shown()
    bar.update([row(0.01, status=status), row(0.5)])
    assert "best val_loss 0.5000" in bar.line()


def test_a_retired_lane_is_done_and_has_not_diverged():
    bar, _, _ = shown(total=3)
    bar.update([row(status="retired"), row()])
    assert bar.line().startswith("2 of 3 lanes, best")


def test_restored_lanes_are_done_but_not_fast():
    bar, clock, _ = shown(total=100)
    with bar:
        clock.wait(7)  # reading the pieces
        bar.update([row(0.2)] * 50, restored=True)
        assert bar.line() == "50 of 100 lanes, best val_loss 0.2000"
        clock.wait(5)
        bar.update([row()] * 10)
        assert "60 of 100 lanes" in bar.line()
        assert "2 lanes/s, 0:00:20 left" in bar.line()


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="val_loss, val_accuracy"):
        progress.Progress(1, "test_loss")


def test_a_terminal_gets_a_bar_that_ends_complete():
    bar, clock, terminal = shown(total=4, stream=Terminal())
    with bar:
        for _ in range(2):
            clock.wait(1)
            bar.update([row(0.125)] * 2)
        clock.wait(6)
    last = terminal.getvalue().rstrip("\n").split("\r")[-1]
    assert last == (
        "4 of 4 lanes, best val_loss 0.1250, 0.5 lanes/s, took 0:00:08 |##########|"
    )
    assert terminal.getvalue().endswith("\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_window_that_is_closed_does_not_end_the_sweep(terminal):
    stream = Gone()
    stream.isatty = lambda: terminal
    bar, clock, _ = shown(stream=stream)
    with bar:
        clock.wait(100)
        bar.update([row()])
    assert bar.line().startswith("1 of 100 lanes")


def test_a_sweep_that_would_take_ages_still_shows_a_time():
    assert progress.duration(1e300) == "366 days, 0:00:00"
