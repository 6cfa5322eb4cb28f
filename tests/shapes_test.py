"""Arrays that would be broadcast against what they do not belong to are refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import calibration, curvature, gradients, losses
from linclf_jax.params import Params
from linclf_jax.training import evaluation, fused, stack
from linclf_jax.training.settings import Static

# Three of everything, so that nothing fails by itself.
ONE = Params(jnp.ones((3, 3)), jnp.zeros(3))
STACK = Params(jnp.ones((3, 3, 3)), jnp.zeros((3, 3)))
LAST = Params(jnp.ones((3, 3, 3)), jnp.zeros((1, 3, 3)))
X, LABELS, STATIC = jnp.ones((3, 3)), jnp.array([0, 1, 2]), Static(3)
SCORES = jnp.ones((3, 3, 3))
LOSS = {"loss": "softmax_cross_entropy", "l2": 0.1}


def batch(x=X, labels=LABELS, share=None):
    return stack.Batch(x, labels, jnp.ones((3, 1)) if share is None else share)


def of_stack(params, batch):
    return stack.manual_gradient(
        params, batch, loss=LOSS["loss"], l2=jnp.ones((1, 1, 3))
    )


def times_a_stack(params, x, labels, **kwargs):
    return curvature.hessian_vector_product(ONE, params, x, labels, **kwargs)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (losses.objective, LOSS),
        (gradients.objective_gradient, LOSS),
        (gradients.inputs_gradient, {"loss": LOSS["loss"]}),
        (gradients.per_example_gradient_norms, {"loss": LOSS["loss"]}),
        (curvature.hessian, {"l2": 0.1}),
        (times_a_stack, {"l2": 0.1}),
    ],
)
def test_a_stack_of_classifiers_or_of_penalties_is_refused(function, options):
    with pytest.raises(ValueError, match="one classifier"):
        function(STACK, X, LABELS, **options)
    if "l2" in options:
        message = r"l2 has shape \(3,\); expected one number: map several with jax.vmap"
        with pytest.raises(ValueError, match=message):
            function(ONE, X, LABELS, **options | {"l2": jnp.ones(3)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: curvature.hessian_vector_product(
                ONE, Params(jnp.ones((3, 1)), jnp.ones(1)), X, LABELS, l2=0.1
            ),
            r"tangent have shape \(3, 1\); expected \(3, 3\)",
        ),
        (
            lambda: losses.smooth_labels(LABELS, 3, jnp.ones(3)),
            r"smoothing has shape \(3,\)",
        ),
        (lambda: losses.weighted_mean(X, jnp.ones(3)), r"values have shape \(3, 3\)"),
        (lambda: losses.weighted_mean(X, None), r"values have shape \(3, 3\)"),
        (
            lambda: losses.softmax_cross_entropy_with_targets(X, jnp.ones((1, 3))),
            r"targets have shape \(1, 3\); expected \(3, 3\), that of logits",
        ),
        (
            lambda: gradients.softmax_cross_entropy_with_targets(X, jnp.ones(3)),
            r"targets have shape \(3,\)",
        ),
        (
            lambda: curvature.logits_hessian_vector_product(X, jnp.ones((1, 3))),
            r"tangent have shape \(1, 3\)",
        ),
        (lambda: stack.logits(STACK, X), "lanes in front go through lanes_last"),
        (lambda: of_stack(STACK, batch()), "lanes in front go through lanes_last"),
        (lambda: of_stack(LAST, batch(labels=LABELS[:1])), "labels have shape"),
        (lambda: of_stack(LAST, batch(share=jnp.ones((1, 3)))), "shape"),
        (lambda: stack.normalised(jnp.ones(3)), r"weights have shape \(3,\)"),
        (lambda: stack.accuracy(SCORES, LABELS[:1]), r"labels have shape \(1,\)"),
        *(
            (
                lambda loss=loss: fused.FUSED[loss](SCORES, LABELS, jnp.ones((1, 3))),
                r"weights \(1, 3\); expected \(3,\), and \(3, 1\) or \(3, 3\)",
            )
            for loss in fused.FUSED
        ),
        (
            lambda: evaluation.evaluate(LAST, X, LABELS, jnp.ones(3), STATIC),
            r"weights have shape \(3,\); expected \(3, 1\) or \(3, L\)",
        ),
        # A slice of six labels that starts at a row of three is none of theirs.
        (
            lambda: evaluation.evaluate(
                LAST, X, jnp.tile(LABELS, 2), jnp.ones((3, 1)), STATIC
            ),
            r"labels have shape \(6,\); expected \(3,\)",
        ),
        (
            lambda: evaluation.by_row(LAST, X, jnp.tile(LABELS, 2), STATIC),
            r"labels have shape \(6,\)",
        ),
        (
            lambda: calibration.fit_temperature(np.eye(3), np.array([0, 1, -1])),
            r"label -1 in row 2.*expected integers in 0\.\.2",
        ),
        (
            lambda: calibration.fit_temperature(np.eye(3), np.array([0, 3, 4])),
            r"2 labels that are no class, the first is label 3 in row 1",
        ),
    ],
)
def test_a_shape_that_is_not_meant_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
