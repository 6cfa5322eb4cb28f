"""A chosen classifier as a file: weights, bias, scaling and names together.

The file turns raw rows into classes with nothing else at hand: of images it computes
the features that it was trained on first.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linclf_jax import params as params_lib
from linclf_jax import validation
from linclf_jax.data import columns, image_recipes, images, preprocessing
from linclf_jax.data.images import ImageShape
from linclf_jax.data.preprocessing import Preprocessing
from linclf_jax.data.stored_rows import Features
from linclf_jax.params import Params
from linclf_jax.runs import directory

RAW = "raw"  # the columns as they are
# Rows that are scored at once: those of so many entries, and no fewer than a product
# takes to give the bits of a larger one.
_BLOCK, _FEWEST = 2**24, 4096


class Model(NamedTuple):
    """All that a prediction needs."""

    params: Params  # W (K, C), b (C,)
    scaling: Preprocessing  # fitted on the training split
    class_names: tuple[str, ...]  # C, in the order of the columns of W
    features: str = RAW  # or one of images.NAMES
    image_shape: ImageShape | None = None  # of raw rows; None if they are no images
    feature_names: tuple[str, ...] | None = None  # D, of raw rows; None without names


def save(path: str | Path, model: Model) -> None:
    """Writes a classifier as ``.safetensors``; the same model gives the same bytes."""
    statistics, metadata = preprocessing.to_arrays(model.scaling)
    weights = {"W": np.asarray(model.params.W), "b": np.asarray(model.params.b)}
    metadata["class_names"] = json.dumps(model.class_names)
    if model.feature_names is not None:
        metadata["feature_names"] = json.dumps(model.feature_names)
    if model.image_shape is not None:
        metadata["image_shape"] = json.dumps([int(side) for side in model.image_shape])
    if model.features != RAW:
        metadata["features"] = model.features
        metadata["recipe"] = str(image_recipes.VERSION)
    directory.write(path, ({**weights, **statistics}, metadata))


def load(path: str | Path) -> Model:
    """Reads what ``save`` wrote, such as ``selected.safetensors`` of a run directory.

    Raises:
        ValueError: The file is damaged, or holds no classifier, or one of features of
            images that are computed in another way now.
    """
    tensors, metadata = directory.read(path)
    missing = {"W", "b"} - set(tensors) | {"class_names"} - set(metadata)
    if missing:
        raise ValueError(f"{path} holds no classifier: {sorted(missing)} missing")
    params = Params(jnp.asarray(tensors["W"]), jnp.asarray(tensors["b"]))
    scaling = preprocessing.from_arrays(tensors, metadata)
    try:
        names = _names(metadata["class_names"], params.b.size, "class")
        features, image_shape = _images(metadata)
        # Of images the scaling is of what is computed from them.
        raw = image_shape if image_shape and features != RAW else scaling.shift.shape
        feature_names = None
        if text := metadata.get("feature_names"):
            feature_names = _names(text, math.prod(raw), "feature")
        return Model(params, scaling, names, features, image_shape, feature_names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _names(text: str, count: int, what: str) -> tuple[str, ...]:
    names = json.loads(text)
    if not isinstance(names, list) or len(names) != count:
        raise ValueError(f"found {what} names {text}, expected a list of {count}")
    return tuple(names)


def _images(metadata: Mapping[str, str]) -> tuple[str, ImageShape | None]:
    features = metadata.get("features", RAW)
    shape = json.loads(metadata.get("image_shape", "null"))
    image_shape = shape if shape is None else tuple(shape)
    if features != RAW:
        images.validate(features, image_shape)
        if metadata.get("recipe") != str(image_recipes.VERSION):
            raise ValueError(
                f"found features {features!r} by recipe {metadata.get('recipe')}, "
                f"expected {image_recipes.VERSION}: what it was trained on is computed "
                "in another way now; train it again"
            )
    return features, image_shape


def scaled(
    model: Model,
    x: Features,
    feature_names: Sequence[str] | None = None,
    start: int = 0,
) -> jax.Array:
    """Returns what the weights are multiplied by, ``(N, K)`` float32.

    Args:
        model: What ``load`` returned.
        x: Rows as they came, before any scaling, ``(N, D)``, of any dtype.
        feature_names: Of the columns, in any order: they are matched by name with
            ``model.feature_names``. None where they stand as in training. A model
            without names takes them as they stand.
        start: What messages count the rows from.

    Raises:
        ValueError: The rows do not fit the classifier, or are not finite; a feature is
            missing or unknown.
    """
    x = validation.as_rows(x)
    validation.validate_features(x, start=start)
    if feature_names is not None and len(feature_names) != np.shape(x)[1]:
        raise ValueError(
            f"found {len(feature_names)} feature names for {np.shape(x)[1]} columns"
        )
    x = columns.ordered(x[:], feature_names, model.feature_names)
    if model.features != RAW:
        x = images.compute(model.features, x, model.image_shape)
    features = preprocessing.apply(model.scaling, x, start)
    validation.validate_params(model.params, features)
    return jnp.asarray(features)


def logits(
    model: Model, x: Features, feature_names: Sequence[str] | None = None
) -> np.ndarray:
    """Returns the class scores of rows, see ``scaled``, float32 ``(N, C)``."""
    return _applied(params_lib.logits, model, x, feature_names)


def predict(
    model: Model, x: Features, feature_names: Sequence[str] | None = None
) -> np.ndarray:
    """Returns the class of rows, see ``scaled``, int32 ``(N,)``; ties: the first."""
    return _applied(params_lib.predict, model, x, feature_names)


def predict_proba(
    model: Model, x: Features, feature_names: Sequence[str] | None = None
) -> np.ndarray:
    """Returns the softmax probabilities of rows, see ``scaled``, float32 ``(N, C)``."""
    return _applied(params_lib.predict_proba, model, x, feature_names)


def _applied(
    function: Callable[..., jax.Array],
    model: Model,
    x: Features,
    feature_names: Sequence[str] | None,
) -> np.ndarray:
    """Returns what a function says of all rows, a block at a time of many."""
    x = validation.as_rows(x)
    validation.validate_features(x)
    step, outcomes = max(_BLOCK // x.shape[1], _FEWEST), []
    for start in range(0, len(x), step):
        features = scaled(model, x[start : start + step], feature_names, start)
        outcomes.append(function(model.params, features, precision="highest"))
    return np.concatenate([np.asarray(outcome) for outcome in outcomes])
