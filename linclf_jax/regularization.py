"""Strengths of an L2 penalty, from other people's units to ours and back.

Ours is l2 of ``sum_i w_i loss_i / sum_i w_i + (l2 / 2) ||W||^2``, the bias free. Each
function says what a number in another unit is for the same classifier, each ``from_``
the way back; ``docs/conventions.md`` has them in one table, with what each assumes.
``num_rows`` is n, the rows of the fit without padding, or the sum of their weights.
A number that is out of range is refused with a ``ValueError``.

Two classes: others fit the difference w of our two columns. At the optimum these are
``-w / 2`` and ``w / 2``, so that ``||W||^2`` is ``||w||^2 / 2``.
"""

import math


def inverse_strength(
    l2: float, num_rows: float, num_classes: int, *, separate: bool = False
) -> float:
    """Returns scikit-learn's and cuML's ``C``, infinity for no penalty.

    ``LogisticRegression`` weighs the sum of the losses against ``||coef||^2 / 2``, so
    that ``C = 1 / (l2 n)``, and ``2 / (l2 n)`` for two classes. Where labels are
    ``separate``, as of ``sigmoid_cross_entropy``, each is a fit of one vector to its
    own targets, and C is ``1 / (l2 n)`` however many there are.

    >>> inverse_strength(0.01, 100, 3), inverse_strength(0.01, 100, 2)
    (1.0, 2.0)
    """
    l2, rows = _number("l2", l2), _positive("num_rows", num_rows)
    columns = 1.0 if separate else _columns(num_classes)
    return math.inf if l2 == 0 else columns / (l2 * rows)


def from_inverse_strength(
    C: float, num_rows: float, num_classes: int, *, separate: bool = False
) -> float:
    """Returns l2 of scikit-learn's and cuML's ``C``.

    >>> from_inverse_strength(1.0, 100, 3), from_inverse_strength(math.inf, 100, 2)
    (0.01, 0.0)
    """
    rows = _positive("num_rows", num_rows)
    columns = 1.0 if separate else _columns(num_classes)
    return 0.0 if math.isinf(C) and C > 0 else columns / (_positive("C", C) * rows)


def alpha(l2: float, num_classes: int, *, mean_weight: float = 1.0) -> float:
    """Returns the ``alpha`` of scikit-learn's ``SGDClassifier``.

    It has one vector for two classes, hence ``l2 / 2``. Of more it fits each class
    against all others, which is no softmax: alpha is then l2 in every such fit. It
    divides by the rows and not by their weights; ``mean_weight`` is that of the sample
    weights times the class weights.
    """
    rate = _positive("mean_weight", mean_weight) / _columns(num_classes)
    return _number("l2", l2) * rate


def from_alpha(alpha: float, num_classes: int, *, mean_weight: float = 1.0) -> float:
    """Returns l2 of the ``alpha`` of scikit-learn's ``SGDClassifier``."""
    rate = _positive("mean_weight", mean_weight) / _columns(num_classes)
    return _number("alpha", alpha) / rate


def decoupled_decay(l2: float, *, momentum: float = 0.0) -> float:
    """Returns the decoupled weight decay at which SGD comes to rest where l2 has it.

    A step takes ``lr * decay * W`` from W beside the gradient's part, as optax's and
    PyTorch's AdamW do. Without momentum each step is that of the penalty, at any
    schedule; with it, heavy-ball or Nesterov without dampening, the gradient's steps
    are ``1 / (1 - momentum)`` times as long, and only the points of rest are the same.
    Adam scales each entry's gradient and rests elsewhere: no l2 is the same.

    >>> decoupled_decay(0.01), decoupled_decay(0.01, momentum=0.5)
    (0.01, 0.02)
    """
    return _number("l2", l2) / _without(momentum)


def from_decoupled_decay(decay: float, *, momentum: float = 0.0) -> float:
    """Returns l2 of a decoupled weight decay of SGD."""
    return _number("decay", decay) * _without(momentum)


def course_lambda(l2: float) -> float:
    """Returns lambda of ``mean loss + lambda ||W||^2``, without the half."""
    return _number("l2", l2) / 2.0


def from_course_lambda(strength: float) -> float:
    """Returns l2 of lambda in ``mean loss + lambda ||W||^2``."""
    return 2.0 * _number("strength", strength)


def linear_eval(l2: float, num_rows: float) -> float:
    """Returns ``l2_regularization`` of google-research's ``linear_eval``.

    Its objective is ``sum_i loss_i + strength ||W||^2``: a sum, and no half.

    >>> linear_eval(0.01, 1000)
    5.0
    """
    return _number("l2", l2) * _positive("num_rows", num_rows) / 2.0


def from_linear_eval(strength: float, num_rows: float) -> float:
    """Returns l2 of ``l2_regularization`` of google-research's ``linear_eval``."""
    return 2.0 * _number("strength", strength) / _positive("num_rows", num_rows)


def glmnet_lambda(l2: float, *, binomial: bool = False) -> float:
    """Returns lambda of glmnet's ridge, ``alpha = 0``, for l2 on standardised columns.

    Its family ``binomial`` has one vector for two classes; ``multinomial`` has a column
    for each, of two classes too.
    """
    return _number("l2", l2) / (2.0 if binomial else 1.0)


def from_glmnet_lambda(strength: float, *, binomial: bool = False) -> float:
    """Returns l2 on standardised columns of lambda of glmnet's ridge."""
    return _number("strength", strength) * (2.0 if binomial else 1.0)


def _columns(num_classes: int) -> float:
    """Returns by how much a penalty on one vector is above that on our columns."""
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; expected at least 2")
    return 2.0 if num_classes == 2 else 1.0


def _without(momentum: float) -> float:
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; expected at least 0 and below 1")
    return 1.0 - momentum


def _number(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; expected at least 0 and finite")
    return float(value)


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}; expected above 0 and finite")
    return float(value)
