"""Classifiers that move to scikit-learn and PyTorch, and back, with their predictions.

What moves is the linear classifier alone: features must be scaled on either side as
they were for the fit. Neither library is needed to import this.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from linclf_jax.params import Params

_FITTED = ("coef_", "intercept_", "classes_")


def to_sklearn(params: Params, classes: Sequence[Any], *, C: float = 1.0) -> Any:
    """Returns a fitted ``sklearn.linear_model.LogisticRegression``.

    It keeps classes sorted, as scikit-learn does, whatever their order here, and of two
    classes the difference of the columns. Softmax probabilities stay what they are.

    Args:
        params: ``W (D, C)`` and ``b (C,)``; a bias of minus infinity, of a class that
            the fit did not see, gives it no probability.
        classes: C of them, distinct numbers or strings, in the order of the columns.
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
    plus its half. Predictions are the same for every linear classifier; probabilities
    are for ``LogisticRegression``, whose other fits have no softmax.

    Args:
        estimator: Any with ``coef_``, ``intercept_`` and ``classes_``.

    Returns:
        ``W (D, C)`` and ``b (C,)``, float64 where the process allows it, and the
        classes ``(C,)``.

    Raises:
        ValueError: It is not fitted, or its arrays are no linear classifier's.
    """
    missing = [name for name in _FITTED if not hasattr(estimator, name)]
    if missing:
        raise ValueError(
            f"{type(estimator).__name__} has no {', '.join(missing)}; expected a "
            "fitted linear classifier"
        )
    coef, classes = np.asarray(estimator.coef_), np.asarray(estimator.classes_)
    rows = 1 if len(classes) == 2 else len(classes)
    if classes.ndim != 1 or coef.ndim != 2 or len(coef) != rows:
        raise ValueError(
            f"{type(estimator).__name__} has coef_ of shape {coef.shape} and classes_ "
            f"of {classes.shape}; expected ({rows}, D) and (C,)"
        )
    intercept = np.broadcast_to(np.asarray(estimator.intercept_), (rows,))
    if rows == 1:
        coef = np.concatenate([-coef, coef]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    return Params(jnp.asarray(coef.T), jnp.asarray(intercept)), classes


def to_torch_state(params: Params) -> dict[str, Any]:
    """Returns what ``load_state_dict`` of ``nn.Linear(D, C)`` takes.

    Args:
        params: ``W (D, C)`` and ``b (C,)``.

    Returns:
        ``weight (C, D)`` and ``bias (C,)``, tensors of the dtype of the parameters, at
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

    Args:
        state: Its ``state_dict()``, of tensors on any device or of NumPy arrays:
            ``weight (C, D)`` and ``bias (C,)``, which is 0 if it is not there.

    Returns:
        ``W (D, C)`` and ``b (C,)``, at least float32; float64 where the process allows
        it.

    Raises:
        ValueError: There is no weight, there are other entries, or shapes do not fit.
    """
    if "weight" not in state or not set(state) <= {"weight", "bias"}:
        raise ValueError(
            f"found {', '.join(sorted(state)) or 'nothing'} in the state; expected "
            "weight, and bias or none"
        )
    weight = _from_tensor(state["weight"])
    bias = _from_tensor(state["bias"]) if "bias" in state else None
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        found = None if bias is None else bias.shape
        raise ValueError(
            f"weight has shape {weight.shape} and bias {found}; expected (C, D) and "
            "(C,)"
        )
    bias = np.zeros(len(weight), weight.dtype) if bias is None else bias
    return Params(jnp.asarray(weight.T), jnp.asarray(bias))


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
