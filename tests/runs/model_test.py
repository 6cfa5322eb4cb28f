"""A classifier as a file."""

import numpy as np
import pytest

from linclf_jax.data import image_recipes, images, preprocessing, stored_rows
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


@pytest.mark.parametrize("text", ['["a"]', '"abc"', '["a", "b'])
def test_names_that_are_not_those_of_its_classes_are_refused(text, tmp_path):
    path, (saved, _) = tmp_path / "m.safetensors", make_model()
    model.save(path, saved)
    tensors, metadata = directory.read(path)
    directory.write(path, (tensors, {**metadata, "class_names": text}))
    with pytest.raises(ValueError, match=r"m\.safetensors: "):
        model.load(path)


def test_a_file_without_a_classifier_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    directory.write(path, ({"W": np.zeros((2, 2))}, {}))
    with pytest.raises(ValueError, match="'b', 'class_names'"):
        model.load(path)


def make_image_model(features="hog", scaling="whiten"):
    """A classifier of raw bytes: colour images of 8x8 pixels."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, size=(80, 192)).astype(np.uint8)
    columns = x if features == "raw" else images.compute(features, x, (8, 8, 3))
    fitted = preprocessing.fit(scaling, columns)
    width = preprocessing.apply(fitted, columns).shape[1]
    params = Params(rng.normal(size=(width, 5)).astype(np.float32), rng.normal(size=5))
    names = tuple("abcde")
    return model.Model(params, fitted, names, features, (8, 8, 3)), x, columns


@pytest.mark.parametrize(
    ("features", "scaling"),
    [
        *[("hog+h_histogram", kind) for kind in ("standardize", "whiten")],
        *[("rgb", "mean_range"), ("raw", "l2_normalize"), ("raw", "none")],
    ],
)
def test_a_loaded_classifier_takes_raw_images_to_the_same_bits(
    features, scaling, tmp_path
):
    saved, x, columns = make_image_model(features, scaling)
    model.save(tmp_path / "m.safetensors", saved)
    loaded = model.load(tmp_path / "m.safetensors")
    assert loaded[2:] == saved[2:]
    scores = model.logits(loaded, x)
    W, b = map(np.asarray, saved.params)
    scaled = preprocessing.apply(saved.scaling, columns).astype(np.float64)
    np.testing.assert_allclose(scores, scaled @ W + b, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(scores, model.logits(saved, x))
    classes = model.predict(loaded, x)
    np.testing.assert_array_equal(classes, np.argmax(scores, axis=1))
    probs = model.predict_proba(loaded, x)
    np.testing.assert_array_equal(probs, model.predict_proba(saved, x))
    np.testing.assert_array_equal(np.argmax(probs, axis=1), classes)
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-6)


def test_features_that_are_computed_otherwise_now_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    model.save(path, make_image_model()[0])
    monkeypatch.setattr(image_recipes, "VERSION", image_recipes.VERSION + 1)
    with pytest.raises(ValueError, match=r"m.safetensors: found features 'hog' by rec"):
        model.load(path)


def test_images_of_another_size_are_refused():
    saved, x, _ = make_image_model()
    with pytest.raises(ValueError, match="x has 191 columns; expected 192"):
        model.predict(saved, x[:, :-1])


def test_rows_of_a_map_are_scored_a_block_at_a_time(tmp_path, monkeypatch):
    saved, x = make_model()
    whole = model.predict_proba(saved, x)
    monkeypatch.setattr(model, "_BLOCK", 28)  # seven rows
    monkeypatch.setattr(model, "_FEWEST", 1)
    np.save(tmp_path / "x.npy", x)
    rows = stored_rows.stored(np.load(tmp_path / "x.npy", mmap_mode="r"))
    # Products of few rows may round otherwise.
    np.testing.assert_allclose(model.predict_proba(saved, rows), whole, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(saved, rows), model.predict(saved, x))
    x[23, 1] = 1e300
    with pytest.raises(ValueError, match=r"1 of 28 .* x after standardize\[23, 1\]"):
        model.predict(saved, x)
