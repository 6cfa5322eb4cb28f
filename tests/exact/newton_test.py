"""The exact solver: lanes, statuses, hard problems, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from linclf_jax.exact import (
    axes,
    certificate,
    leave_one_out,
    newton,
    newton_step,
    problem,
    status,
)
from linclf_jax.params import Params
from linclf_jax.selection import cross_validation
from tests import miniatures, reference_solver

TIGHT = 1e-11  # relative gap, where objectives are to agree to 1e-10
PENALTIES = (1.0, 1e-3, 1e-6)


def solve(data, l2, **options):
    """Solves both folds at one penalty."""
    options = {"weights": data.weights, "tol": TIGHT} | options
    return newton.solve(data.x, data.labels, np.full(2, l2), **options)


def optima(data, l2):
    """Returns the two optimal objectives."""
    solutions = [
        reference_solver.solve(data.x, data.labels, l2, weights)
        for weights in data.weights
    ]
    return np.array([solution.objective for solution in solutions])


def of_lane(lane, params, info):
    """Returns all numbers and the status of one lane."""
    return [np.asarray(array)[lane] for array in (*params, *info)]


def assert_honest(params, info, data, l2):
    """Checks what is said of a solution with float64 numbers of its own."""
    found = certificate.certify(
        params, data.x, data.labels, np.full(2, l2), data.weights
    )
    np.testing.assert_allclose(info.objective, found.objective, rtol=1e-13)
    np.testing.assert_allclose(info.gap, found.gap, rtol=1e-6, atol=1e-17)
    best = optima(data, l2)
    for lane, (W, b, weights) in enumerate(
        zip(params.W, params.b, data.weights, strict=True)
    ):
        value = reference_solver.objective(W, b, data.x, data.labels, l2, weights)
        assert value - best[lane] <= info.gap[lane] + 2e-15 * (1 + value)


@pytest.mark.parametrize("l2", PENALTIES)
@pytest.mark.parametrize("name", miniatures.NAMES)
def test_gap_is_met_and_honest(name, l2):
    data = miniatures.make(name)
    params, info = solve(data, l2, tol=1e-6)
    assert (info.status == status.CONVERGED).all()
    assert (info.relative_gap <= 1e-6).all()
    np.testing.assert_array_equal(info.relative_gap, info.gap / info.objective)
    assert_honest(params, info, data, l2)


@pytest.mark.parametrize("l2", PENALTIES)
def test_gap_is_honest_after_every_step(l2):
    data = miniatures.random()
    for steps in range(8):
        params, info = solve(data, l2, max_newton=steps, tol=1e-13)
        assert_honest(params, info, data, l2)
        assert (info.newton_steps <= steps).all()
        if steps == 1:
            assert (info.status == status.MAX_STEPS).all()


@pytest.mark.parametrize("l2", PENALTIES)
@pytest.mark.parametrize("name", miniatures.NAMES)
def test_float32_never_claims_more_than_it_has(name, l2):
    data = miniatures.make(name)
    data = data._replace(x=data.x.astype("float32"))
    params, info = solve(data, l2, tol=1e-6)
    assert params.W.dtype == params.b.dtype == "float32"
    assert set(info.status) <= {status.CONVERGED, status.STALLED}
    converged = info.status == status.CONVERGED
    assert (info.relative_gap[converged] <= 1e-6).all()
    assert (info.relative_gap[~converged] > 1e-6).all()
    assert_honest(params, info, data, l2)


def test_float32_reaches_a_relative_gap_of_1e_6():
    data = miniatures.random()
    data = data._replace(x=data.x.astype("float32"))
    for l2 in (1.0, 1e-3):
        _, info = solve(data, l2, tol=1e-6)
        assert (info.status == status.CONVERGED).all()


def test_float32_says_where_its_precision_ends():
    data = miniatures.random()
    data = data._replace(x=data.x.astype("float32"))
    params, info = solve(data, 1e-6, tol=1e-15)
    assert (info.status == status.STALLED).all()
    assert (info.relative_gap > 1e-15).all()
    assert (info.newton_steps < 30).all()
    assert_honest(params, info, data, 1e-6)


def test_float32_pays_for_the_rounding_of_a_large_bias():
    # Far from zero the bias is in the thousands, where float32 has steps of 1e-4.
    data = miniatures.random()
    data = data._replace(x=(data.x + 3000).astype("float32"))
    params, info = solve(data, 1e-3, tol=1e-12)
    assert np.abs(params.b).max() > 1000
    assert (info.status == status.STALLED).all()
    found = newton.duality_gap(
        params, data.x, data.labels, np.full(2, 1e-3), data.weights
    )
    assert (found > 1e-12).all()
    np.testing.assert_allclose(info.gap, found, rtol=0.5)


def test_lanes_are_solved_as_if_each_were_alone():
    data = miniatures.random()
    rng = np.random.default_rng(1)
    l2 = np.array([1e-6, 1.0, 1e-2, 1e-2])
    weights = rng.uniform(0.1, 3.0, size=(4, len(data.x)))
    params, info = newton.solve(data.x, data.labels, l2, weights=weights, tol=TIGHT)
    assert (info.status == status.CONVERGED).all()
    for lane in range(4):
        alone, told = newton.solve(
            data.x, data.labels, l2[lane : lane + 1], weights=weights[lane], tol=TIGHT
        )
        np.testing.assert_allclose(info.objective[lane], told.objective[0], rtol=1e-10)
        best = reference_solver.solve(data.x, data.labels, l2[lane], weights[lane])
        np.testing.assert_allclose(info.objective[lane], best.objective, rtol=1e-10)
        np.testing.assert_allclose(params.W[lane], alone.W[0], atol=2e-4)
    # Different lanes have different answers: a mix-up would be seen.
    assert len(np.unique(np.round(info.objective, 6))) == 4


@pytest.mark.parametrize("fault", ["l2", "weights", "infinite weights", "init"])
def test_a_lane_of_nan_ends_alone(fault):
    data = miniatures.random()
    l2 = np.array([1e-2, 1e-2, 1e-3, 1e-4])
    weights = np.tile(data.weights, (2, 1))
    init = Params(np.zeros((4, 8, 3)), np.zeros((4, 3)))
    args = {"weights": weights, "init": init, "tol": TIGHT}
    healthy = newton.solve(data.x, data.labels, l2, **args)
    if fault == "l2":
        l2[1] = np.nan
    elif fault == "init":
        init.W[1, 0, 0] = np.nan
    else:
        weights[1, 7] = np.inf if "inf" in fault else np.nan
    params, info = newton.solve(data.x, data.labels, l2, **args)
    assert info.status[1] == status.INVALID
    assert info.newton_steps[1] == 0
    for lane in (0, 2, 3):
        assert info.status[lane] == status.CONVERGED
        np.testing.assert_allclose(
            info.objective[lane], healthy[1].objective[lane], rtol=1e-10
        )
        np.testing.assert_allclose(params.W[lane], healthy[0].W[lane], atol=1e-4)
    assert info.newton_steps.max() <= healthy[1].newton_steps.max() + 1


def test_no_penalty_reaches_the_optimum_where_there_is_one():
    data = miniatures.random()
    params, info = solve(data, 0.0, tol=1e-10)
    # Nothing bounds the distance, so that nothing has converged to a tolerance.
    assert (info.status == status.WITHOUT_BOUND).all()
    assert np.isposinf(info.gap).all()
    assert np.isposinf(info.relative_gap).all()
    np.testing.assert_allclose(info.objective, optima(data, 0.0), rtol=1e-10)
    expected = reference_solver.solve(data.x, data.labels, 0.0, data.weights[0])
    np.testing.assert_allclose(params.W[0], expected.W, atol=1e-4)


def test_no_penalty_on_separable_data_has_no_finite_optimum():
    data = miniatures.random(noise=0.05)
    # The second lane is not separable: two rows differ only in their class.
    x, labels = data.x.copy(), data.labels
    x[30] = x[31]
    weights = np.ones((2, len(x)))
    weights[0, 30] = 0.0
    params, info = newton.solve(
        x, labels, np.array([0.0, 0.0]), weights=weights, max_newton=60
    )
    assert info.status[0] == status.NO_FINITE_OPTIMUM
    assert info.status[1] != status.NO_FINITE_OPTIMUM
    scores = x @ np.asarray(params.W[0]) + np.asarray(params.b[0])[None]
    found = scores.argmax(axis=1)
    assert (found == labels)[weights[0] > 0].all()
    _, info = newton.solve(x, labels, np.array([1e-8, 1e-8]), weights=weights)
    assert (info.status == status.CONVERGED).all()


@pytest.mark.parametrize("l2", [1e-10, 1e-8, 1e-4, 1e2, 1e6])
def test_penalties_from_1e_minus_10_to_1e6(l2):
    data = miniatures.random()
    params, info = solve(data, l2, tol=1e-8)
    assert (info.status == status.CONVERGED).all()
    assert_honest(params, info, data, l2)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_features_of_any_scale(scale):
    # What is scaled by s needs weights of 1/s, which a penalty of s^2 allows alike.
    data = miniatures.random()
    expected, told = solve(data, 1e-3, tol=1e-8)
    scaled = data._replace(x=data.x * scale)
    params, info = solve(scaled, 1e-3 * scale**2, tol=1e-8)
    assert (info.status == status.CONVERGED).all()
    np.testing.assert_allclose(info.objective, told.objective, rtol=2e-8)
    np.testing.assert_allclose(params.W * scale, expected.W, atol=1e-3)
    # The same penalty makes it another problem, solved as well.
    params, info = solve(scaled, 1e-3, tol=1e-6)
    assert (info.status == status.CONVERGED).all()
    assert_honest(params, info, scaled, 1e-3)


@pytest.mark.parametrize("shift", [1e3, 1e6])
def test_features_far_from_zero(shift):
    data = miniatures.random()
    _, told = solve(data, 1e-3, tol=1e-8)
    _, info = solve(data._replace(x=data.x + shift), 1e-3, tol=1e-8)
    assert set(info.status) <= {status.CONVERGED, status.STALLED}
    assert (info.gap <= 1e-6 * info.objective).all()
    np.testing.assert_allclose(info.objective, told.objective, rtol=2e-6)


def test_more_columns_than_rows_stay_in_the_space_of_the_rows():
    data = miniatures.make("wide")
    rng = np.random.default_rng(2)
    init = Params(rng.normal(size=(2, 40, 4)), rng.normal(size=(2, 4)))
    params, info = solve(data, 1e-3, init=init, tol=1e-10)
    assert (info.status == status.CONVERGED).all()
    np.testing.assert_allclose(info.objective, optima(data, 1e-3), rtol=1e-9)
    _, _, rows = np.linalg.svd(data.x, full_matrices=False)
    inside = np.einsum("ldc,rd,re->lec", params.W, rows, rows)
    # The optimum lies there, and the gap says how far W may be from it.
    away = np.sqrt(np.sum((inside - params.W) ** 2, axis=(1, 2)))
    assert (away <= np.sqrt(2 * info.gap / 1e-3)).all()


def test_constant_and_duplicate_columns():
    data = miniatures.random()
    x = data.x.copy()
    x[:, 2], x[:, 5], x[:, 7] = 3.0, 0.0, x[:, 6]
    data = data._replace(x=x)
    for l2 in (1e-1, 1e-6):
        params, info = solve(data, l2, tol=1e-10)
        assert (info.status == status.CONVERGED).all()
        assert_honest(params, info, data, l2)
    params, _ = solve(data, 1e-1)
    # The bias does for nothing what a constant column would have to pay for.
    np.testing.assert_allclose(params.W[:, 2], 0, atol=1e-6)
    np.testing.assert_allclose(params.W[:, 5], 0, atol=1e-6)
    np.testing.assert_allclose(params.W[:, 7], params.W[:, 6], atol=1e-6)
    _, info = solve(data, 0.0, tol=1e-8)
    assert (info.status == status.WITHOUT_BOUND).all()


def test_nothing_but_constant_columns():
    x = np.ones((60, 8))
    labels = np.arange(60) % 3
    params, info = newton.solve(x, labels, np.array([0.1, 0.0]))
    assert info.status.tolist() == [status.CONVERGED, status.WITHOUT_BOUND]
    np.testing.assert_allclose(info.objective, np.log(3), rtol=1e-14)
    np.testing.assert_allclose(params.W, 0, atol=1e-12)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_one_class_in_the_data(num_classes):
    data = miniatures.random()
    params, info = newton.solve(
        data.x, np.zeros(60, int), np.array([0.1, 0.0]), num_classes=num_classes
    )
    assert (info.status == status.CONVERGED).all()
    np.testing.assert_array_equal(info.objective, 0)
    np.testing.assert_array_equal(info.relative_gap, 0)
    np.testing.assert_array_equal(params.W, np.zeros((2, 8, num_classes)))
    assert np.isfinite(params.b[:, 0]).all()
    assert np.isneginf(params.b[:, 1:]).all()


def test_a_class_without_weight_might_as_well_not_exist():
    data = miniatures.random(num_classes=4)
    weights = np.stack([data.labels != 2, np.ones(60, bool)]).astype(float)
    l2 = np.full(2, 1e-3)
    params, info = newton.solve(data.x, data.labels, l2, weights=weights, tol=TIGHT)
    assert (info.status == status.CONVERGED).all()
    kept = data.labels != 2
    fewer = data.labels[kept] - (data.labels[kept] > 2)
    best = reference_solver.solve(data.x[kept], fewer, 1e-3)
    np.testing.assert_allclose(info.objective[0], best.objective, rtol=1e-10)
    np.testing.assert_allclose(
        np.delete(params.W[0], 2, axis=1), best.W, rtol=1e-3, atol=1e-4
    )
    np.testing.assert_array_equal(params.W[0, :, 2], 0)
    np.testing.assert_array_equal(np.isneginf(params.b[0]), np.arange(4) == 2)
    assert np.isfinite(params.b[1]).all()
    # The lane beside it has all four, as if alone.
    best = reference_solver.solve(data.x, data.labels, 1e-3)
    np.testing.assert_allclose(info.objective[1], best.objective, rtol=1e-10)
    # The result is a start like any other.
    _, info = newton.solve(
        data.x, data.labels, l2, weights=weights, init=params, tol=TIGHT
    )
    assert (info.status == status.CONVERGED).all()
    assert (info.newton_steps == 0).all()


def test_more_classes_than_labels_on_request():
    data = miniatures.random()
    params, info = newton.solve(
        data.x, data.labels, np.array([0.1, 0.01]), num_classes=4
    )
    assert params.W.shape == (2, 8, 4)
    assert np.isneginf(params.b[:, 3]).all()
    _, told = newton.solve(data.x, data.labels, np.array([0.1, 0.01]))
    np.testing.assert_allclose(info.objective, told.objective, rtol=2e-6)


def test_soft_targets():
    data = miniatures.random()
    rng = np.random.default_rng(4)
    targets = rng.dirichlet(np.ones(3), size=60)
    data = data._replace(labels=targets)
    for l2 in (1e-1, 1e-5):
        _, info = solve(data, l2, tol=1e-10)
        best = [
            reference_solver.solve(data.x, targets, l2, weights).objective
            for weights in data.weights
        ]
        np.testing.assert_allclose(info.objective, best, rtol=1e-9)
    # Without a penalty the optimum is finite: no row can be certain.
    _, info = solve(data, 0.0, tol=1e-8)
    assert (info.status == status.WITHOUT_BOUND).all()


def test_hard_problems_end():
    # Weights that nearly vanish, a start far away, and next to no penalty.
    data = miniatures.random(noise=0.3)
    rng = np.random.default_rng(6)
    weights = 10.0 ** -rng.uniform(0, 12, size=(2, 60))
    init = Params(100 * rng.normal(size=(2, 8, 3)), 100 * rng.normal(size=(2, 3)))
    for l2 in (1e-10, 0.0):
        _, info = solve(data, l2, weights=weights, init=init, tol=1e-6, max_newton=40)
        assert (info.newton_steps <= 40).all()
        assert (info.products <= 40 * 1000).all()
        assert set(info.status) <= {
            status.CONVERGED,
            status.MAX_STEPS,
            status.STALLED,
            status.NO_FINITE_OPTIMUM,
            status.WITHOUT_BOUND,
        }


DATA = miniatures.random()
GOOD = {"x": DATA.x, "labels": DATA.labels, "l2": np.array([0.1, 0.2])}


def changed(array, at, value):
    """Returns a copy in which one entry is another."""
    array = np.array(array)
    array[at] = value
    return array


BAD = [
    ({"x": np.zeros(60)}, r"x has shape \(60,\); expected \(N, D\)"),
    ({"x": changed(DATA.x, (17, 3), np.nan)}, r"1 of 480 .* x\[17, 3\] = nan"),
    ({"x": changed(DATA.x, (17, 3), -np.inf)}, r"x\[17, 3\] = -inf"),
    ({"x": np.full((60, 8), "a")}, "x has dtype .*expected numbers"),
    ({"labels": DATA.labels[1:]}, "x has 60 rows but labels has 59 entries"),
    ({"labels": changed(DATA.labels, 2, -1)}, r"labels\[2\] = -1"),
    ({"num_classes": 2}, r"labels\[2\] = 2; expected integers in 0\.\.1"),
    ({"labels": np.zeros(60)}, "labels has dtype float64; expected integers"),
    ({"labels": np.full((60, 3), 0.5)}, "no distribution, first row 0 with sum 1.5"),
    ({"labels": np.full((59, 2), 0.5)}, "x has 60 rows but labels has 59 entries"),
    ({"l2": 0.1}, r"l2 has shape \(\); expected \(L,\)"),
    ({"l2": np.zeros((2, 1))}, r"l2 has shape \(2, 1\); expected \(L,\)"),
    ({"l2": np.zeros(0)}, r"l2 has shape \(0,\); expected \(L,\)"),
    ({"l2": np.array([0.1, -1e-9])}, "l2 of lane 1 is -1e-09; expected"),
    ({"l2": np.array([0.1, np.inf])}, "l2 of lane 1 is inf; expected"),
    (
        {"weights": np.ones(59)},
        r"weights has shape \(59,\); expected \(60,\) or \(2, 60\)",
    ),
    ({"weights": np.ones((3, 60))}, r"weights has shape \(3, 60\)"),
    ({"weights": np.ones((60, 2))}, r"weights has shape \(60, 2\)"),
    (
        {"weights": changed(np.ones((2, 60)), (1, 9), -0.5)},
        "weights: 1 are below 0, first -0.5 of row 9 in lane 1",
    ),
    ({"weights": changed(np.ones((2, 60)), 1, 0.0)}, "weights of lane 1 are all 0"),
    (
        {"init": Params(np.zeros((2, 3, 8)), np.zeros((2, 3)))},
        r"W has shape \(2, 3, 8\); expected \(2, 8, 3\)",
    ),
    (
        {"init": Params(np.zeros((2, 8, 3)), np.zeros(3))},
        r"b has shape \(3,\); expected \(2, 3\)",
    ),
    ({"tol": 0.0}, "tol is 0.0; expected"),
    ({"tol": -1e-6}, "tol is -1e-06; expected"),
    ({"tol": np.nan}, "tol is nan; expected"),
    ({"max_newton": -1}, "max_newton is -1; expected at least 0"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_refused_before_anything_is_compiled(monkeypatch, change, message):
    monkeypatch.setattr(axes, "principal", None)
    monkeypatch.setattr(certificate, "evaluate_primal", None)
    with pytest.raises(ValueError, match=message):
        newton.solve(**(GOOD | change))


def test_what_is_refused_differs_from_this_by_one_argument():
    params, info = newton.solve(**GOOD)
    assert (info.status == status.CONVERGED).all()
    assert isinstance(params.W, jnp.ndarray)
    assert info.newton_steps.dtype == info.products.dtype == np.int64
    assert info.objective.dtype == info.gap.dtype == np.float64


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("sizes", [[1, 1, 1e9], [1e12, 1, 1e-3], [1e20] * 3])
def test_columns_of_any_scale_are_solved(sizes, narrow):
    data = miniatures.random(num_features=3, seed=1)
    x = data.x * np.array(sizes)
    with jax.enable_x64(not narrow):
        _, info = newton.solve(x, data.labels, [1e-2, 1e-1])
    assert set(info.status) <= {status.CONVERGED, status.STALLED}
    assert ((info.relative_gap <= 1e-6) == (info.status == status.CONVERGED)).all()
    # A column so large is not penalised to speak of: the optimum as if in one unit.
    units = np.where(np.array(sizes) > 1e6, 1e6, sizes)
    for lane, l2 in enumerate([1e-2, 1e-1]):
        best = reference_solver.solve(data.x, data.labels, 0.0).objective
        if min(sizes) <= 1:
            best = penalised_in_part(data, units, l2)
        assert abs(info.objective[lane] - best) <= 1e-4 * best


def penalised_in_part(data, units, l2):
    """Returns the optimum by general means, in columns of one scale."""
    large = units >= 1e6

    def value(theta):
        W, b = theta[:-3].reshape(3, 3), theta[-3:]
        logits = data.x @ W + b
        loss = -reference_solver.log_softmax(logits)[np.arange(60), data.labels]
        return loss.mean() + 0.5 * l2 * np.sum((W / units[:, None])[~large] ** 2)

    return scipy.optimize.minimize(value, np.zeros(12), tol=1e-10).fun


def test_tiny_features_leave_the_prior():
    # At 1e-25 no weight is worth its penalty: the shares of the classes are left.
    data = miniatures.random(num_features=3, seed=1)
    _, info = newton.solve(1e-25 * data.x, data.labels, [1e-2, 1e-1])
    assert (info.status == status.CONVERGED).all()
    np.testing.assert_allclose(info.objective, np.log(3), rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 255.0, 1e6])
def test_converged_is_what_the_returned_gap_says(scale):
    labels = np.arange(10) % 2
    rng = np.random.default_rng(2)
    x = scale * (2.0 * labels - 1 + 0.4 * rng.random(10))[:, None]
    l2 = 10.0 ** -np.arange(2.0, 18.0, 2.0)
    params, info = newton.solve(x, labels, l2, tol=1e-7)
    claimed = certificate.certify(params, x, labels, l2)
    converged = info.status == status.CONVERGED
    np.testing.assert_array_equal(converged, info.relative_gap <= 1e-7)
    np.testing.assert_allclose(claimed.gap, info.gap, rtol=1e-6)
    assert (claimed.gap[converged] <= 1.01e-7 * claimed.objective[converged]).all()
    assert converged.sum() >= 4


def test_sure_rows_are_solved_with_64_bits_off():
    labels = np.arange(12) % 2
    x = 1e6 * (2.0 * labels - 1 + 0.2 * np.random.default_rng(3).random(12))[:, None]
    with jax.enable_x64(False):
        _, narrow = newton.solve(x, labels, [1e-2, 1e-3])
    _, wide = newton.solve(x, labels, [1e-2, 1e-3], tol=1e-9)
    assert (narrow.status == status.CONVERGED).all()
    np.testing.assert_allclose(narrow.objective, wide.objective, rtol=1e-5)


def test_statuses_follow_the_certificate_that_is_returned():
    data = miniatures.random()
    progress = status.begin(2)
    with jax.enable_x64(True):
        solver = newton.prepare(
            problem.prepare(data.x, data.labels, num_lanes=2, weights=data.weights),
            np.dtype("float64"),
        )
        iterate = newton_step.evaluate(
            solver.problem, newton.origin(solver), np.full(2, 1e-3)
        )
    progress.status[:] = status.CONVERGED, status.MAX_STEPS
    assert status.reopen(iterate, progress, 1e-6)
    assert progress.status.tolist() == ["", status.MAX_STEPS]
    progress.status[:] = status.STALLED, status.MAX_STEPS
    assert not status.reopen(iterate, progress, 1e6)
    assert (progress.status == status.CONVERGED).all()


@pytest.mark.parametrize("fill", [np.nan, np.inf, 1e30])
def test_a_row_without_weight_is_not_there(fill):
    data = miniatures.random()
    weights = (np.arange(60) % 5 > 0).astype(float)
    kept = weights > 0
    x, labels = data.x.copy(), data.labels.copy()
    x[~kept], labels[~kept] = fill, -1
    l2 = np.array([1e-1, 1e-3])
    params, info = newton.solve(x, labels, l2, weights=weights)
    expected, told = newton.solve(data.x[kept], data.labels[kept], l2)
    for found, right in zip((*params, *info), (*expected, *told), strict=True):
        np.testing.assert_array_equal(found, right)
    claimed = certificate.certify(params, x, labels, l2, weights)
    np.testing.assert_array_equal(claimed.gap, info.gap)
    # A row that one lane counts is refused, at its place.
    both = np.stack([weights, np.ones(60)])
    with pytest.raises(ValueError, match=r"x\[0, 0\]|labels\[0\] = -1"):
        newton.solve(x, labels, l2, weights=both)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (DATA.labels[:, None], r"shape \(60, 1\).*pass labels.ravel\(\)"),
        (DATA.labels[:, None].astype(float), r"shape \(60, 1\).*labels.ravel\(\)"),
        (np.array(["cat", "dog"] * 30), "begins with .*'cat'.*numpy.unique"),
        (np.array(["cat", "dog"] * 30, object)[:, None], "'cat'.*numpy.unique"),
    ],
)
def test_labels_of_another_kind_are_refused_with_what_to_do(labels, message):
    params = Params(np.zeros((2, 8, 3)), np.zeros((2, 3)))
    l2 = [0.1, 0.2]
    for call in (
        lambda: newton.solve(DATA.x, labels, l2),
        lambda: certificate.certify(params, DATA.x, labels, l2),
        lambda: cross_validation.path(DATA.x, labels, l2),
        lambda: cross_validation.cross_validate(DATA.x, labels, l2, 3),
        lambda: cross_validation.leave_one_out(DATA.x, labels, l2),
        lambda: leave_one_out.approximate(params, DATA.x, labels, l2),
    ):
        with pytest.raises(ValueError, match=message):
            call()
