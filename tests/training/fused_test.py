"""The fused losses against the plain ones, one by one, and where floats are hard."""

import functools

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from linclf_jax import gradients, losses
from linclf_jax.training import fused
from tests import tolerances

MASKED, HUGE = -np.inf, 3e38
LOSS, SIGMOID = "softmax_cross_entropy", "sigmoid_cross_entropy"


def make_problem(shape, dtype):
    rows, num_classes, lanes = shape
    rng = np.random.default_rng([0, *shape])
    scores = jnp.asarray(2.0 * rng.normal(size=shape), dtype)
    labels = jnp.asarray(rng.integers(0, num_classes, rows), jnp.int32)
    scale = jnp.asarray(rng.uniform(0.5, 2.0, (rows, lanes)), dtype)
    return scores, labels, scale


@functools.partial(jax.jit, static_argnames="loss")
def fuse(scores, labels, scale, smoothing=None, loss=LOSS):
    return fused.FUSED[loss](scores, labels, scale, smoothing)


@functools.partial(jax.jit, static_argnames="loss")
def plain(scores, labels, smoothing, loss):
    """Loss ``(B, L)`` and gradient ``(B, C, L)`` by the plain functions, mapped."""

    def one_lane(logits, smoothing):
        if smoothing is None:
            values = losses.LOSSES[loss](logits, labels)
            return values, gradients.logits_gradient(logits, labels, loss=loss)
        targets = losses.smooth_labels(labels, logits.shape[1], smoothing)
        arguments = logits, targets.astype(logits.dtype)
        return (
            losses.softmax_cross_entropy_with_targets(*arguments),
            gradients.softmax_cross_entropy_with_targets(*arguments),
        )

    return jax.vmap(one_lane, in_axes=(-1, 0), out_axes=-1)(scores, smoothing)


def one_row(*logits, label, dtype="float32", smoothing=None):
    """Loss and residual ``(C,)`` of one row and lane."""
    scores = jnp.asarray(logits, dtype)[None, :, None]
    if smoothing is not None:
        smoothing = jnp.array([smoothing], dtype)
    arguments = jnp.array([label]), jnp.ones((1, 1), dtype)
    value, residual = fuse(scores, *arguments, smoothing)
    return np.asarray(value)[0, 0], np.asarray(residual)[0, :, 0]


@pytest.mark.parametrize(
    ("shape", "dtype"),  # B, C, L
    [
        ((5, 3, 2), "float64"),
        ((3, 3, 3), "float32"),
        ((1, 4, 1), "float64"),
        ((4, 1, 2), "float64"),
    ],
)
@pytest.mark.parametrize(
    ("loss", "smoothed"), [*((loss, False) for loss in losses.LOSSES), (LOSS, True)]
)
def test_fused_is_the_plain_loss_and_its_gradient(loss, smoothed, shape, dtype):
    scores, labels, scale = make_problem(shape, dtype)
    smoothing = jnp.linspace(0.05, 0.9, shape[-1]).astype(dtype) if smoothed else None
    expected, gradient = plain(scores, labels, smoothing, loss)
    close = tolerances.rounded(dtype, shape[1], size=8.0)
    if dtype == "float64":
        close = tolerances.CLOSED_FORM
    for weights in (scale, scale[:, :1]):
        values, residual = fuse(scores, labels, weights, smoothing, loss)
        assert values.dtype == residual.dtype == dtype
        chex.assert_trees_all_close(values, expected, **close)
        scaled = np.asarray(gradient) * np.asarray(weights)[:, None]
        chex.assert_trees_all_close(np.asarray(residual), scaled, **close)


@pytest.mark.parametrize("loss", sorted({*losses.LOSSES} - {LOSS}))
def test_losses_of_no_softmax_refuse_smoothing(loss):
    scores, labels, scale = make_problem((5, 3, 2), "float64")
    with pytest.raises(ValueError, match=f"{loss} has no label smoothing"):
        fused.FUSED[loss](scores, labels, scale, jnp.array([0.1, 0.1]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
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
    ("logits", "label", "smoothing", "loss", "residual"),
    [
        ((HUGE, 0.0, -HUGE), 0, None, 0.0, (0, 0, 0)),
        ((HUGE, 0.0, -HUGE), 1, None, HUGE, (1, -1, 0)),
        ((HUGE, HUGE, -HUGE), 0, None, np.log(2), (-0.5, 0.5, 0)),
        ((HUGE, 0.0, -HUGE), 2, None, np.inf, (1, 0, -1)),
        ((1.0, 1.0, MASKED), 0, None, np.log(2), (-0.5, 0.5, 0)),
        ((MASKED, MASKED, 5.0), 2, None, 0.0, (0, 0, 0)),
        ((1.0, 1.0, MASKED), 2, None, np.inf, (0.5, 0.5, -1)),
        # The sum of these logits overflows, their mean does not.
        ((HUGE, 0.0, 0.0, 0.0), 0, 0.1, 0.075 * HUGE, (0.075, *[-0.025] * 3)),
    ],
)
def test_huge_logits_and_masked_classes(logits, label, smoothing, loss, residual):
    value, gradient = one_row(*logits, label=label, smoothing=smoothing)
    np.testing.assert_allclose(value, np.float32(loss), rtol=1e-6)
    np.testing.assert_allclose(gradient, residual, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "smoothed"), [*((loss, False) for loss in losses.LOSSES), (LOSS, True)]
)
def test_bad_labels_and_logits_are_nan_in_their_row_alone(loss, smoothed):
    scores, labels, scale = make_problem((5, 3, 2), "float64")
    smoothing = jnp.full(2, 0.1) if smoothed else None
    clean = jax.device_get(fuse(scores, labels, scale, smoothing, loss))
    whole = slice(None)
    spoilt = [
        (fuse(scores, labels.at[2].set(bad), scale, smoothing, loss), whole, whole)
        for bad in (-1, -3, 3, 7, 2**31 - 1, -(2**31))
    ]
    for column in range(3):  # in their lane alone, too, and of a sigmoid in their label
        logits = scores.at[2, column, 0].set(jnp.nan)
        own = column if loss == SIGMOID else whole
        spoilt.append((fuse(logits, labels, scale, smoothing, loss), own, 0))
    for arrays, column, lane in spoilt:
        for array, expected, index in zip(
            arrays, clean, ((2, lane), (2, column, lane)), strict=True
        ):
            is_bad = np.isnan(array)
            assert np.all(is_bad[index])
            assert is_bad.sum() == np.size(array[index])
            np.testing.assert_array_equal(array[~is_bad], expected[~is_bad])
