"""Paths: every point as good as a solution by itself, for less work, from any stop."""

import functools

import jax
import numpy as np
import pytest

from linclf_jax.exact import path, status
from tests import reference_solver
from tests.exact import problems

DATA = problems.random()
L2S = np.geomspace(1e-6, 1.0, 10)
TOL = 1e-8


def follow(l2s, x=DATA.x, labels=DATA.labels, **options):
    """Follows a path of both folds, to a relative gap of 1e-8 if not told."""
    options = {"weights": DATA.weights, "tol": TOL} | options
    return path.follow(x, labels, l2s, **options)


@pytest.fixture(scope="module")
def points():
    """Returns the points of both folds, given in an order of no meaning."""
    return list(follow(np.random.default_rng(0).permutation(L2S)))


def test_visits_all_from_the_largest(points):
    np.testing.assert_array_equal([point.l2 for point in points], L2S[::-1])
    for point in points:
        assert point.params.W.shape == (2, 8, 3)
        assert point.params.b.shape == (2, 3)
        assert point.params.W.dtype == "float64"


def assert_certified(point, data=DATA, *, tol=TOL, rtol=1e-12, atol=1e-14):
    """Asserts that a point's claims are those of a certificate of its parameters.

    But for what the best bias may leave of them.
    """
    proof = problems.certify(point.params, data, point.l2)
    np.testing.assert_allclose(point.info.objective, proof.objective, rtol=rtol)
    most = proof.gap + 2 * path.BIAS_SHARE * tol * proof.objective
    assert (point.info.gap <= 1.01 * most + atol).all()
    assert (point.info.gap >= 0.99 * proof.gap - atol).all()


def test_every_point_meets_the_tolerance_and_is_the_optimum(points):
    for point in points:
        l2, params, info, _ = point
        assert (info.status == status.CONVERGED).all()
        assert (info.relative_gap <= TOL).all()
        assert_certified(point)
        for lane, best in enumerate(problems.optima(DATA, l2)):
            above = info.objective[lane] - best.objective
            assert -1e-14 <= above <= info.gap[lane] + 1e-15
            assert above <= TOL * best.objective
            near = np.sqrt(2 * info.gap[lane] / l2)
            assert np.linalg.norm(params.W[lane] - best.W) <= near + 1e-9


def test_points_without_a_certificate_are_near_claim_nothing_and_lead_to_one():
    weights = np.stack([DATA.weights[0], DATA.labels != 1])
    data = DATA._replace(weights=weights)
    solver = path.prepare(*DATA[:2], len(L2S), weights=weights, tol=TOL)
    for point in path.points(solver, L2S[::-1], None, certified=False):
        assert (point.info.status == status.NOT_CERTIFIED).all()
        assert np.isposinf([point.info.gap, point.info.relative_gap]).all()
        near = problems.certify(point.params, data, point.l2)
        assert (near.gap <= 2 * path.COARSE * near.objective).all()
        assert (near.gap > TOL * near.objective).any()
        np.testing.assert_allclose(point.info.objective, near.objective, rtol=1e-5)
        rounded = jax.tree.map(np.float32, point.params)
        l2 = np.full(2, point.l2)
        params, info = path.certify(solver, l2, rounded)
        assert (info.status == status.CONVERGED).all()
        assert_certified(point._replace(params=params, info=info), data)
        np.testing.assert_array_equal(params.W, path.certify(solver, l2, rounded)[0].W)


def test_an_end_that_needs_no_proof_is_said_without_one():
    separable = {"x": np.sign(DATA.x[:, :1]), "labels": (DATA.x[:, 0] > 0).astype(int)}
    options = {"weights": None, "certified": False}
    *_, last = follow([0.1, 0.0], **separable, **options)
    assert last.info.status.tolist() == [status.NO_FINITE_OPTIMUM]
    *_, last = follow([1e-6], max_newton=1, **options)
    assert last.info.status.tolist() == [status.MAX_STEPS]


def test_takes_fewer_products_than_cold_solutions(points):
    cold = [problems.solve(DATA, l2, tol=TOL)[1] for l2 in L2S[::-1]]
    warm = [point.info for point in points]
    for count in ("products", "newton_steps"):
        fewer, more = (
            sum(getattr(info, count).sum() for info in infos) for infos in (warm, cold)
        )
        assert fewer < 0.75 * more
    for info, expected in zip(warm, cold, strict=True):
        np.testing.assert_allclose(info.objective, expected.objective, rtol=2 * TOL)


def test_a_fine_path_is_extrapolated():
    # A tenth of a decade further, the parabola is nearer than the last solution.
    fine = follow(np.geomspace(1e-3, 1e-2, 11), tol=1e-6)
    steps = [point.info.newton_steps.max() for point in fine]
    assert max(steps[3:]) <= 1


