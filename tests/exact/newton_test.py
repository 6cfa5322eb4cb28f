"""The exact solver: lanes, statuses, and hard problems."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax.exact import certificate, columns, newton, problem, status
from linclf_jax.exact import solver as solver_lib
from linclf_jax.params import Params
from tests import reference_solver
from tests.exact import problems

# Almost all problems here have its shape, for which the solver is compiled once.
DATA = problems.random()
NO_MORE = {status.CONVERGED, status.STALLED}


def objectives(data, l2):
    """Returns the optimal objectives of both folds."""
    return [solution.objective for solution in problems.optima(data, l2)]


def assert_converged(info, tol):
    assert (info.status == status.CONVERGED).all()
    assert (info.relative_gap <= tol).all()
    np.testing.assert_array_equal(info.relative_gap, info.gap / info.objective)


@pytest.mark.parametrize(
    ("name", "l2", "tol"),
    [
        *((name, l2, 1e-6) for name in problems.NAMES for l2 in problems.PENALTIES),
        *(("random", l2, 1e-8) for l2 in (1e-10, 1e-8, 1e-4, 1e2, 1e6)),
    ],
)
def test_gap_is_met_and_honest(name, l2, tol):
    data = problems.make(name)
    params, info = problems.solve(data, l2, tol=tol)
    assert_converged(info, tol)
    problems.assert_honest(params, info, data, l2)


@pytest.mark.parametrize("l2", problems.PENALTIES)
@pytest.mark.parametrize("name", ["random", *problems.NAMES])
def test_float32_never_claims_more_than_it_has(name, l2):
    data = problems.make(name)
    data = data._replace(x=data.x.astype("float32"))
    params, info = problems.solve(data, l2, tol=1e-6)
    assert params.W.dtype == params.b.dtype == "float32"
    assert set(info.status) <= NO_MORE
    np.testing.assert_array_equal(
        info.status == status.CONVERGED, info.relative_gap <= 1e-6
    )
    if name == "random" and l2 >= 1e-3:
        assert_converged(info, 1e-6)
    problems.assert_honest(params, info, data, l2)


@pytest.mark.parametrize(
    ("shift", "l2", "tol"), [(0, 1e-6, 1e-15), (3000, 1e-3, 1e-12)]
)
def test_float32_says_where_its_precision_ends(shift, l2, tol):
    # Far from zero the bias is in the thousands, where float32 has steps of 1e-4.
    data = DATA._replace(x=(DATA.x + shift).astype("float32"))
    params, info = problems.solve(data, l2, tol=tol)
    assert (info.status == status.STALLED).all()
    assert (info.relative_gap > tol).all()
    assert (info.newton_steps < 30).all()
    if not shift:
        return problems.assert_honest(params, info, data, l2)
    assert np.abs(params.b).max() > 1000
    gap = problems.certify(params, data, l2).gap
    assert (gap > tol).all()
    return np.testing.assert_allclose(info.gap, gap, rtol=0.5)


@pytest.mark.parametrize("l2", problems.PENALTIES)
def test_gap_is_honest_after_every_step(l2):
    for steps in range(8):
        params, info = problems.solve(DATA, l2, max_newton=steps, tol=1e-13)
        problems.assert_honest(params, info, DATA, l2)
        assert (info.newton_steps <= steps).all()
        if steps == 1:
            assert (info.status == status.MAX_STEPS).all()


FOUR = np.array([1e-6, 1.0, 1e-2, 1e-2])
FOUR_WEIGHTS = np.random.default_rng(1).uniform(0.1, 3.0, size=(4, 60))


@pytest.fixture(scope="module")
def four():
    """Returns the solutions of four lanes that differ."""
    return newton.solve(DATA.x, DATA.labels, FOUR, weights=FOUR_WEIGHTS, tol=1e-11)


def test_lanes_are_solved_as_if_each_were_alone(four):
    params, info = four
    assert isinstance(params.W, jax.Array)
    assert info.newton_steps.dtype == info.products.dtype == np.int64
    assert (info.status == status.CONVERGED).all()
    for lane, l2 in enumerate(FOUR):
        best = reference_solver.solve(DATA.x, DATA.labels, l2, FOUR_WEIGHTS[lane])
        np.testing.assert_allclose(info.objective[lane], best.objective, rtol=1e-10)
        np.testing.assert_allclose(params.W[lane], best.W, atol=2e-4)
    # Different lanes have different answers: a mix-up would be seen.
    assert len(np.unique(np.round(info.objective, 6))) == 4


@pytest.mark.parametrize("fault", ["l2", "weights", "infinite weights", "init"])
def test_a_lane_of_nan_ends_alone(fault, four):
    expected, healthy = four
    l2, weights = FOUR.copy(), FOUR_WEIGHTS.copy()
    init = Params(np.zeros((4, 8, 3)), np.zeros((4, 3)))
    if fault == "l2":
        l2[1] = np.nan
    elif fault == "init":
        init.W[1, 0, 0] = np.nan
    else:
        weights[1, 7] = np.inf if "inf" in fault else np.nan
    options = {"weights": weights, "init": init, "tol": 1e-11}
    params, info = newton.solve(DATA.x, DATA.labels, l2, **options)
    assert info.status[1] == status.INVALID
    assert info.newton_steps[1] == 0
    others = np.array([0, 2, 3])
    assert (info.status[others] == status.CONVERGED).all()
    np.testing.assert_allclose(
        info.objective[others], healthy.objective[others], rtol=1e-10
    )
    np.testing.assert_allclose(params.W[others], expected.W[others], atol=1e-4)
    # All passes are float64 as soon as one lane needs it: without lane 1 that is later.
    assert info.newton_steps.max() <= healthy.newton_steps.max() + status.SLOW_STEPS


def test_no_penalty_reaches_the_optimum_where_there_is_one():
    params, info = problems.solve(DATA, 0.0, tol=1e-10)
    # Nothing bounds the distance, so that nothing has converged to a tolerance.
    assert (info.status == status.WITHOUT_BOUND).all()
    assert np.isposinf(info.gap).all()
    assert np.isposinf(info.relative_gap).all()
    np.testing.assert_allclose(info.objective, objectives(DATA, 0.0), rtol=1e-10)
    np.testing.assert_allclose(params.W[0], problems.optima(DATA, 0.0)[0].W, atol=1e-4)


def test_no_penalty_on_separable_data_has_no_finite_optimum():
    # The second lane is not separable: two rows differ only in their class.
    x, labels, weights = problems.random(noise=0.05)
    x[30], weights[:] = x[31], 1.0
    weights[0, 30] = 0.0
    params, info = newton.solve(x, labels, [0.0, 0.0], weights=weights, max_newton=60)
    assert info.status[0] == status.NO_FINITE_OPTIMUM
    assert info.status[1] != status.NO_FINITE_OPTIMUM
    logits = x @ np.asarray(params.W[0]) + np.asarray(params.b[0])[None]
    assert (logits.argmax(axis=1) == labels)[weights[0] > 0].all()
    _, info = newton.solve(x, labels, [1e-8, 1e-8], weights=weights)
    assert (info.status == status.CONVERGED).all()


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_features_of_any_scale(scale):
    # What is scaled by s needs weights of 1/s, which a penalty of s^2 allows alike.
    expected, info = problems.solve(DATA, 1e-3, tol=1e-8)
    scaled = DATA._replace(x=DATA.x * scale)
    params, scaled_info = problems.solve(scaled, 1e-3 * scale**2, tol=1e-8)
    assert (scaled_info.status == status.CONVERGED).all()
    np.testing.assert_allclose(scaled_info.objective, info.objective, rtol=2e-8)
    np.testing.assert_allclose(params.W * scale, expected.W, atol=1e-3)
    # The same penalty makes it another problem, solved as well.
    params, info = problems.solve(scaled, 1e-3, tol=1e-6)
    assert_converged(info, 1e-6)
    problems.assert_honest(params, info, scaled, 1e-3)


@pytest.mark.parametrize("shift", [1e3, 1e6])
def test_features_far_from_zero(shift):
    _, info = problems.solve(DATA._replace(x=DATA.x + shift), 1e-3, tol=1e-8)
    assert set(info.status) <= NO_MORE
    assert (info.gap <= 1e-6 * info.objective).all()
    np.testing.assert_allclose(info.objective, objectives(DATA, 1e-3), rtol=2e-6)


def test_more_columns_than_rows_stay_in_the_space_of_the_rows():
    data = problems.make("wide")
    init = problems.random_params(data, scale=1.0)
    params, info = problems.solve(data, 1e-3, init=init, tol=1e-10)
    assert (info.status == status.CONVERGED).all()
    np.testing.assert_allclose(info.objective, objectives(data, 1e-3), rtol=1e-9)
    _, _, rows = np.linalg.svd(data.x, full_matrices=False)
    inside = np.einsum("ldc,rd,re->lec", params.W, rows, rows)
    # The optimum lies there, and the gap says how far W may be from it.
    away = np.sqrt(np.sum((inside - params.W) ** 2, axis=(1, 2)))
    assert (away <= np.sqrt(2 * info.gap / 1e-3)).all()


def test_constant_and_duplicate_columns():
    x = DATA.x.copy()
    x[:, 2], x[:, 5], x[:, 7] = 3.0, 0.0, x[:, 6]
    data = DATA._replace(x=x)
    for l2 in (1e-1, 1e-6):
        params, info = problems.solve(data, l2, tol=1e-10)
        assert (info.status == status.CONVERGED).all()
        problems.assert_honest(params, info, data, l2)
        # The bias does for nothing what a constant column would have to pay for.
        near = np.sqrt(2 * info.gap.max() / l2)
        np.testing.assert_allclose(params.W[:, [2, 5]], 0, atol=near)
        np.testing.assert_allclose(params.W[:, 7], params.W[:, 6], atol=2 * near)
    _, info = problems.solve(data, 0.0, tol=1e-8)
    assert (info.status == status.WITHOUT_BOUND).all()


def test_nothing_but_constant_columns():
    params, info = newton.solve(np.ones((60, 8)), DATA.labels, [0.1, 0.0])
    assert info.status.tolist() == [status.CONVERGED, status.WITHOUT_BOUND]
    np.testing.assert_allclose(info.objective, np.log(3), rtol=1e-14)
    np.testing.assert_allclose(params.W, 0, atol=1e-12)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_one_class_in_the_data(num_classes):
    labels = np.zeros(60, int)
    params, info = newton.solve(DATA.x, labels, [0.1, 0.0], num_classes=num_classes)
    assert (info.status == status.CONVERGED).all()
    np.testing.assert_array_equal(info.objective, 0)
    np.testing.assert_array_equal(info.relative_gap, 0)
    np.testing.assert_array_equal(params.W, np.zeros((2, 8, num_classes)))
    assert np.isfinite(params.b[:, 0]).all()
    assert np.isneginf(params.b[:, 1:]).all()


def test_a_class_without_weight_might_as_well_not_exist():
    kept = DATA.labels != 1
    data = DATA._replace(weights=np.stack([kept, np.ones(60)]).astype(float))
    params, info = problems.solve(data, 1e-3)
    assert (info.status == status.CONVERGED).all()
    fewer = reference_solver.solve(data.x[kept], data.labels[kept] // 2, 1e-3)
    np.testing.assert_allclose(params.W[0][:, [0, 2]], fewer.W, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(params.W[0, :, 1], 0)
    np.testing.assert_array_equal(np.isneginf(params.b[0]), np.arange(3) == 1)
    assert np.isfinite(params.b[1]).all()
    # The lane beside it has all three, as if alone.
    every = reference_solver.solve(data.x, data.labels, 1e-3)
    expected = [fewer.objective, every.objective]
    np.testing.assert_allclose(info.objective, expected, rtol=1e-10)
    # The result is a start like any other.
    _, info = problems.solve(data, 1e-3, init=params)
    assert (info.status == status.CONVERGED).all()
    assert (info.newton_steps == 0).all()
    # A class without rows is one on request.
    labels = data.labels % 2
    params, info = newton.solve(data.x, labels, [1e-3, 0.1], num_classes=3)
    assert np.isneginf(params.b[:, 2]).all()
    best = [reference_solver.solve(data.x, labels, l2).objective for l2 in (1e-3, 0.1)]
    np.testing.assert_allclose(info.objective, best, rtol=2e-6)


def test_soft_targets():
    targets = np.random.default_rng(4).dirichlet(np.ones(3), size=60)
    data = DATA._replace(labels=targets)
    for l2 in (1e-1, 1e-5):
        _, info = problems.solve(data, l2, tol=1e-10)
        np.testing.assert_allclose(info.objective, objectives(data, l2), rtol=1e-9)
    # Without a penalty the optimum is finite: no row can be certain.
    _, info = problems.solve(data, 0.0, tol=1e-8)
    assert (info.status == status.WITHOUT_BOUND).all()


def test_hard_problems_end():
    # Weights that nearly vanish, a start far away, and next to no penalty.
    rng = np.random.default_rng(6)
    data = problems.random(noise=0.3)
    data = data._replace(weights=10.0 ** -rng.uniform(0, 12, size=(2, 60)))
    init = Params(100 * rng.normal(size=(2, 8, 3)), 100 * rng.normal(size=(2, 3)))
    options = {"weights": data.weights, "init": init, "max_newton": 2}
    _, info = newton.solve(data.x, data.labels, [1e-10, 0.0], **options)
    assert (info.newton_steps <= 2).all()
    assert (info.products <= 2 * 1000).all()
    ends = {status.MAX_STEPS, status.NO_FINITE_OPTIMUM, status.WITHOUT_BOUND}
    assert set(info.status) <= NO_MORE | ends


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("sizes", [[1, 1, 1e9], [1e12, 1, 1e-3], [1e20] * 3])
def test_columns_of_any_scale_are_solved(sizes, narrow):
    data, l2s = problems.random(seed=1), [1e-2, 1e-1]
    sizes = np.array([*sizes, *sizes[:2] * 2, sizes[0]])
    with jax.enable_x64(not narrow):
        _, info = newton.solve(data.x * sizes, data.labels, l2s)
    assert set(info.status) <= NO_MORE
    assert ((info.relative_gap <= 1e-6) == (info.status == status.CONVERGED)).all()
    # A column so large is not penalised to speak of.
    penalties = [np.where(sizes > 1e6, 0.0, l2 / sizes**2) for l2 in l2s]
    best = [reference_solver.solve(*data[:2], each).objective for each in penalties]
    np.testing.assert_allclose(info.objective, best, rtol=1e-4)


def test_tiny_features_leave_the_prior():
    # At 1e-25 no weight is worth its penalty: the classes' frequencies are left.
    _, info = newton.solve(1e-25 * DATA.x, DATA.labels, [1e-2, 1e-1])
    assert (info.status == status.CONVERGED).all()
    np.testing.assert_allclose(info.objective, np.log(3), rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_converged_is_what_the_returned_gap_says(scale):
    x, labels, _ = problems.random(noise=0.1)
    for l2 in ([1e-2, 1e-4], [1e-8, 1e-16]):
        params, info = newton.solve(scale * x, labels, l2, tol=1e-7)
        gap = certificate.certify(params, scale * x, labels, l2).gap
        converged = info.status == status.CONVERGED
        np.testing.assert_array_equal(converged, info.relative_gap <= 1e-7)
        np.testing.assert_allclose(gap, info.gap, rtol=1e-6)
        assert (gap[converged] <= 1.01e-7 * info.objective[converged]).all()
        assert converged[0] or l2[0] < 1e-2


def test_confident_rows_are_solved_with_64_bits_off():
    x, labels, _ = problems.random(noise=0.1)
    with jax.enable_x64(False):
        _, narrow = newton.solve(1e6 * x, labels, [1e-2, 1e-3])
    assert (narrow.status == status.CONVERGED).all()
    _, wide = newton.solve(1e6 * x, labels, [1e-2, 1e-3])
    np.testing.assert_allclose(narrow.objective, wide.objective, rtol=1e-5)


def test_statuses_follow_the_certificate_that_is_returned():
    progress = status.begin(np.full(2, 1e-3), np.ones(2, bool))
    with jax.enable_x64(True):
        prepared = problem.prepare(
            DATA.x, DATA.labels, num_lanes=2, weights=DATA.weights
        )
        solver = solver_lib.prepare(prepared, DATA.x, 1e-6, 100)
        start = solver_lib.origin(solver)
        W, b = columns.to_params(solver.columns, prepared.lanes.present, start)
        proof = certificate.summary(
            certificate.evaluate(prepared, Params(W, b), jnp.full(2, 1e-3), 1e-12)
        )
    progress.status[:] = status.CONVERGED, status.MAX_STEPS
    assert status.reopen(proof, progress, 1e-6)
    assert progress.status.tolist() == ["", status.MAX_STEPS]
    progress.status[:] = status.STALLED, status.MAX_STEPS
    assert not status.reopen(proof, progress, 1e6)
    assert (progress.status == status.CONVERGED).all()


@pytest.mark.parametrize("fill", [np.nan, np.inf, 1e30])
def test_a_row_without_weight_is_not_there(fill):
    # As many rows are left as all other problems have.
    x, labels, _ = problems.random(num_rows=75)
    weights = (np.arange(75) % 5 > 0).astype(float)
    kept, l2 = weights > 0, np.array([1e-1, 1e-3])
    expected = newton.solve(x[kept], labels[kept], l2)
    x[~kept], labels[~kept] = fill, -1
    params, info = newton.solve(x, labels, l2, weights=weights)
    jax.tree.map(np.testing.assert_array_equal, (params, info), expected)
    gap = certificate.certify(params, x, labels, l2, weights).gap
    np.testing.assert_array_equal(gap, info.gap)
    # A row that has weight in one lane is refused, by its number.
    both = np.stack([weights, np.ones(75)])
    with pytest.raises(ValueError, match=r"x\[0, 0\]|labels\[0\] = -1"):
        newton.solve(x, labels, l2, weights=both)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5])
def test_a_lane_among_others_ends_as_it_does_alone(scale):
    # Beside a lane that is invalid, one without penalty and one that needs float64.
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 4)) * [scale, 1, 1, 1], rng.integers(0, 3, 60)
    l2, weights = np.array([0.1, 0.0, 1.0, 1e-3]), np.ones((4, 60))
    weights[0] = np.nan
    _, info = newton.solve(x, labels, l2, weights=weights, tol=1e-9)
    assert info.status[0] == status.INVALID
    for lane in (1, 2, 3):
        _, alone = newton.solve(x, labels, l2[lane : lane + 1], tol=1e-9)
        assert info.status[lane] == alone.status[0] != status.STALLED
        objectives = info.objective[lane], alone.objective[0]
        np.testing.assert_allclose(*objectives, rtol=1e-8)


def test_a_start_out_of_range_takes_steps_beside_a_lane_that_goes_on():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    far = np.full((4, 3), 1e39) * np.array([1.0, -1.0, 0.0])
    init = Params(np.stack([far, np.zeros((4, 3))]), np.zeros((2, 3)))
    _, info = newton.solve(x, labels, [0.1, 1e-4], init=init)
    assert (info.status == status.CONVERGED).all()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "change",
    [
        lambda W, b: (W + 1.0, b),  # a shift of all classes
        lambda W, b: (W + 0.05, b),
        lambda W, b: (W, b + 30.0 * np.sign(np.arange(b.size) - 0.5)),
        lambda W, b: (100.0 * np.random.default_rng(1).normal(size=W.shape), b),
        lambda W, b: (1000.0 * np.random.default_rng(2).normal(size=W.shape), b),
    ],
    ids=[
        "shifted",
        "a little shifted",
        "confident bias",
        "confident",
        "more confident",
    ],
)
def test_a_start_that_is_no_help_does_no_harm(classes, change):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 4)), rng.integers(0, classes, 60)
    params, expected = newton.solve(x, labels, [0.1])
    W, b = change(*(np.array(leaf[0], np.float64) for leaf in params))
    _, info = newton.solve(x, labels, [0.1], init=Params(W[None], b[None]))
    assert info.status[0] == status.CONVERGED
    np.testing.assert_allclose(info.objective, expected.objective, rtol=2e-6)


def test_what_is_in_an_absent_class_of_a_start_is_not_returned():
    x, labels = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
    init = Params(np.full((1, 2, 3), [0.0, 0.0, np.nan]), np.zeros((1, 3)))
    params, info = newton.solve(x, labels, [0.1], init=init, num_classes=3)
    assert info.status[0] == status.CONVERGED
    assert np.isfinite(params.W).all()


@pytest.mark.parametrize("size", [1e-11, 1e-12, 1e-13])
def test_nearly_equal_columns_that_separate_the_classes_are_no_optimum(size):
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=2000), rng.integers(0, 2, 2000)
    signs = 2 * labels - 1 + 0.1 * rng.normal(size=2000)
    _, info = newton.solve(np.stack([z, z + size * signs], axis=1), labels, [0.0])
    assert info.status[0] != status.WITHOUT_BOUND or info.objective[0] < 0.05


def test_a_column_of_another_size_is_not_lost():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    x = np.stack([rng.normal(size=200), 1e-170 * (labels - 0.5)], axis=1)
    _, info = newton.solve(x, labels, [0.0])
    assert info.status[0] == status.NO_FINITE_OPTIMUM
