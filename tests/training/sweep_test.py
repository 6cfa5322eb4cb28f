"""Lanes and tiles: what is swept, and that nothing changes a lane's bits."""

import chex
import jax
import numpy as np
import pytest

from linclf_jax.selection import ranking
from linclf_jax.training import execution, search_space, states, trials
from linclf_jax.training import program as training
from linclf_jax.training.settings import Hparams, Static
from tests import problems

STATIC = Static(num_classes=3, batch_size=8, epochs=3)
WIDTH = 4
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FLOAT32 = np.dtype(np.float32)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(33, 5)).astype(np.float32)
    labels = rng.integers(0, 3, 33).astype(np.int32)
    return states.Data(x[:21], labels[:21], x[21:], labels[21:])


@pytest.fixture(scope="module")
def program(data):
    mesh = execution.make_mesh(jax.devices()[:1])
    return execution.build(STATIC, data, WIDTH, mesh)


def make_points(rates=RATES, **changes):
    return [search_space.Candidate(STATIC, Hparams(rate, **changes)) for rate in rates]


def make_trials(rates=RATES, seeds=(0,), **changes):
    return trials.make_trials(make_points(rates, **changes), seeds)


def look(steps, states):
    """Goes on."""


def run_tile(tile, program, data, damage=None):
    """The output of a tile; ``damage`` changes its state before the first step."""
    filled = trials.filled(tile, WIDTH, FLOAT32)
    start, last = execution.Start(filled), program.last_step
    if damage is not None:
        (begun,) = execution.run(program, [start], data, 1, look)
        start = execution.Start(filled, 1, damage(begun.state))
    (output,) = execution.run(program, [start], data, last, look)
    return output


def run_all(lanes, program, data, damage=None):
    """Every lane's row and arrays, by lane number."""
    found = {}
    for tile in trials.make_batches(lanes, WIDTH):
        output = run_tile(tile, program, data, damage)
        arrays = trials.make_arrays(tile, output)
        for index, row in enumerate(trials.make_rows(tile, output)):
            own = {name: array[index] for name, array in arrays.items()}
            found[row["trial"]] = (row, own)
    return found


def test_lanes_are_the_points_in_order_repeats_side_by_side():
    lanes = trials.make_trials(make_points((0.1, 0.2)), (5, 6), 2)
    assert [lane.trial for lane in lanes] == list(range(8))
    found = [(lane.hparams.learning_rate, lane.seed, lane.fold) for lane in lanes]
    assert found[:5] == [
        (0.1, 5, 0),
        (0.1, 5, 1),
        (0.1, 6, 0),
        (0.1, 6, 1),
        (0.2, 5, 0),
    ]
    assert all(lane.static == STATIC for lane in lanes)
    assert [lane.fold for lane in make_trials()] == [None] * 6


@pytest.mark.parametrize(
    ("seeds", "folds", "message"),
    [
        ((2**32,), 0, "--seeds is 4294967296"),
        ((-1,), 0, "--seeds is -1"),
        ((), 0, r"--seeds is \[\]; expected one or more"),
        ((1, 2, 1), 0, r"--seeds is \[1, 2, 1\]; .* none twice"),
        ((0,), 1, "--folds is 1; expected 0, or at least 2"),
        ((0,), -2, "--folds is -2"),
    ],
)
def test_bad_seeds_and_folds_are_refused(seeds, folds, message):
    with pytest.raises(ValueError, match=message):
        trials.make_trials(make_points(), seeds, folds)


@pytest.mark.parametrize("width", [0, -1, trials.MAX_WIDTH + 1])
def test_a_width_out_of_range_is_refused(width):
    with pytest.raises(
        ValueError, match=f"--trials_per_batch is {width}; expected 1 to"
    ):
        trials.make_batches(make_trials(), width)


def test_tiles_hold_every_lane_once_and_one_program_each():
    statics = [Static(3, optimizer="sgd"), Static(3, optimizer="adam")]
    points = [
        search_space.Candidate(s, Hparams(l2=l2)) for s in statics for l2 in range(5)
    ]
    lanes = trials.make_trials(points, (0, 1))
    for ordered in (lanes, lanes[::-1]):
        tiles = trials.make_batches(ordered, WIDTH)
        assert [len(tile.trials) for tile in tiles] == [4, 1] * 4
        assert sorted(x.trial for tile in tiles for x in tile.trials) == list(range(20))
        for tile in tiles:
            assert {(x.static, x.seed) for x in tile.trials} == {
                (tile.static, tile.seed)
            }
        # A program is compiled once if its tiles stand side by side.
        assert [tile.static for tile in tiles[:4]] == [tiles[0].static] * 4


