"""Lanes and tiles: what is swept, and that nothing changes a lane's bits."""

import functools

import chex
import jax
import numpy as np
import pytest

from linclf_jax.fit import sweep, training
from linclf_jax.fit.settings import Hparams, Static
from tests import problems

STATIC = Static(num_classes=3, batch_size=8, epochs=3)
WIDTH = 4


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(33, 5)).astype(np.float32)
    labels = rng.integers(0, 3, 33).astype(np.int32)
    return training.Data(x[:21], labels[:21], x[21:], labels[21:])


def make_lanes(rates=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0), **axes):
    return sweep.make_lanes([STATIC], {"learning_rate": rates, **axes}, seeds=(0,))


def run_all(lanes, data, width=WIDTH):
    """Every lane's row, curves and parameters, by lane number."""
    results = {}
    for tile in sweep.make_tiles(lanes, width):
        result = sweep.run_tile(tile, data, width)
        for index, row in enumerate(sweep.make_rows(tile, result)):
            arrays = jax.tree.map(lambda leaf, i=index: leaf[i], result)
            results[row["lane"]] = (row, arrays)
    return results


def test_lanes_are_the_product_in_order():
    lanes = sweep.make_lanes(
        [STATIC], {"learning_rate": (0.1, 0.2), "l2": (0.0, 1.0)}, seeds=(5, 6)
    )
    assert [lane.lane for lane in lanes] == list(range(8))
    assert [(lane.seed, lane.hparams.learning_rate, lane.hparams.l2) for lane in lanes][
        :5
    ] == [(5, 0.1, 0.0), (5, 0.1, 1.0), (5, 0.2, 0.0), (5, 0.2, 1.0), (6, 0.1, 0.0)]
    assert all(lane.hparams.b1 == Hparams().b1 for lane in lanes)


def test_an_axis_that_an_optimizer_does_not_use_makes_no_lanes():
    statics = [Static(3, optimizer="momentum"), Static(3, optimizer="adam")]
    lanes = sweep.make_lanes(statics, {"momentum": (0.5, 0.9, 0.99)}, seeds=(0,))
    assert [lane.static.optimizer for lane in lanes] == ["momentum"] * 3 + ["adam"]


@pytest.mark.parametrize(
    ("axes", "seeds", "message"),
    [
        ({"learning_rate": ()}, (0,), "learning_rate is empty"),
        ({"learning_rate": (0.1, 0.1)}, (0,), "expected no repetition"),
        ({"learning_rate": (0.0,)}, (0,), "--learning_rate holds 0; expected above 0"),
        ({"l2": (-1.0,)}, (0,), "--l2 holds -1; expected at least 0"),
        ({"l2": (np.nan,)}, (0,), "--l2 holds nan"),
        ({"learning_rate": (np.inf,)}, (0,), "--learning_rate holds inf"),
        ({"momentum": (1.0,)}, (0,), "--momentum holds 1; .* below 1"),
        ({"warm_up": (0.0,)}, (0,), "no hyper-parameter is named 'warm_up'"),
        ({}, (2**32,), "4294967296"),
        ({}, (), "seeds is empty"),
    ],
)
def test_bad_grids_are_refused(axes, seeds, message):
    with pytest.raises(ValueError, match=message):
        sweep.make_lanes([STATIC], axes, seeds)


def test_tiles_hold_every_lane_once_and_one_program_each():
    statics = [Static(3, optimizer="sgd"), Static(3, optimizer="adam")]
    lanes = sweep.make_lanes(statics, {"l2": (0.0, 0.1, 0.2, 0.3, 0.4)}, (0, 1))
    tiles = sweep.make_tiles(lanes, WIDTH)
    assert [len(tile.lanes) for tile in tiles] == [4, 1] * 4
    assert sorted(x.lane for tile in tiles for x in tile.lanes) == list(range(20))
    for tile in tiles:
        assert {(x.static, x.seed) for x in tile.lanes} == {(tile.static, tile.seed)}


def test_order_of_lanes_and_cut_into_tiles_change_no_bit(data):
    lanes = make_lanes()
    expected = run_all(lanes, data)
    for shuffled in (lanes[::-1], lanes[3:] + lanes[:3], lanes[:1], lanes[4:5]):
        for number, (row, arrays) in run_all(shuffled, data).items():
            assert row == expected[number][0]
            chex.assert_trees_all_equal(arrays, expected[number][1])


