"""The benchmark of paths: problems as described, and nothing that counts unproved."""

import json
import math
import time

import numpy as np
import pytest

from experiments.benchmarks import growth, passes, path, peers, problems, turns
from experiments.benchmarks.passes import Pass, Step
from experiments.benchmarks.path import BenchmarkConfig
from experiments.benchmarks.turns import Settings
from linclf_jax.config import flat
from linclf_jax.figures import style
from linclf_jax.runs import formats
from tests.fuzz import valid_files

SHAPES = {
    "a": (180, 7, 10),
    "b": (2000, 25, 10),
    "c": (100, 2, 10),
    "d": (500, 76, 10),
    "e": (200, 204, 10),
    "f": (800, 76, 10),
}
GRIDS = dict.fromkeys("abf", (45, 1e-6)) | dict.fromkeys("cde", (11, 1e-5))


def tiny(l2s=(1.0, 0.1, 0.01)):
    data = problems.spectral((60, 4, 3), decay=0.5, separation=1.0)
    return problems.assemble("tiny", data, l2s)


@pytest.fixture
def data_dir(tmp_path):
    """A folder with a thousand images of 4 x 5 pixels, and their labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1000, 4, 5)).astype(np.uint8)
    labels = (np.arange(1000) // 10 % 10).astype(np.uint8)
    (tmp_path / problems.IMAGES).write_bytes(valid_files.idx(images))
    (tmp_path / problems.LABELS).write_bytes(valid_files.idx(labels))
    return tmp_path


@pytest.mark.parametrize("letter", "abcdef")
def test_every_problem_has_its_sizes_and_all_classes_everywhere(letter, data_dir):
    shape = SHAPES[letter]
    problem = problems.make(letter, 10, str(data_dir))
    assert (*problem.x.shape, problem.num_classes) == shape
    assert problem.shape == ",".join(map(str, shape))
    assert problem.x.dtype == np.float32
    for weights in problem.weights:
        assert set(problem.labels[weights == 1]) == set(range(shape[2]))
    np.testing.assert_array_equal(problem.weights.sum(axis=0), 4)
    count, low = GRIDS[letter]
    np.testing.assert_allclose(problem.l2s, np.geomspace(1, low, count))


def test_the_spectrum_is_a_power_law_and_the_means_stand_apart():
    x, labels = problems.spectral((40_000, 4, 2), decay=1.0, separation=2.0)
    rest = x - np.stack([x[labels == c].mean(axis=0) for c in (0, 1)])[labels]
    spread, basis = np.linalg.eigh(rest.T @ rest / len(x))
    scales = 1.0 / np.arange(1, 5)
    np.testing.assert_allclose(np.sqrt(spread[::-1]), scales, rtol=0.02)
    means = problems.spectral((400, 4, 400), 1.0, 2.0)[0] @ basis[:, ::-1]
    whole = np.sqrt(2.0**2 + 1.0) * scales  # one row a class: mean and spread
    assert np.linalg.norm(means) == pytest.approx(
        np.sqrt(400) * np.linalg.norm(whole), rel=0.1
    )


def test_a_single_fit_is_of_all_rows(monkeypatch):
    problem = tiny().single(0.1)
    assert (problem.num_folds, problem.l2s) == (1, (0.1,))
    np.testing.assert_array_equal(problem.weights, np.ones((1, 60)))
    sizes = []
    peer = scripted(monkeypatch, lambda _tolerance, _l2: 0.0)
    passes.walk(lambda x, y: sizes.append(len(x)) or peer(x, y), problem, 1, 1, 9.0)
    assert sizes == [60]


def test_a_probe_has_columns_of_a_power_law_in_float16():
    x, labels = problems.probe_data(10)
    assert (x.shape, x.dtype, labels.max()) == ((2400, 76), np.float16, 9)
    part = problems.make("f", 10)
    np.testing.assert_array_equal(part.x, x[:800].astype(np.float32))
    np.testing.assert_array_equal(part.labels, labels[:800])
    x = x.astype(np.float64)
    rest = x - np.stack([x[labels == c].mean(axis=0) for c in range(10)])[labels]
    np.testing.assert_allclose(rest.std(axis=0) * np.arange(1, 77), 1, rtol=0.06)


def test_few_shot_features_have_norm_1_and_pixels_are_shares_of_white(data_dir):
    few = problems.make("d", 10)
    np.testing.assert_allclose(np.linalg.norm(few.x, axis=1), 1, rtol=1e-6)
    assert set(np.bincount(few.labels)) == {50}
    pixels = problems.make("c", 1, str(data_dir)).x
    assert (pixels.shape, pixels.min(), pixels.max()) == ((1000, 20), 0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("z",), "--problems names 'z'; expected some of a, b, c, d, e, f"),
        (("a", 0), "--scale is 0; expected 1 to 20"),
        (("a", 21), "--scale is 21"),
        (("c",), "expected --data_dir, a folder with train-images"),
        (("c", 1, "/nowhere"), "/nowhere/train-images"),
    ],
)
def test_what_is_no_problem_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        problems.make(*arguments)


def test_images_without_their_labels_are_refused(data_dir):
    labels = data_dir / problems.LABELS
    labels.write_bytes(valid_files.idx(np.zeros(999, np.uint8)))
    with pytest.raises(ValueError, match=r"labels of shape \(999,\) up to 0"):
        problems.make("c", 1, str(data_dir))


@pytest.mark.parametrize("name", peers.PEERS)
def test_every_peer_solves_the_objective_on_the_rows_of_a_fold(name):
    problem = tiny()
    kept = problem.folds != 2
    fit = peers.PEERS[name](problem.x[kept], problem.labels[kept])
    # In float64 what is left is the bound of rounding: to make the means of 40 rows
    # equal costs up to (40 + 2 C + 40) 2^-53 of twice the loss and the penalty.
    tolerance, bound = (1e-5, 1e-6) if name.endswith("32") else (1e-9, 1e-12)

    def gap(params, l2, fold):
        weights = problem.weights[[fold]]
        return passes.relative_gaps(problem, params, l2, weights)[0][0]

    for l2 in (0.1, 0.01):
        fitted = fit(l2, tolerance)
        assert gap(fitted.params, l2, fold=2) <= bound
        assert fitted.iterations > 1
    assert fit(0.01, 10 * tolerance).iterations <= 1  # it starts where it ended
    assert gap(fitted.params, 0.01, fold=0) > 1e-4  # no solution of another fold's rows


def test_a_hessian_that_does_not_fit_is_refused(monkeypatch):
    problem = tiny()
    monkeypatch.setattr(peers.memory, "host_available", lambda: 3599)
    why = peers.refusal("newton-cholesky:float64", problem)
    assert why == "skipped: its Hessian and a copy take 3.5 KiB, 3.5 KiB is left"
    assert peers.refusal("newton-cg:float64", problem) is None
    monkeypatch.setattr(peers.memory, "host_available", lambda: 3600)
    assert peers.refusal("newton-cholesky:float64", problem) is None


def scripted(monkeypatch, gap, norm=0.0):
    """A peer whose every solution has the gap that ``gap(tolerance, l2)`` says."""

    def relative_gaps(problem, params, l2, weights):
        return np.array([gap(params, l2)]), np.array([norm])

    monkeypatch.setattr(passes, "relative_gaps", relative_gaps)
    return lambda _x, _labels: lambda _l2, tolerance: peers.Fitted(tolerance, 2)


def search(peer, limit=math.inf):
    lines = []
    return passes.search(peer, tiny(), 5, limit, lines.append), lines


def test_a_peer_gets_the_rows_that_its_solutions_are_judged_by():
    peer = peers.PEERS["newton-cholesky:float64"]
    done = passes.walk(peer, tiny(), 1e-6, 5, math.inf)
    assert (done.status, len(done.steps)) == ("ok", 15)


def test_the_loosest_tolerance_that_misses_nowhere_is_searched(monkeypatch):
    peer = scripted(monkeypatch, lambda tolerance, l2: 9e-5 * tolerance / l2)
    done, lines = search(peer)
    assert done.tolerance == pytest.approx(1e-4)
    assert (done.status, len(done.steps)) == ("ok", 15)
    assert done.worst == pytest.approx(9e-7)
    assert [line.split(",")[0] for line in lines] == [
        "tolerance 1e-01: misses at l2=1.0e+00",
        "tolerance 1e-02: misses at l2=1.0e-01",
        "tolerance 1e-03: misses at l2=1.0e-02",
        "tolerance 1e-04: ok",
    ]


def test_a_pass_ends_at_the_first_miss_or_when_it_takes_too_long(monkeypatch):
    peer = scripted(monkeypatch, lambda _, l2: 0.0 if l2 == 1 else math.nan)
    missed = passes.walk(peer, tiny(), 1e-3, 5, math.inf)
    assert missed.status == "misses at l2=1.0e-01, 2 of 15 fits"
    assert math.isnan(missed.worst)
    stopped, _ = search(peer, limit=0.0)
    assert stopped.tolerance == 0.1
    assert stopped.status == "stopped after 0.0 s at l2=1.0e+00, 1 of 15 fits"
    peer = scripted(monkeypatch, lambda _tolerance, _l2: 1.0)
    stopped, lines = search(peer, limit=0.0)
    assert stopped.status == "misses at l2=1.0e+00, 1 of 15 fits, stopped after 0.0 s"
    assert len(lines) == 1


def test_a_peer_that_no_tolerance_helps_is_given_up(monkeypatch):
    # 15 unknowns: no gradient of this norm has all entries below 0.0051.
    peer = scripted(monkeypatch, lambda _tolerance, _l2: 1.0, norm=0.02)
    assert search(peer)[0].tolerance == pytest.approx(1e-3)
    peer = scripted(monkeypatch, lambda _tolerance, _l2: 1.0)
    assert search(peer)[0].tolerance == pytest.approx(1e-12)


def test_certificates_and_preparation_take_no_time(monkeypatch):
    peer = scripted(monkeypatch, lambda _tolerance, _l2: time.sleep(0.02) or 0.0)

    def slow(x, labels):
        time.sleep(0.02)
        return peer(x, labels)

    assert passes.walk(slow, tiny(), 1.0, 5, math.inf).seconds < 0.02


def test_every_solver_has_a_row_and_nothing_counts_unproved(monkeypatch):
    monkeypatch.setattr(peers.memory, "host_available", lambda: 0)
    names = ("newton-cg:float64", "newton-cholesky:float64", "lbfgs:float64")
    rows = turns.run(tiny(), Settings(names, repeats=2, peer_folds=2))
    ours, first, refused, second = rows
    assert [row["solver"] for row in rows] == ["linclf_jax", *names]
    assert [row["status"] for row in (ours, first, second)] == ["ok"] * 3
    assert all(0 < r["worst_gap"] <= 1e-6 for r in (ours, first, second))
    assert 0 < ours["seconds"] < ours["cold"]
    assert first["ratio"] == pytest.approx(first["seconds"] / ours["seconds"])
    assert first["measured"] == "2 of 5 folds, x 2.5"
    assert len(first["turns"]) == 2
    assert ours["steps"] >= 15
    assert refused["status"].startswith("skipped")
    assert refused["seconds"] is refused["measured"] is None
    lines = formats.encode_rows(rows).splitlines()
    assert [json.loads(line)["solver"] for line in lines] == ["linclf_jax", *names]


def test_what_our_solver_says_of_itself_does_not_count():
    problem = tiny()
    ours = turns.follow(problem)
    assert turns._our_row(problem, ours, [ours])["status"] == "ok"
    worse = tuple(
        point._replace(params=point.params._replace(W=1.01 * point.params.W))
        for point in ours.points
    )
    row = turns._our_row(problem, ours, [ours._replace(points=worse)])
    assert row["status"] == "misses"
    assert row["worst_gap"] > 1e-6


def done(seconds, gap=0.0):
    return Pass(0.1, (Step(1.0, seconds, 3, gap, 0.0),), planned=1)


def test_a_peer_gets_five_times_the_fastest_that_got_there():
    each = {"a": [done(20.0), done(30.0)], "b": [done(0.1, gap=1.0)], "c": []}
    assert turns._limit(each, None) == 100.0
    assert turns._limit({"a": [done(1.0)]}, None) == 60.0
    assert turns._limit(each, 7.0) == 7.0
    assert turns._limit({"b": each["b"], "c": []}, None) == math.inf


def test_a_peer_has_seconds_only_where_it_never_missed():
    row = turns.peer_row(tiny(), 1, [done(2.0), done(4.0), done(3.0)], 0.5)
    assert (row["seconds"], row["ratio"], row["steps"]) == (15.0, 30.0, 15)
    assert row["measured"] == "1 of 5 folds, x 5"
    assert row["tolerance"] == 0.1
    for passed in ([done(2.0, gap=1.0)], [done(2.0), done(1.0, gap=1.0)]):
        row = turns.peer_row(tiny(), 1, passed, 0.5)
        assert "seconds" not in row
        assert row["worst_gap"] == 1.0
        assert row["status"] == "misses at l2=1.0e+00, 1 of 1 fits"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"peers": ("sag",)}, "--peers is 'sag'; expected one of newton-cg:float64"),
        ({"peer_folds": 0}, "--peer_folds is 0; expected 1 to 5"),
        ({"peer_folds": 6}, "--peer_folds is 6"),
        ({"repeats": 0}, "--repeats is 0; expected at least 1"),
        ({"peer_limit": -1.0}, "--peer_limit is -1.0; expected at least 0"),
    ],
)
def test_bad_flags_are_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        path.run_benchmark(flat.build(BenchmarkConfig(), flags))


def test_a_longer_path_needs_more_products():
    sizes = growth.Sizes(60, 4, 3, lanes=5, inverse_l2=10.0)
    short, long = (
        growth.measure(sizes._replace(inverse_l2=end), 1) for end in (10.0, 100.0)
    )
    assert 0 < short.products < long.products
    assert min(short.seconds, long.seconds) > 0


def test_the_growth_is_drawn_as_measured_and_the_middle_is_measured_once(
    tmp_path, monkeypatch
):
    measured = []

    def measure(sizes, repeats):
        measured.append(sizes)
        return growth.Cost(1e-6 * math.prod(sizes[:3]), sizes.lanes)

    monkeypatch.setattr(growth, "measure", measure)
    drawn = []
    monkeypatch.setattr(style, "png", lambda figure: drawn.append(figure) or b"png")
    growth.run(tmp_path / "growth.png", scale=2, repeats=1)
    assert (tmp_path / "growth.png").read_bytes() == b"png"
    assert len(measured) == len(set(measured)) == 21
    axes = drawn[0].axes
    sizes = [axis.get_xlabel() for axis in axes[5:]]
    assert sizes == ["rows", "features", "classes", "lanes", "1 / l2"]
    x, y = axes[0].lines[0].get_data()
    np.testing.assert_array_equal(x, [500, 1000, 2000, 4000, 8000])
    np.testing.assert_allclose(y, 1e-6 * x * 64 * 10)
    assert axes[0].get_title("left") == "slope 1.00"
    assert axes[5].get_title("left") == "slope 0.00"
    assert axes[8].get_title("left") == "slope 1.00"
