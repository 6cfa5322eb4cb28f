"""The benchmark of single fits: what it compares, and the arithmetic of its table."""

import json

import numpy as np
import pytest

from experiments.benchmarks import path, problems, single
from experiments.benchmarks.turns import Settings
from linclf_jax.cli import main

ABOUT = {"problem": "tiny", "shape": "60,4,3", "device": "cpu"}
OURS = ABOUT | {"seconds": 2.0, "cold": 9.0, "steps": 4, "products": 7}
OURS |= {"worst_gap": 1e-7, "status": "ok", "turns": [2.0], "solver": "linclf_jax"}


def peer(name, seconds, status="ok"):
    row = {"solver": name, "status": status, "tolerance": 1e-4, "turns": [seconds]}
    return row | ({"seconds": seconds, "ratio": seconds / 2.0} if seconds else {})


def test_the_faster_peer_stands_beside_ours():
    row = single.compare(0.1, [OURS, peer("slow", 8.0), peer("fast", 6.0)])
    assert (row["peer"], row["peer_seconds"], row["ratio"]) == ("fast", 6.0, 3.0)
    assert (row["seconds"], row["cold"], row["gap"]) == (2.0, 9.0, 1e-7)
    assert (row["l2"], row["status"]) == (0.1, "ok")


def test_who_misses_the_gap_has_no_ratio_and_says_so():
    stopped = peer("fast", None, "misses at l2=1.0e-01, 1 of 1 fits")
    row = single.compare(0.1, [OURS, stopped, peer("slow", 8.0)])
    assert (row["peer"], row["ratio"]) == ("slow", 4.0)
    assert row["status"] == "fast misses at l2=1.0e-01, 1 of 1 fits"
    alone = single.compare(0.1, [OURS, stopped])
    assert alone["peer"] is alone["ratio"] is None
    missed = single.compare(0.1, [OURS | {"status": "misses"}, peer("slow", 8.0)])
    assert (missed["ratio"], missed["status"]) == (None, "linclf_jax misses")


def test_the_summary_has_the_worst_and_the_median_of_what_counts():
    rows = [{"problem": "p", "l2": l2, "ratio": l2 * 10} for l2 in (0.4, 0.05, 0.1)]
    unknown = {"problem": "p", "l2": 1e-9, "ratio": None}
    line = single.summary([*rows, unknown])
    assert line == "worst ratio 0.5 (p, l2 0.05), median 1, of 3 of 4 fits"
    line = single.summary([unknown])
    assert line == "no ratio: none of 1 fits has a peer that reaches the gap"


def test_every_penalty_is_solved_from_nothing():
    data = problems.spectral((60, 4, 3), decay=0.5, separation=1.0)
    problem = problems.assemble("tiny", data, (1.0,))
    settings = Settings(("lbfgs:float32", "newton-cg:float64"), repeats=1)
    rows = single.run(problem, settings)
    assert [row["l2"] for row in rows] == list(single.L2S)
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert row["peer"] == "newton-cg:float64"
        assert row["ratio"] == pytest.approx(row["peer_seconds"] / row["seconds"])
        assert row["seconds"] < row["cold"]
        assert 0 < row["gap"] <= 1e-6
    assert np.all(np.diff([row["steps"] for row in rows]) >= 0)


def test_the_script_prints_and_keeps_a_row_for_each_fit(tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    flags = ["--single", "--problems=a", "--scale=20", "--repeats=1"]
    assert main.run(path.SCRIPT, [*flags, f"--json={file}"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("worst ratio ")
    assert last.endswith("of 4 of 4 fits")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["problem"], row["l2"]) for row in rows] == [
        ("digits", l2) for l2 in single.L2S
    ]