def test_a_short_tile_is_filled_up_with_its_last_lane():
    lanes = trials.make_trials(make_points((0.1, 0.2), l2=0.5), (7,))
    (tile,) = trials.make_batches(lanes, WIDTH)
    filled = trials.filled(tile, WIDTH, FLOAT32)
    rates = np.array([0.1, 0.2, 0.2, 0.2], np.float32)
    np.testing.assert_array_equal(filled.hparams.learning_rate, rates)
    assert {value.dtype for value in filled.hparams} == {FLOAT32}
    assert (int(filled.seed), filled.fold.tolist()) == (7, [states.NO_FOLD] * WIDTH)
    (tile,) = trials.make_batches(
        trials.make_trials(make_points((0.1,)), (7,), 3), WIDTH
    )
    assert trials.filled(tile, WIDTH, FLOAT32).fold.tolist() == [0, 1, 2, 2]


def test_order_of_lanes_and_cut_into_tiles_change_no_bit(program, data):
    lanes = make_trials()
    expected = run_all(lanes, program, data)
    for shuffled in (lanes[::-1], lanes[3:] + lanes[:3], lanes[:1], lanes[4:5]):
        for number, (row, arrays) in run_all(shuffled, program, data).items():
            assert row == expected[number][0]
            chex.assert_trees_all_equal(arrays, expected[number][1])


def test_lanes_that_diverge_leave_the_others_alone(program, data):
    clean = run_all(make_trials(), program, data)
    wild = make_trials((0.01, 0.03, 1e30, 0.3, 1e38, 3.0))
    poisoned = run_all(wild, program, data)
    for number in (0, 1, 3, 5):
        assert poisoned[number][0] == clean[number][0]
        chex.assert_trees_all_equal(poisoned[number][1], clean[number][1])
    assert [poisoned[n][0]["status"] for n in (2, 4)] == ["diverged"] * 2
    assert {clean[n][0]["status"] for n in clean} == {"ok"}


def test_a_tenth_of_many_lanes_diverging_changes_no_other_bit(program, data):
    """By a learning rate, and by NaN that somebody put into the weights."""
    rates = np.geomspace(0.01, 1.0, 40).tolist()
    lanes = make_trials(rates)

    def nothing(state):
        return state

    def damage(state):
        W = np.array(state.params.W)
        W[2, 1, 3] = np.nan
        return state._replace(params=state.params._replace(W=W))

    clean = run_all(lanes, program, data, nothing)
    spoilt = {n: 1e30 for n in (4, 17, 22, 33)}
    wild = run_all(
        make_trials([spoilt.get(n, r) for n, r in enumerate(rates)]), program, data
    )
    broken = run_all(lanes, program, data, damage)
    for found, out in ((wild, set(spoilt)), (broken, set(range(3, 40, 4)))):
        for number in range(40):
            row, arrays = found[number]
            assert (row["status"] == "diverged") == (number in out)
            if number not in out:
                assert row == clean[number][0]
                chex.assert_trees_all_equal(arrays, clean[number][1])
    for number in range(3, 40, 4):
        row = broken[number][0]
        assert (row["reason"], row["steps"]) == ("nonfinite_loss", 1)


@pytest.mark.parametrize(
    ("rate", "reason", "steps"), [(1e8, "exploded", 1), (0.1, None, 9)]
)
def test_rows_say_at_which_step_and_why(program, data, rate, reason, steps):
    row, arrays = run_all(make_trials((rate,)), program, data)[0]
    assert (row["reason"], row["steps"]) == (reason, steps)
    assert np.all(np.isnan(arrays["val_loss"])) == (reason is not None)
    assert np.all(np.isfinite(arrays["W"]))


def test_a_lane_that_diverged_keeps_the_weights_it_had(program, data):
    (tile,) = trials.make_batches(make_trials((1e8, 0.1)), WIDTH)
    start = execution.Start(trials.filled(tile, WIDTH, FLOAT32))
    first, whole = (
        trials.make_arrays(tile, execution.run(program, [start], data, last, look)[0])
        for last in (1, 9)
    )
    np.testing.assert_array_equal(first["W"][0], whole["W"][0])
    assert not np.array_equal(first["W"][1], whole["W"][1])


def test_a_lane_that_was_stopped_early_is_retired(program, data):
    lanes = make_trials((0.1, 1e30))
    (tile,) = trials.make_batches(lanes, WIDTH)
    start = execution.Start(trials.filled(tile, WIDTH, FLOAT32))
    (output,) = execution.run(program, [start], data, 4, look)
    rows = trials.make_rows(tile, output, finished=False)
    assert [row["status"] for row in rows] == [ranking.RETIRED, "diverged"]
    assert [row["reason"] for row in rows] == [None, rows[1]["reason"]]
    assert rows[1]["reason"] in states.REASONS.values()
    assert rows[0]["steps"] == 4
    assert np.isfinite(rows[0]["val_loss"])


def test_arrays_have_the_lanes_in_front_and_no_padding(program, data):
    (tile,) = trials.make_batches(make_trials((0.1, 0.2, 0.3))[::-1], WIDTH)
    output = run_tile(tile, program, data)
    arrays = trials.make_arrays(tile, output)
    assert arrays["trial"].tolist() == [2, 1, 0]
    shapes = {name: array.shape for name, array in arrays.items()}
    curves = {"train_loss": (3, 3), "val_loss": (3, 3), "val_accuracy": (3, 3)}
    assert shapes == {"trial": (3,), "W": (3, 5, 3), "b": (3, 3), **curves}
    for index in range(3):
        params = output.state.params
        np.testing.assert_array_equal(arrays["W"][index], params.W[..., index])
        np.testing.assert_array_equal(arrays["b"][index], params.b[0, :, index])
        expected = output.state.curves.val_loss[:, index]
        np.testing.assert_array_equal(arrays["val_loss"][index], expected)


