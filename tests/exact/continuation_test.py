"""Paths: every point as good as a solution of its own, for less work."""

import functools

import jax
import numpy as np
import pytest

from linclf_jax.exact import axes, certificate, continuation, newton, status
from tests import miniatures, reference_solver

L2S = np.geomspace(1e-6, 1.0, 13)
TOL = 1e-8


@pytest.fixture(scope="module")
def data():
    return miniatures.random()


@pytest.fixture(scope="module")
def path(data):
    """Returns the points of both folds, given in an order of no meaning."""
    shuffled = np.random.default_rng(0).permutation(L2S)
    return list(
        continuation.follow(
            data.x, data.labels, shuffled, weights=data.weights, tol=TOL
        )
    )


def test_visits_all_from_the_largest(path):
    np.testing.assert_array_equal([point.l2 for point in path], L2S[::-1])
    for point in path:
        assert point.params.W.shape == (2, 8, 3)
        assert point.params.b.shape == (2, 3)
        assert point.params.W.dtype == "float64"


def test_every_point_meets_the_tolerance(data, path):
    for l2, params, info, _ in path:
        assert (info.status == status.CONVERGED).all()
        assert (info.relative_gap <= TOL).all()
        found = certificate.certify(
            params, data.x, data.labels, np.full(2, l2), data.weights
        )
        np.testing.assert_allclose(info.objective, found.objective, rtol=1e-12)
        np.testing.assert_allclose(info.gap, found.gap, rtol=1e-2, atol=1e-14)


def test_every_point_is_the_optimum(data, path):
    for l2, params, info, _ in path:
        for lane, weights in enumerate(data.weights):
            best = reference_solver.solve(data.x, data.labels, l2, weights)
            missing = info.objective[lane] - best.objective
            assert -1e-14 <= missing <= info.gap[lane] + 1e-15
            assert missing <= TOL * best.objective
            near = np.sqrt(2 * info.gap[lane] / l2)
            assert np.linalg.norm(params.W[lane] - best.W) <= near + 1e-9


def test_takes_fewer_products_than_cold_solutions(data, path):
    cold = [
        newton.solve(
            data.x, data.labels, np.full(2, l2), weights=data.weights, tol=TOL
        )[1]
        for l2 in L2S
    ]
    warm = [point.info for point in path]
    for count in ("products", "newton_steps"):
        fewer, more = (
            sum(getattr(info, count).sum() for info in infos) for infos in (warm, cold)
        )
        assert fewer < 0.75 * more
    for info, told in zip(warm, cold[::-1], strict=True):
        np.testing.assert_allclose(info.objective, told.objective, rtol=2 * TOL)


def test_a_fine_path_is_extrapolated(data):
    # A tenth of a decade further, the parabola is nearer than the last solution.
    fine = np.geomspace(1e-3, 1e-2, 11)
    points = continuation.follow(
        data.x, data.labels, fine, weights=data.weights, tol=1e-6
    )
    steps = [point.info.newton_steps.max() for point in points]
    assert max(steps[3:]) <= 1


def test_weights_may_be_one_row_or_none(data):
    alone = continuation.follow(data.x, data.labels, [1e-2], tol=TOL)
    weighed = continuation.follow(
        data.x, data.labels, [1e-2], weights=np.full(60, 3.0), tol=TOL
    )
    best = reference_solver.solve(data.x, data.labels, 1e-2)
    for points in (alone, weighed):
        (point,) = points
        assert point.params.W.shape == (1, 8, 3)
        np.testing.assert_allclose(point.info.objective, best.objective, rtol=TOL)


def test_ends_without_penalty(data):
    points = list(
        continuation.follow(
            data.x, data.labels, [0.0, 1e-3, 1e-2], weights=data.weights, tol=TOL
        )
    )
    assert [point.l2 for point in points] == [1e-2, 1e-3, 0.0]
    assert (points[-1].info.status == status.WITHOUT_BOUND).all()
    best = reference_solver.solve(data.x, data.labels, 0.0, data.weights[1])
    np.testing.assert_allclose(points[-1].info.objective[1], best.objective, rtol=TOL)


def test_a_lane_of_nan_ends_alone_at_every_point(data, path):
    weights = data.weights.copy()
    weights[0, 5] = np.nan
    points = continuation.follow(data.x, data.labels, L2S, weights=weights, tol=TOL)
    for found, healthy in zip(points, path, strict=True):
        assert found.info.status[0] == status.INVALID
        assert found.info.status[1] == status.CONVERGED
        np.testing.assert_allclose(
            found.info.objective[1], healthy.info.objective[1], rtol=2 * TOL
        )


