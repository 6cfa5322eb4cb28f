"""Classifiers that move to scikit-learn and PyTorch, and back, with their predictions.

What moves is the linear classifier alone: features must be scaled on either side as
they were for the fit. Neither library is needed to import this.
"""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from linclf_jax.params import Params

_FITTED = ("coef_", "intercept_", "classes_", "decision_function", "predict")
# What holds a classifier without being one: an attribute that tells it, and what to do.
_HOLDERS = {
    "steps": "pass its last step, and features as the steps before leave them",
    "best_estimator_": "pass its best_estimator_",
    "calibrated_classifiers_": "pass the classifier that it calibrates",
    "estimators_": "pass one of its estimators_",
}
_ROWS = 8  # on which a conversion is compared with its model
# A share of the scores. A machine that sums over its support vectors rounds more than
# the product with coef_ does, whose terms have cancelled already.
_CLOSE = 1e-8


def to_sklearn(params: Params, classes: Sequence[Any], *, C: float = 1.0) -> Any:
    """Returns a fitted ``sklearn.linear_model.LogisticRegression``.

    It keeps classes sorted, as scikit-learn does, whatever their order here, and of two
    classes the difference of the columns. Softmax probabilities stay what they are.

    Args:
        params: A bias of minus infinity, of a class that the fit did not see, gives it
            no probability.
        classes: One for each column, distinct numbers or strings.
        C: What ``get_params`` says, for a fit that goes on from here; no prediction
            depends on it. See ``regularization.inverse_strength``.

    Raises:
        ValueError: Fewer than two classes, one twice, or not one for each column;
            entries that are not finite; scikit-learn is not installed.
    """
    W, b = _arrays(params)
    names = np.asarray(classes)
    if names.shape != b.shape or len(names) < 2:
        raise ValueError(
            f"classes has shape {names.shape} and W {W.shape}; expected at least 2 "
            "classes, one for each column of W"
        )
    names, order = np.unique(names, return_index=True)
    if len(names) < len(b):
        raise ValueError(
            f"found {len(b)} classes, {len(names)} of them distinct; expected no "
            "repetition"
        )
    W, b = W[:, order], b[order]
    if len(names) == 2:
        W, b = W[:, 1:] - W[:, :1], b[1:] - b[:1]
    model = _library("sklearn.linear_model", "scikit-learn").LogisticRegression(C=C)
    model.coef_, model.intercept_, model.classes_ = W.T.copy(), b, names
    model.n_features_in_ = len(W)
    model.n_iter_ = np.zeros(1, np.int32)  # it has not been fitted by scikit-learn
    return model