def test_ends_without_penalty():
    points = list(follow([0.0, 1e-3, 1e-2]))
    assert [point.l2 for point in points] == [1e-2, 1e-3, 0.0]
    assert (points[-1].info.status == status.WITHOUT_BOUND).all()
    best = problems.optima(DATA, 0.0)[1]
    np.testing.assert_allclose(points[-1].info.objective[1], best.objective, rtol=TOL)


def test_a_lane_of_nan_ends_alone_at_every_point(points):
    weights = DATA.weights.copy()
    weights[0, 5] = np.nan
    for point, healthy in zip(follow(L2S, weights=weights), points, strict=True):
        assert point.info.status.tolist() == [status.INVALID, status.CONVERGED]
        np.testing.assert_allclose(
            point.info.objective[1], healthy.info.objective[1], rtol=2 * TOL
        )


def test_a_class_that_a_fold_does_not_have():
    kept = DATA.labels != 1
    weights = np.stack([kept, np.ones(60)]).astype(float)
    for l2, params, info, _ in follow([1.0, 1e-2, 1e-4], weights=weights):
        assert (info.status == status.CONVERGED).all()
        np.testing.assert_array_equal(np.isneginf(params.b[0]), [False, True, False])
        assert np.isfinite(params.W).all()
        best = reference_solver.solve(DATA.x[kept], DATA.labels[kept] // 2, l2)
        np.testing.assert_allclose(info.objective[0], best.objective, rtol=TOL)


def test_float32_points_are_certified_as_they_are():
    data = DATA._replace(x=DATA.x.astype("float32"))
    for point in follow([1e-1, 1e-3, 1e-5], data.x, tol=1e-6):
        assert point.params.W.dtype == point.params.b.dtype == "float32"
        assert_certified(point, data, tol=1e-6, rtol=1e-9, atol=1e-12)
        stalled = point.info.status == status.STALLED
        assert (stalled | (point.info.relative_gap <= 1e-6)).all()


def test_the_callers_setting_is_as_before_between_two_points():
    with jax.enable_x64(False):
        for point in follow([1e-1, 1e-2], weights=None, tol=1e-6):
            assert not jax.config.jax_enable_x64
            assert point.params.W.shape == (1, 8, 3)
            assert point.info.gap.dtype == np.float64
            assert (point.info.relative_gap <= 1e-6).all()
            best = reference_solver.solve(DATA.x, DATA.labels, point.l2).objective
            np.testing.assert_allclose(point.info.objective, best, rtol=1e-6)


RESUMED_L2S = [1.0, 0.1, 1e-2, 1e-4, 0.0]


def arrays_of(point):
    """Returns all that a point holds, by name."""
    arrays = point.params._asdict() | point.info._asdict()
    return arrays | path.state_arrays(point.state)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_path_goes_on_from_any_stored_state_with_the_same_bits(dtype, tmp_path):
    # A class that the second lane does not have: its bias is minus infinity.
    weights = np.stack([DATA.weights[0], DATA.labels != 1])
    resume = functools.partial(
        follow, RESUMED_L2S, DATA.x.astype(dtype), weights=weights
    )
    whole = list(resume())
    assert {len(point.state.solutions) for point in whole} == {1, 2, 3}
    for cut, point in enumerate(whole, start=1):
        stored = tmp_path / f"{cut}.npz"
        np.savez(stored, **path.state_arrays(point.state))
        with jax.enable_x64(False), np.load(stored) as arrays:
            state = path.state_from_arrays(arrays)
        rest = list(resume(state=state))
        assert [point.l2 for point in rest] == RESUMED_L2S[cut:]
        for again, expected in zip(rest, whole[cut:], strict=True):
            again, expected = arrays_of(again), arrays_of(expected)
            assert again.keys() == expected.keys()
            for name, array in expected.items():
                assert again[name].dtype == array.dtype
                np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_a_state_of_another_problem_is_refused():
    (point,) = follow([1.0])
    with pytest.raises(ValueError, match=r"columns\) \(2, 3, 8\); expected \(1, 3, 8"):
        follow([0.1], weights=None, state=point.state)


def test_a_path_is_in_the_order_of_its_penalties(points):
    l2s = [L2S[5], L2S[9], L2S[8]]
    solved = path.path(*DATA[:2], l2s, weights=DATA.weights, tol=TOL)
    assert solved.l2.tolist() == l2s
    assert solved.params.W.shape == (3, 2, 8, 3)
    for index, own in enumerate((5, 9, 8)):
        point = points[9 - own]
        objective = solved.info.objective[index]
        np.testing.assert_allclose(objective, point.info.objective, rtol=2 * TOL)
