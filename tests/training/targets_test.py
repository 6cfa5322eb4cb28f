"""Training on targets of separate labels, some unknown, against the plain functions."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from sklearn import metrics

from linclf_jax import gradients, losses
from linclf_jax import params as params_lib
from linclf_jax.params import Params
from linclf_jax.training import evaluation, fused, stack, states
from linclf_jax.training.settings import Hparams, Static
from linclf_jax.training.states import Data
from tests import tolerances
from tests.training import small

LOSS, NAN = "sigmoid_cross_entropy", np.nan
close = functools.partial(np.testing.assert_allclose, **tolerances.CLOSED_FORM)
ROWS, LABELS, LANES = 40, 3, 2


def draw_targets(kind):
    """Returns targets ``(40, 3)``: shares, or 0 and 1; a quarter of them unknown."""
    rng = np.random.default_rng(3)
    unknown, shares = rng.random((ROWS, LABELS)) < 0.25, rng.random((ROWS, LABELS))
    unknown[1], unknown[2] = True, False
    if kind == "hard":
        return np.where(unknown, -1, shares > 0.5).astype(np.int32)
    return np.where(unknown, NAN, shares)


def make_problem():
    """Returns two lanes, features, weights of each lane, and penalties."""
    rng = np.random.default_rng(4)
    params = Params(rng.normal(size=(LANES, 4, LABELS)), rng.normal(size=(LANES, 3)))
    weights = rng.integers(0, 3, (ROWS, LANES)).astype(float)
    weights[:3] = 1.0
    return params, rng.normal(size=(ROWS, 4)), weights, np.array([0.1, 0.0])


@functools.partial(jax.jit, static_argnames="name")
def stacked(name, params, x, targets, weights, l2):
    batch = stack.Batch(x, targets, stack.normalised(weights))
    objective = stack.Objective(LOSS, l2[None, None])
    return stack.GRADIENTS[name](stack.lanes_last(params), batch, objective)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None, None, -1, 0))
def plain(params, x, targets, weights, l2):
    options = {"loss": LOSS, "weights": weights}
    return (
        losses.objective(params, x, targets, l2=0.0, **options),
        gradients.objective_gradient(params, x, targets, l2=l2, **options),
    )


every_kind = pytest.mark.parametrize("kind", ["hard", "shares"])


@every_kind
@pytest.mark.parametrize("name", stack.GRADIENTS)
def test_the_stack_is_the_plain_functions_mapped(name, kind):
    params, x, weights, l2 = make_problem()
    targets = draw_targets(kind)
    value, gradient = plain(params, x, targets, weights, l2)
    mean_loss, by_stack = stacked(name, params, x, targets, weights, l2)
    close(mean_loss, value)
    chex.assert_trees_all_close(
        by_stack, stack.lanes_last(gradient), **tolerances.CLOSED_FORM
    )


@pytest.mark.parametrize("name", stack.GRADIENTS)
def test_targets_of_rows_of_weight_0_may_be_anything(name):
    params, x, weights, l2 = make_problem()
    targets, spoilt = draw_targets("hard"), draw_targets("hard")
    weights[5:7, 0], spoilt[5, 1], spoilt[6] = 0.0, 7, [-2, 1, -1]
    weights[5:7, 1] = 1.0
    mean_loss, gradient = stacked(name, params, x, spoilt, weights, l2)
    expected = stacked(name, params, x, targets, weights, l2)
    close(mean_loss[0], expected[0][0])
    for actual, other in zip(gradient, expected[1], strict=True):
        close(actual[..., 0], other[..., 0])
    assert np.isnan(mean_loss[1])


def test_extremes_of_the_fused_loss_are_those_of_the_plain_one():
    some = [0.0, 69.0, -69.0, 3e38, -3e38, np.inf, -np.inf, NAN]
    logits, targets = np.meshgrid(some, [0.0, 1.0, 0.25, NAN])
    # A row for each, whose loss is then of one label.
    scores, targets = logits.reshape(-1, 1).astype("float32"), targets.reshape(-1, 1)
    ones = np.ones((32, 1), "float32")
    value, residual = map(
        np.asarray, fused.FUSED[LOSS](scores[..., None], targets, ones)
    )
    expected = losses.sigmoid_cross_entropy(scores, targets)
    np.testing.assert_allclose(value[:, 0], expected, rtol=1e-6)
    by_hand = gradients.sigmoid_cross_entropy(scores, targets)
    np.testing.assert_allclose(residual[..., 0], by_hand, rtol=1e-6)
    assert 0 < value[value > 0].min() < 2e-30


def test_a_row_is_right_where_all_that_is_known_is():
    params, x, *_ = make_problem()
    scores = jax.vmap(params_lib.logits, (0, None), -1)(params, x)
    scores = scores.at[0, 0, 0].set(NAN)
    hard = np.where(draw_targets("hard") < 0, 0, draw_targets("hard"))
    hard[0] = 0
    right = stack.accuracy(scores, hard)
    for lane in range(LANES):
        predicted = np.asarray(scores[..., lane] > 0)
        close(right[1:, lane].mean(), metrics.accuracy_score(hard[1:], predicted[1:]))
    assert right[0, 0] == 0  # NaN predicts nothing
    assert 0 < right.sum() < right.size
    # The targets above 1/2 are to be predicted, and the unknown ones not at all.
    predicted = np.asarray(scores[..., 1] > 0)
    shares = np.where(predicted, 0.6, 0.4)
    assert stack.accuracy(scores, shares)[:, 1].all()
    shares[1:, 2] = 1.0 - shares[1:, 2]
    assert not stack.accuracy(scores, shares)[1:, 1].any()
    shares[:, 2] = NAN
    assert stack.accuracy(scores, shares)[:, 1].all()


@every_kind
def test_evaluation_scores_targets_by_row_and_in_the_mean(kind):
    params, x, weights, _ = make_problem()
    # More rows than a block, and the last block is not whole.
    repeats = 2 * evaluation.BLOCK // ROWS
    x, weights, targets = (
        np.tile(a, (repeats, 1)) for a in (x, weights, draw_targets(kind))
    )
    static = Static(LABELS, loss=LOSS)
    lanes = stack.lanes_last(params)
    rows = jax.jit(evaluation.by_row, static_argnums=3)(lanes, x, targets, static)
    logits = jax.vmap(params_lib.logits, (0, None), -1)(params, x)
    for lane in range(LANES):
        close(
            rows.loss[:, lane], losses.sigmoid_cross_entropy(logits[..., lane], targets)
        )
    np.testing.assert_array_equal(rows.right, stack.accuracy(logits, targets) > 0)
    scores = jax.jit(evaluation.evaluate, static_argnums=4)(
        lanes, x, targets, weights, static
    )
    shares = weights / weights.sum(axis=0)
    close(scores.loss, (shares * rows.loss).sum(axis=0))
    close(scores.accuracy, (shares * rows.right).sum(axis=0))


@pytest.mark.parametrize("gradient", ["manual", "autodiff"])
def test_a_run_on_targets_comes_to_the_optimum_of_the_objective(gradient):
    """Which scipy finds by the plain functions."""
    _, x, *_ = make_problem()
    targets, l2 = draw_targets("shares"), 0.05

    @jax.jit
    def objective(flat):
        p = Params(flat[:12].reshape(4, 3), flat[12:])
        slope = gradients.objective_gradient(p, x, targets, loss=LOSS, l2=l2)
        return losses.objective(p, x, targets, loss=LOSS, l2=l2), jnp.append(*slope)

    best = optimize.minimize(objective, np.zeros(15), jac=True, tol=1e-14)
    static = Static(
        LABELS,
        loss=LOSS,
        gradient=gradient,
        schedule="constant",
        batch_size=ROWS,
        epochs=400,
    )
    data = Data(*map(jnp.asarray, (x, targets, x[:9], targets[:9])))
    hparams = Hparams(learning_rate=1.0, l2=l2)
    params, history = small.train(static, hparams, data)
    assert history.status == states.OK
    np.testing.assert_allclose(params.W.ravel(), best.x[:12], atol=1e-6)
    np.testing.assert_allclose(params.b, best.x[12:], atol=1e-6)
    held_out = losses.objective(params, x[:9], targets[:9], loss=LOSS, l2=0.0)
    close(history.val_loss[-1], held_out, rtol=1e-9)


@pytest.mark.parametrize("loss", sorted({*losses.LOSSES} - {LOSS}))
def test_other_losses_refuse_targets(loss):
    params, x, weights, l2 = make_problem()
    batch = stack.Batch(x, draw_targets("hard"), stack.normalised(weights))
    objective = stack.Objective(loss, l2[None, None])
    for gradient in stack.GRADIENTS.values():
        with pytest.raises(ValueError, match="labels have shape"):
            gradient(stack.lanes_last(params), batch, objective)
