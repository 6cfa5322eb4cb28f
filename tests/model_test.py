"""A classifier as a file."""

import numpy as np
import pytest

from linclf_jax.data import preprocessing
from linclf_jax.params import Params
from linclf_jax.runs import directory, model


def make_model():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4)) * 10 + 5
    params = Params(rng.normal(size=(4, 3)).astype(np.float32), np.zeros(3, np.float32))
    scaling = preprocessing.fit("standardize", x)
    return model.Model(params, scaling, ("a", "ö", "<c>")), x


def test_what_is_loaded_predicts_what_was_saved(tmp_path):
    saved, x = make_model()
    model.save(tmp_path / "m.safetensors", saved)
    loaded = model.load(tmp_path / "m.safetensors")
    assert loaded.class_names == saved.class_names
    expected = np.argmax((x - x.mean(0)) / x.std(0) @ saved.params.W, axis=1)
    assert len(set(expected.tolist())) == 3
    np.testing.assert_array_equal(model.predict(loaded, x), expected)
    np.testing.assert_array_equal(loaded.params.W, saved.params.W)


def test_features_that_do_not_fit_are_refused():
    saved, x = make_model()
    with pytest.raises(ValueError, match="3"):
        model.predict(saved, x[:, :3])
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 120 .* x\[2, 1\]"):
        model.predict(saved, x)


def test_a_file_without_a_classifier_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    directory.write_tensors(path, {"W": np.zeros((2, 2))})
    with pytest.raises(ValueError, match="'b', 'class_names'"):
        model.load(path)