def test_a_class_that_a_fold_does_not_have(data):
    weights = np.stack([data.labels != 1, np.ones(60)]).astype(float)
    points = continuation.follow(
        data.x, data.labels, [1.0, 1e-2, 1e-4], weights=weights, tol=TOL
    )
    kept = data.labels != 1
    for l2, params, info, _ in points:
        assert (info.status == status.CONVERGED).all()
        np.testing.assert_array_equal(np.isneginf(params.b[0]), [False, True, False])
        assert np.isfinite(params.W).all()
        best = reference_solver.solve(data.x[kept], data.labels[kept] // 2, l2)
        np.testing.assert_allclose(info.objective[0], best.objective, rtol=TOL)


def test_float32_points_are_certified_as_they_are(data):
    narrow = data.x.astype("float32")
    points = continuation.follow(
        narrow, data.labels, [1e-1, 1e-3, 1e-5], weights=data.weights
    )
    for l2, params, info, _ in points:
        assert params.W.dtype == params.b.dtype == "float32"
        found = certificate.certify(
            params, narrow, data.labels, np.full(2, l2), data.weights
        )
        np.testing.assert_allclose(info.objective, found.objective, rtol=1e-9)
        np.testing.assert_allclose(info.gap, found.gap, rtol=1e-2, atol=1e-12)
        stalled = info.status == status.STALLED
        assert (stalled | (info.relative_gap <= 1e-6)).all()


def test_the_callers_setting_is_its_own_between_two_points(data):
    with jax.enable_x64(False):
        points = continuation.follow(data.x, data.labels, [1e-1, 1e-2])
        for point in points:
            assert not jax.config.jax_enable_x64
            assert point.info.gap.dtype == np.float64
            assert (point.info.relative_gap <= 1e-6).all()


def test_steps_are_bounded_at_every_point(data):
    points = continuation.follow(
        data.x, data.labels, [1e-1, 1e-4], weights=data.weights, max_newton=1, tol=1e-12
    )
    for point in points:
        assert (point.info.newton_steps == 1).all()
        assert (point.info.status == status.MAX_STEPS).all()


RESUMED_L2S = [1.0, 0.1, 1e-2, 1e-3, 1e-4, 0.0]


def arrays_of(point):
    """Returns all that a point holds, by name."""
    arrays = point.params._asdict() | point.info._asdict()
    return arrays | continuation.state_arrays(point.state)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_path_goes_on_from_any_stored_state_with_the_same_bits(data, dtype, tmp_path):
    x, labels = data.x.astype(dtype), data.labels
    # A class that the third lane does not have: its bias is minus infinity.
    weights = np.concatenate([data.weights, [labels != 1]])
    follow = functools.partial(
        continuation.follow, x, labels, RESUMED_L2S, weights=weights, tol=TOL
    )
    whole = list(follow())
    assert {len(point.state.solutions) for point in whole} == {1, 2, 3}
    for cut, point in enumerate(whole, start=1):
        path = tmp_path / f"{cut}.npz"
        np.savez(path, **continuation.state_arrays(point.state))
        with jax.enable_x64(False), np.load(path) as arrays:
            state = continuation.state_from_arrays(arrays)
        rest = list(follow(state=state))
        assert [p.l2 for p in rest] == RESUMED_L2S[cut:]
        for found, expected in zip(rest, whole[cut:], strict=True):
            found, expected = arrays_of(found), arrays_of(expected)
            assert found.keys() == expected.keys()
            for name, array in expected.items():
                assert found[name].dtype == array.dtype
                np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_state_of_another_problem_is_refused(data):
    (point,) = continuation.follow(data.x, data.labels, [1.0], weights=data.weights)
    with pytest.raises(ValueError, match=r"rows\) \(2, 3, 8, 60\); expected \(1, 3"):
        continuation.follow(data.x, data.labels, [0.1], state=point.state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l2s": [0.1, 0.2, 0.1]}, "l2s holds a value twice"),
        ({"l2s": [0.1, -0.2]}, "l2 of lane 1 is -0.2; expected"),
        ({"l2s": [0.1, np.nan]}, "nan"),
        ({"l2s": 0.1}, r"has shape \(\); expected"),
        ({"x": np.zeros(60)}, r"x has shape \(60,\)"),
        ({"labels": np.zeros(59, int)}, "x has 60 rows but labels has 59"),
        ({"weights": np.ones((2, 59))}, r"weights has shape \(2, 59\)"),
        ({"tol": 0.0}, "tol is 0.0"),
        ({"max_newton": -1}, "max_newton is -1"),
        ({"num_classes": 2}, r"labels\[2\] = 2"),
    ],
)
def test_bad_input_is_refused_before_the_first_point(
    monkeypatch, data, change, message
):
    monkeypatch.setattr(axes, "principal", None)
    arguments = {"x": data.x, "labels": data.labels, "l2s": [0.1]} | change
    with pytest.raises(ValueError, match=message):
        continuation.follow(**arguments)