def test_a_lane_is_the_run_that_training_makes_alone(program, data):
    lane = make_trials()[2]
    row, arrays = run_all([lane], program, data)[2]
    run = jax.jit(training.make_train(STATIC))
    params, history = run(jax.random.key(0), lane.hparams, data)
    close = {"rtol": 1e-4, "atol": 1e-6}
    chex.assert_trees_all_close((arrays["W"], arrays["b"]), tuple(params), **close)
    for name in ("train_loss", "val_loss", "val_accuracy"):
        chex.assert_trees_all_close(arrays[name], getattr(history, name), **close)
    assert row["steps"] == 9


def test_rows_say_what_was_run_and_what_came_of_it(program, data):
    row, arrays = run_all(make_trials((0.1,), l2=0.25), program, data)[0]
    assert row["optimizer"] == "momentum"
    assert row["learning_rate"] == 0.1
    assert row["l2"] == 0.25
    assert row["b1"] is None  # momentum does not use it
    assert (row["seed"], row["fold"], row["reason"]) == (0, None, None)
    splits = {"train": (data.x, data.labels), "val": (data.val_x, data.val_labels)}
    for split, (x, labels) in splits.items():
        scores = np.float64(x @ arrays["W"] + arrays["b"])
        right = np.mean(np.argmax(scores, axis=1) == labels)
        np.testing.assert_allclose(row[f"{split}_accuracy"], right, rtol=1e-6)
        log_sums = np.log(np.exp(scores).sum(axis=1))
        loss = np.mean(log_sums - scores[np.arange(len(labels)), labels])
        np.testing.assert_allclose(row[f"{split}_loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(row["val_loss"], arrays["val_loss"][-1], rtol=1e-6)


def test_what_is_expected_of_a_state_is_what_comes_back(program, data):
    (tile,) = trials.make_batches(make_trials()[:3], WIDTH)
    output = run_tile(tile, program, data)
    chex.assert_trees_all_equal_shapes_and_dtypes(output.state, program.state)


def test_more_lanes_than_the_width_are_refused():
    (tile,) = trials.make_batches(make_trials()[:3], WIDTH)
    with pytest.raises(ValueError, match="holds 3 trials; its width is 2"):
        trials.filled(tile, 2, FLOAT32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.full(21, 7)}, r"21 of 21 .* labels\[0\] = 7"),
        ({"val_labels": np.full(12, -1)}, r"labels\[0\] = -1"),
        ({"x": np.full((21, 5), np.nan)}, r"x\[0, 0\] = nan"),
        ({"val_x": np.ones((12, 4))}, "5 columns, validation rows 4"),
        ({"labels": np.zeros(20, int)}, "21 rows but labels has 20"),
    ],
)
def test_bad_data_is_refused_and_not_called_divergence(data, change, message):
    with pytest.raises(ValueError, match=message):
        trials.validate_data(data._replace(**change), num_classes=3)
    trials.validate_data(data, num_classes=3)


def advance(static):
    """A function of lanes and data, as the program of a tile has it inside."""

    def run(hparams, data):
        key, fold = jax.random.key(0), np.full(WIDTH, states.NO_FOLD)
        state = training.begin(static, key, hparams, data)
        return training.advance(static, state, key, hparams, fold, data, 0, 3)

    return run


LANES = Hparams(*(np.full(WIDTH, value, np.float32) for value in Hparams()))


def test_every_product_has_the_precision_asked_for(data):
    data = jax.tree.map(jax.numpy.asarray, data)
    found = {}
    for precision in ("default", "highest"):
        static = Static(3, batch_size=8, epochs=1, precision=precision)
        (found[precision],) = problems.product_precisions(advance(static), LANES, data)
    assert found["highest"] == "Precision.HIGHEST" * 2
    assert found["default"] != found["highest"]


def test_the_product_with_x_is_one_matrix_product(data):
    """No operand of a product holds x once per lane."""
    data = jax.tree.map(jax.numpy.asarray, data)
    program = jax.make_jaxpr(advance(STATIC))(LANES, data)
    shapes = [
        [variable.aval.shape for variable in equation.invars]
        for equation in _equations(program.jaxpr)
        if equation.primitive.name == "dot_general"
    ]
    batch = (STATIC.batch_size, 5)
    shared = [s for s in shapes if batch in s or batch[::-1] in s]
    # Scores, of which loss and residual are made together, and the gradient.
    assert len(shared) == 2, shapes
    assert not [s for s in shapes if (WIDTH, *batch) in s or (WIDTH, *batch[::-1]) in s]


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)
