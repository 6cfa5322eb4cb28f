"""A chosen classifier as a file: weights, bias, scaling and class names together.

The file turns raw features into classes with nothing else at hand.
"""

import json
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from linclf_jax import params as params_lib
from linclf_jax import validation
from linclf_jax.data import preprocessing
from linclf_jax.data.preprocessing import Preprocessing
from linclf_jax.params import Params
from linclf_jax.runs import directory


class Model(NamedTuple):
    """All that a prediction needs."""

    params: Params  # W (D, C), b (C,)
    scaling: Preprocessing  # fitted on the training split
    class_names: tuple[str, ...]  # C, in the order of the columns of W


def save(path: str | Path, model: Model) -> None:
    """Writes a classifier as ``.safetensors``; the same model gives the same bytes.

    Args:
        path: The file.
        model: The classifier.
    """
    statistics, metadata = preprocessing.to_arrays(model.scaling)
    weights = {"W": np.asarray(model.params.W), "b": np.asarray(model.params.b)}
    names = json.dumps(model.class_names)
    directory.write_tensors(
        path, {**weights, **statistics}, {"class_names": names, **metadata}
    )


def load(path: str | Path) -> Model:
    """Reads what ``save`` wrote.

    Args:
        path: ``selected.safetensors`` of a run folder.

    Raises:
        ValueError: The file is damaged, or holds no classifier.
    """
    tensors, metadata = directory.read_tensors(path), directory.read_metadata(path)
    missing = {"W", "b"} - set(tensors) | {"class_names"} - set(metadata)
    if missing:
        raise ValueError(f"{path} holds no classifier: {sorted(missing)} missing")
    params = Params(jnp.asarray(tensors["W"]), jnp.asarray(tensors["b"]))
    scaling = preprocessing.from_arrays(tensors, metadata)
    return Model(params, scaling, tuple(json.loads(metadata["class_names"])))


def predict(model: Model, x: np.ndarray) -> np.ndarray:
    """Returns the class of each row of raw features, int32 ``(N,)``.

    Args:
        model: What ``load`` returned.
        x: Features as they came, before any scaling, ``(N, D)``.

    Raises:
        ValueError: The features do not fit the classifier, or are not finite.
    """
    validation.validate_features(x)
    validation.validate_params(model.params, x)
    scaled = jnp.asarray(preprocessing.apply(model.scaling, x))
    return np.asarray(params_lib.predict(model.params, scaled, precision="highest"))