def test_lanes_that_diverge_leave_the_others_alone(data):
    clean = run_all(make_lanes(), data)
    poisoned = run_all(make_lanes((0.01, 0.03, 1e30, 0.3, 1e38, 3.0)), data)
    for number in (0, 1, 3, 5):
        assert poisoned[number][0] == clean[number][0]
        chex.assert_trees_all_equal(poisoned[number][1], clean[number][1])
    assert [poisoned[n][0]["status"] for n in (2, 4)] == ["diverged"] * 2
    assert {clean[n][0]["status"] for n in clean} == {"ok"}


def test_a_lane_is_the_run_that_training_makes_alone(data):
    lane = make_lanes()[2]
    row, arrays = run_all([lane], data)[2]
    run = jax.jit(training.make_train(STATIC))
    params, history = run(jax.random.key(0), lane.hparams, data)
    chex.assert_trees_all_close(arrays.params, params, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(arrays.history, history, rtol=1e-4, atol=1e-6)
    assert row["steps"] == 9


def test_rows_say_what_was_run_and_what_came_of_it(data):
    lanes = make_lanes((0.1,), l2=(0.25,))
    row, arrays = run_all(lanes, data)[0]
    assert row["optimizer"] == "momentum"
    assert row["learning_rate"] == 0.1
    assert row["l2"] == 0.25
    assert row["b1"] is None  # momentum does not use it
    assert row["reason"] is None
    splits = {"train": (data.x, data.labels), "val": (data.val_x, data.val_labels)}
    for split, (x, labels) in splits.items():
        scores = np.float64(x @ arrays.params.W + arrays.params.b)
        right = np.mean(np.argmax(scores, axis=1) == labels)
        np.testing.assert_allclose(row[f"{split}_accuracy"], right, rtol=1e-6)
        log_sums = np.log(np.exp(scores).sum(axis=1))
        loss = np.mean(log_sums - scores[np.arange(len(labels)), labels])
        np.testing.assert_allclose(row[f"{split}_loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(row["val_loss"], arrays.history.val_loss[-1], rtol=1e-6)


def test_what_is_expected_of_a_tile_is_what_it_returns(data):
    (tile,) = sweep.make_tiles(make_lanes()[:3], WIDTH)
    expected = sweep.result_like(tile, data, WIDTH)
    result = sweep.run_tile(tile, data, WIDTH)
    chex.assert_trees_all_equal_shapes_and_dtypes(result, expected)
    np.testing.assert_array_equal(result.lanes, expected.lanes)


def test_more_lanes_than_the_width_are_refused(data):
    (tile,) = sweep.make_tiles(make_lanes()[:3], WIDTH)
    with pytest.raises(ValueError, match="holds 3 lanes; its width is 2"):
        sweep.run_tile(tile, data, 2)


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
        sweep.validate_data(data._replace(**change), num_classes=3)
    sweep.validate_data(data, num_classes=3)


def test_every_product_has_the_precision_asked_for(data):
    lanes = Hparams(*(np.full(WIDTH, value, np.float32) for value in Hparams()))
    found = {}
    for precision in ("default", "highest"):
        static = Static(3, batch_size=8, epochs=1, precision=precision)
        program = functools.partial(sweep._program(static), jax.random.key(0), lanes)
        (found[precision],) = problems.product_precisions(program, data)
    assert found["highest"] == "Precision.HIGHEST" * 2
    assert found["default"] != found["highest"]


def test_one_compile_serves_all_values_and_seeds(data):
    static = Static(num_classes=3, batch_size=7, epochs=2)
    program = sweep._program(static)
    lanes = sweep.make_lanes(
        [static],
        {"learning_rate": (0.1, 0.2, 0.3), "l2": (0.0, 0.1), "momentum": (0.0, 0.9)},
        seeds=(0, 1, 2),
    )
    for tile in sweep.make_tiles(lanes, WIDTH):
        sweep.run_tile(tile, data, WIDTH)
    assert program._cache_size() == 1


def test_the_product_with_x_is_one_matrix_product(data):
    """No operand of a product holds x once per lane."""
    lanes = Hparams(*(np.full(WIDTH, value, np.float32) for value in Hparams()))
    program = jax.make_jaxpr(sweep._program(STATIC))(jax.random.key(0), lanes, data)
    shapes = [
        [variable.aval.shape for variable in equation.invars]
        for equation in _equations(program.jaxpr)
        if equation.primitive.name == "dot_general"
    ]
    batch = (STATIC.batch_size, 5)
    shared = [s for s in shapes if batch in s or batch[::-1] in s]
    # Scores for the loss, scores for the gradient, and the gradient.
    assert len(shared) == 3, shapes
    assert not [s for s in shapes if (WIDTH, *batch) in s or (WIDTH, *batch[::-1]) in s]


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)
