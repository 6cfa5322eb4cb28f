"""The benchmark of a device: its parts, what becomes of one that fails, its limit."""

import json

import pytest

from experiments.benchmarks import device, sweep
from experiments.benchmarks.device import DeviceConfig, Part
from linclf_jax.cli import main

COLUMNS = ("value", "status")


def run(*flags):
    return main.run(device.SCRIPT, list(flags))


@pytest.fixture
def parts(monkeypatch):
    """Four parts: one of each outcome."""

    def fail():
        raise MemoryError("no room\nfor this")

    every = [
        Part("good", COLUMNS, lambda: [{"value": 1, "status": "ok"}]),
        Part("failing", COLUMNS, fail),
        Part("missing", COLUMNS, lambda: [{"value": n, "status": n} for n in "ab"]),
        Part("other", ("other",), lambda: [{"other": 7}]),
    ]
    monkeypatch.setattr(device, "every_part", lambda _: every)


def test_a_part_that_fails_is_recorded_and_the_next_begins(tmp_path, capsys, parts):
    file = tmp_path / "rows.jsonl"
    assert run(f"--json={file}") == 1
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0] == {"part": "good", "value": 1, "status": "ok"}
    outcomes = [line for line in lines if "error" in line]
    assert [(one["part"], one["rows"], one["status"]) for one in outcomes] == [
        ("good", 1, "ok"),
        ("failing", 0, "MemoryError: no room"),
        ("missing", 2, "2 of 2 rows are not ok"),
        ("other", 1, "ok"),
    ]
    assert outcomes[1]["error"].endswith("MemoryError: no room\nfor this\n")
    assert outcomes[0]["error"] is None
    out = capsys.readouterr().out
    first, second, last = out.removesuffix("\n\n").split("\n\n")
    assert first.split() == ["value", "status", "1", "ok", "a", "a", "b", "b"]
    assert second.split() == ["other", "7"]
    assert last.splitlines()[2].endswith("MemoryError: no room")


def test_what_is_left_after_the_limit_is_skipped_and_said_to_be(
    tmp_path, capsys, parts, monkeypatch
):
    clock = iter([1000.0, 1000.0, 1059.0, 1060.0, 1061.0])
    monkeypatch.setattr(device.time, "monotonic", lambda: next(clock))
    file = tmp_path / "rows.jsonl"
    assert run("--minutes=1", f"--json={file}") == 1
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    left = [one["part"] for one in lines if one["status"] == "skipped: no time is left"]
    assert left == ["missing", "other"]
    table = capsys.readouterr().out.removesuffix("\n\n").split("\n\n")[-1]
    assert table.count("skipped: no time is left") == 2


def test_parts_are_named_by_their_beginnings(parts, capsys):
    assert run("--parts=go,other") == run("--minutes=0") == 0
    assert run("--parts=missing") == 1
    capsys.readouterr()
    assert run("--parts=go") == 0
    assert "failing" not in capsys.readouterr().out
    assert run("--parts=go,nothing") == 2
    message = "--parts names 'nothing'; expected beginnings of good, failing, missing"
    assert message in capsys.readouterr().err


def test_there_is_a_part_for_each_shape_and_precision_and_problem():
    names = [part.name for part in device.every_part(DeviceConfig(data_dir="images"))]
    assert len(names) == len(set(names))
    for shape in sweep.SHAPES:
        own = [name for name in names if name.startswith(f"sweep:{shape}:")]
        assert len(own) == 3
    assert {name for name in names if "path" in name} == {f"path:{c}" for c in "abcdef"}
    assert {name for name in names if "single" in name} == {
        f"single:{c}" for c in "acef"
    }
    without = {part.name for part in device.every_part(DeviceConfig())}
    assert set(names) - without == {"path:c", "single:c"}


def test_tests_that_fail_or_take_too_long_are_reported(monkeypatch):
    monkeypatch.setattr(device, "TESTS", ("nothing", "package"))
    monkeypatch.setattr(device, "TEST_SECONDS", 30)
    missing, passing = device.run_tests()
    assert (missing["tests"], passing["status"]) == ("nothing", "ok")
    assert "file or directory not found: tests/nothing_test.py" in missing["output"]
    assert missing["status"] != "ok"
    assert "passed" in passing["summary"]
    monkeypatch.setattr(device, "TEST_SECONDS", 0.01)
    assert {row["status"] for row in device.run_tests()} == {"stopped after 0.01 s"}


def test_every_kind_of_part_runs_on_a_cpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(device, "SINGLE_L2S", (0.1,))
    names = "environment,path:a,sweep:64x10x128x1024:default,single:f"
    file = tmp_path / "rows.jsonl"
    flags = ["--scale=20", "--repeats=1", f"--parts={names}", f"--json={file}"]
    assert run(*flags) == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["devices"]["backend"] == "cpu"
    outcomes = {line["part"]: line for line in lines if "error" in line}
    assert {one["status"] for one in outcomes.values()} == {"ok"}
    assert outcomes["path:a"]["rows"] == 2
    ours, peer = (one for one in lines if one.get("problem") == "digits")
    assert peer["ratio"] == pytest.approx(peer["seconds"] / ours["seconds"])
    precisions = {one["precision"] for one in lines if "precision" in one}
    assert precisions == {"default"}
    assert "3,10,6,51" in capsys.readouterr().out
