"""The fused losses against the plain ones, one by one, and where floats are hard."""

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from linclf_jax import gradients, losses
from linclf_jax.training import fused
from tests import tolerances

SHAPES = [(5, 3, 2), (3, 3, 3), (7, 2, 5), (1, 4, 1), (4, 1, 2)]  # B, C, L
DTYPES = ("float64", "float32")
MASKED, HUGE = -np.inf, 3e38


def make_problem(shape, dtype, seed=0):
    rows, num_classes, lanes = shape
    rng = np.random.default_rng([seed, *shape])
    scores = jnp.asarray(2.0 * rng.normal(size=shape), dtype)
    labels = jnp.asarray(rng.integers(0, num_classes, rows), jnp.int32)
    scale = jnp.asarray(rng.uniform(0.5, 2.0, (rows, lanes)), dtype)
    return scores, labels, scale


def close(dtype, num_classes):
    if dtype == "float64":
        return tolerances.CLOSED_FORM
    return tolerances.rounded(dtype, num_classes, size=8.0)


def plain(logits, labels, loss, smoothing=None):
    """Loss ``(B,)`` and gradient ``(B, C)`` of one lane, by the plain functions."""
    if smoothing is None:
        values = losses.LOSSES[loss](logits, labels)
        return values, gradients.logits_gradient(logits, labels, loss=loss)
    targets = losses.smooth_labels(labels, logits.shape[1], smoothing)
    arguments = logits, targets.astype(logits.dtype)
    return (
        losses.softmax_cross_entropy_with_targets(*arguments),
        gradients.softmax_cross_entropy_with_targets(*arguments),
    )


def one_row(*logits, label, dtype="float32", scale=1.0):
    """Loss and residual ``(C,)`` of one row and lane."""
    scores = jnp.asarray(logits, dtype)[None, :, None]
    ones = jnp.full((1, 1), scale, dtype)
    value, residual = fused.softmax_cross_entropy(scores, jnp.array([label]), ones)
    return np.asarray(value)[0, 0], np.asarray(residual)[0, :, 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("loss", "smoothed"),
    [*((loss, False) for loss in losses.LOSSES), ("softmax_cross_entropy", True)],
)
def test_fused_is_the_plain_loss_and_its_gradient(loss, smoothed, shape, dtype):
    scores, labels, scale = make_problem(shape, dtype)
    smoothing = jnp.linspace(0.05, 0.9, shape[-1]).astype(dtype) if smoothed else None
    expected, gradient = jax.vmap(
        lambda logits, smoothing: plain(logits, labels, loss, smoothing),
        in_axes=(-1, 0),
        out_axes=-1,
    )(scores, smoothing)
    for weights in (scale, scale[:, :1]):
        values, residual = fused.FUSED[loss](scores, labels, weights, smoothing)
        assert values.dtype == residual.dtype == dtype
        chex.assert_trees_all_close(values, expected, **close(dtype, shape[1]))
        chex.assert_trees_all_close(
            residual, gradient * weights[:, None], **close(dtype, shape[1])
        )


def test_the_residual_is_what_autodiff_makes_of_the_value():
    scores, labels, scale = make_problem((5, 3, 2), "float64")
    for smoothing in (None, jnp.array([0.1, 0.4])):

        def total(scores, smoothing=smoothing):
            values, _ = fused.softmax_cross_entropy(scores, labels, scale, smoothing)
            return jnp.sum(scale * values)

        _, residual = fused.softmax_cross_entropy(scores, labels, scale, smoothing)
        chex.assert_trees_all_close(
            jax.grad(total)(scores), residual, **tolerances.CLOSED_FORM
        )