def from_sklearn(estimator: Any) -> tuple[Params, np.ndarray]:
    """Returns the parameters of a fitted linear classifier and the classes it knows.

    Of two classes, whose difference is all that is there, the columns are minus and
    plus its half. Scores and predictions are compared with the model's own on a few
    random rows before this returns. Probabilities are the same for a multinomial or
    binary ``LogisticRegression``; other fits have no softmax.

    Args:
        estimator: Any with ``coef_``, ``intercept_``, ``classes_``, ``predict`` and
            ``decision_function``.

    Returns:
        Parameters, float64 where the process allows it, and the classes ``(C,)``.

    Raises:
        ValueError: It is not fitted; its arrays are no linear classifier's; it votes
            over pairs of classes; or it scores or predicts otherwise than its arrays.
    """
    name = type(estimator).__name__
    _require_linear(estimator, name)
    coef, intercept = _dense(estimator.coef_), np.asarray(estimator.intercept_)
    classes = np.asarray(estimator.classes_)
    rows = 1 if classes.shape == (2,) else classes.size
    if rows == 1 and coef.ndim == 1:  # RidgeClassifier of two classes
        coef = coef[None]
    if (
        classes.ndim != 1
        or len(classes) < 2
        or coef.shape[:-1] != (rows,)
        or intercept.shape not in {(), (rows,)}  # one number: fitted without
    ):
        raise ValueError(
            f"{name} has coef_ of shape {coef.shape} and classes_ of {classes.shape}, "
            f"intercept_ of {intercept.shape}; expected ({rows}, D), (C,) of at least "
            f"two classes, and ({rows},)"
        )
    intercept = np.broadcast_to(intercept, (rows,))
    if rows == 1:
        coef = np.concatenate([-coef, coef]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
        # Of two classes one without probability: minus infinity says it alone.
        intercept = np.where(np.isposinf(intercept), 0.0, intercept)
    params = Params(jnp.asarray(coef.T), jnp.asarray(intercept))
    _arrays(params)
    _require_same(params, classes, estimator, name)
    return params, classes


def to_torch_state(params: Params) -> dict[str, Any]:
    """Returns what ``load_state_dict`` of ``nn.Linear(D, C)`` takes.

    ``weight (C, D)`` and ``bias (C,)`` are tensors of the dtype of the parameters, at
    least float32.

    Raises:
        ValueError: Shapes that are no classifier's, entries that are not finite, or
            torch is not installed.
    """
    W, b = _arrays(params)
    tensor = _library("torch", "torch").tensor
    return {"weight": tensor(W.T.copy()), "bias": tensor(b)}


def from_torch_state(state: Mapping[str, Any]) -> Params:
    """Returns the parameters of an ``nn.Linear``.

    Its ``state_dict()`` holds tensors on any device or NumPy arrays, ``weight (C, D)``
    and ``bias (C,)``, which is 0 if it is not there. The parameters are at least
    float32; float64 where the process allows it.

    Raises:
        ValueError: There is no weight, there are other entries, shapes do not fit, or
            numbers are not finite.
    """
    if "weight" not in state or not set(state) <= {"weight", "bias"}:
        raise ValueError(
            f"found {', '.join(sorted(state)) or 'nothing'} in the state; expected "
            "weight, and bias or none"
        )
    weight = _from_tensor(state["weight"])
    bias = _from_tensor(state["bias"]) if "bias" in state else None
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(
            f"weight has shape {weight.shape} and bias "
            f"{None if bias is None else bias.shape}; expected (C, D) and (C,)"
        )
    bias = np.zeros(len(weight), weight.dtype) if bias is None else bias
    params = Params(jnp.asarray(weight.T), jnp.asarray(bias))
    _arrays(params)
    return params


def _arrays(params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Returns W and b in NumPy, at least float32, if they are one classifier's."""
    W, b = map(_wide, params)
    if W.ndim != 2 or b.shape != W.shape[1:]:
        raise ValueError(
            f"W has shape {W.shape} and b {b.shape}; expected (D, C) and (C,), of one "
            "classifier"
        )
    bad = np.sum(~np.isfinite(W)) + np.sum(~np.isfinite(b) & (b != -np.inf))
    if bad or np.all(b == -np.inf):
        raise ValueError(
            f"found {bad} entries that are not finite, and a bias of {b.max():g} at "
            "most; expected finite numbers, or a bias of -inf for some of the classes"
        )
    return W, b


def _require_linear(estimator: Any, name: str) -> None:
    """Refuses what is not fitted, holds another classifier, or votes over pairs."""
    pairs = hasattr(estimator, "pairwise_indices_")
    if hasattr(estimator, "decision_function_shape"):  # SVC and NuSVC
        pairs = len(getattr(estimator, "classes_", ())) > 2
    if pairs:
        raise ValueError(
            f"{name} of {len(estimator.classes_)} classes votes over pairs of them, "
            "one versus one, which is no linear classifier; expected one column for "
            "each class, as sklearn.svm.LinearSVC fits"
        )
    missing = [part for part in _FITTED if not hasattr(estimator, part)]
    remedies = [_HOLDERS[part] for part in _HOLDERS if hasattr(estimator, part)]
    if missing:
        raise ValueError(
            f"{name} has no {', '.join(missing)}; expected a fitted linear classifier"
            + "".join(f": {remedy}" for remedy in remedies[:1])
        )


def _require_same(
    params: Params, classes: np.ndarray, estimator: Any, name: str
) -> None:
    """Compares scores and predictions with the model's own, on random rows.

    Each column is drawn so large that its share of the scores is about the bias: no
    difference is lost beside the others.
    """
    W, b = (np.asarray(array, np.float64) for array in params)
    unit = np.max(np.abs(b), where=np.isfinite(b), initial=0.0) or 1.0
    largest = np.max(np.abs(W), axis=1)
    usable = largest > 1e-100  # the others would be drawn as infinity
    scale = unit / np.where(usable, largest, np.max(largest, where=usable, initial=1.0))
    x = np.random.default_rng(0).normal(size=(_ROWS, len(W))) * scale
    with warnings.catch_warnings():
        # An estimator that was fitted to a table with names warns of rows without.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        theirs = np.asarray(estimator.decision_function(x))
        predicted = np.asarray(estimator.predict(x))
    ours = x @ W + b
    size = np.max(np.abs(x) @ np.abs(W) + np.where(np.isfinite(b), np.abs(b), 0.0))
    eps = max(np.finfo(dtype).eps for dtype in (params.W.dtype, theirs.dtype))
    rounding = size * max(8 * np.sqrt(len(W)) * eps, _CLOSE)
    scores = ours[:, 1] - ours[:, 0] if len(classes) == 2 else ours
    with np.errstate(invalid="ignore"):  # a bias of minus infinity, on both sides
        close = theirs.shape == scores.shape and np.all(
            (scores == theirs) | (np.abs(scores - theirs) <= rounding)
        )
    if not close:
        raise ValueError(
            f"{name} scores random rows otherwise than its coef_ and intercept_ do; "
            "expected decision_function(x) = x @ coef_.T + intercept_: what it does to "
            "the features before, or to the scores after, does not move"
        )
    top, second = np.sort(ours, axis=1)[:, :-3:-1].T
    decided = top - second > rounding
    ours_predict = classes[np.argmax(ours, axis=1)]
    if predicted.shape != (_ROWS,) or np.any((predicted != ours_predict) & decided):
        raise ValueError(
            f"{name} predicts {predicted.shape[1:] or 'another class'} where its "
            "scores are largest; expected the class of the largest score, or of two "
            "classes the second where the score is above 0"
        )


def _dense(coef: Any) -> np.ndarray:
    """Returns coefficients as an array: a fit to sparse rows may leave them sparse."""
    return np.asarray(coef.toarray() if hasattr(coef, "toarray") else coef)


def _from_tensor(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy knows no bfloat16 of theirs.
        value = (value.float() if value.dtype.itemsize < 4 else value).numpy()
    return _wide(value)


def _wide(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(np.promote_types(array.dtype, np.float32))


def _library(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"this needs {package}, which is not installed: pip install {package}"
        ) from error