@pytest.mark.parametrize("loss", sorted({*losses.LOSSES} - {"softmax_cross_entropy"}))
def test_a_hinge_refuses_smoothing(loss):
    scores, labels, scale = make_problem((5, 3, 2), "float64")
    with pytest.raises(ValueError, match=f"{loss} has no label smoothing"):
        fused.FUSED[loss](scores, labels, scale, jnp.array([0.1, 0.1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("margin", [0.0, 1e-3, 1.0, 20.0, 50.0, 69.0, -20.0, -80.0])
@pytest.mark.parametrize("shift", [0.0, 1e8, -1e8])
def test_no_digit_is_lost_at_any_margin_and_shift(margin, shift, dtype):
    """At a margin of 69 the loss is 2e-30, which 1 + 2e-30 would round away."""
    logits = np.array([margin, 0.0, -2.0]) + shift
    exact_logits = logits.astype(dtype).tolist()
    value, residual = one_row(*logits, label=0, dtype=dtype)
    with mpmath.workdps(80):
        exps = [mpmath.exp(mpmath.mpf(s)) for s in exact_logits]
        whole = sum(exps)
        expected = [mpmath.log(whole) - exact_logits[0]]
        expected += [-(exps[1] + exps[2]) / whole, exps[1] / whole, exps[2] / whole]
        expected = [float(number) for number in expected]
    assert margin < 60 or shift or 0 < expected[0] < 1e-29
    # exp turns an ulp of a logit difference into as many as the difference is large.
    unit = 8 * float(np.finfo(dtype).eps) * max(1.0, abs(margin) / 8)
    np.testing.assert_allclose([value, *residual], expected, rtol=unit)


@pytest.mark.parametrize(
    ("logits", "label", "loss", "residual"),
    [
        ((HUGE, 0.0, -HUGE), 0, 0.0, (0, 0, 0)),
        ((HUGE, 0.0, -HUGE), 1, HUGE, (1, -1, 0)),
        ((HUGE, HUGE, -HUGE), 0, np.log(2), (-0.5, 0.5, 0)),
        ((HUGE, 0.0, -HUGE), 2, np.inf, (1, 0, -1)),
        ((1.0, 1.0, MASKED), 0, np.log(2), (-0.5, 0.5, 0)),
        ((MASKED, MASKED, 5.0), 2, 0.0, (0, 0, 0)),
        ((1.0, 1.0, MASKED), 2, np.inf, (0.5, 0.5, -1)),
    ],
)
def test_huge_logits_and_masked_classes(logits, label, loss, residual):
    value, gradient = one_row(*logits, label=label)
    np.testing.assert_allclose(value, np.float32(loss), rtol=1e-6)
    np.testing.assert_allclose(gradient, residual, rtol=1e-6)


def test_smoothing_averages_huge_logits_without_overflow():
    scores = jnp.array([3e38, 0.0, 0.0, 0.0], jnp.float32)[None, :, None]
    ones, share = jnp.ones((1, 1), jnp.float32), jnp.array([0.1], jnp.float32)
    value, residual = fused.softmax_cross_entropy(scores, jnp.array([0]), ones, share)
    np.testing.assert_allclose(value, 0.1 * 0.75 * 3e38, rtol=1e-6)
    expected = np.array([0.1 * 0.75, -0.025, -0.025, -0.025])
    np.testing.assert_allclose(residual[0, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("bad", [-1, -3, 3, 7, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_a_label_out_of_range_is_nan_in_its_row_alone(loss, bad, smoothed):
    if smoothed and loss != "softmax_cross_entropy":
        return
    scores, labels, scale = make_problem((5, 3, 2), "float32")
    smoothing = (jnp.full(2, 0.1, jnp.float32),) if smoothed else ()
    clean = fused.FUSED[loss](scores, labels, scale, *smoothing)
    spoilt = fused.FUSED[loss](scores, labels.at[2].set(bad), scale, *smoothing)
    for array, expected in zip(spoilt, clean, strict=True):
        assert np.all(np.isnan(array[2]))
        others = np.array([0, 1, 3, 4])
        np.testing.assert_array_equal(array[others], expected[others])


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_a_logit_of_nan_is_seen_in_its_row_and_lane_alone(loss):
    scores, labels, scale = make_problem((5, 3, 2), "float64")
    clean = fused.FUSED[loss](scores, labels, scale)
    for column in range(3):
        spoilt = fused.FUSED[loss](scores.at[1, column, 0].set(jnp.nan), labels, scale)
        for array, expected in zip(spoilt, clean, strict=True):
            assert np.all(np.isnan(array[1, ..., 0]))
            unknown = np.isnan(array)
            assert unknown.sum() == np.size(array[1, ..., 0])
            np.testing.assert_array_equal(
                array[~unknown], np.asarray(expected)[~unknown]
            )
