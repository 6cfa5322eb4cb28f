"""Features of images: known values, the same in every process, refusals."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from skimage import feature

from linclf_jax.data import image_recipes, images


def pictures(count, image_shape, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, size=(count, int(np.prod(image_shape))))
    return x.astype(dtype)


def colours(*rgb):
    """Returns one 8x8 image for each list of pixels, which repeat."""
    return np.stack([np.resize(np.uint8(pixels), 8 * 8 * 3) for pixels in rgb])


def test_rgb_is_the_pixels():
    x = pictures(3, (2, 5, 3))
    computed = images.compute("rgb", x, (2, 5, 3))
    assert computed.dtype == np.float32
    np.testing.assert_array_equal(computed, x.astype(np.float32) / np.float32(255))
    real = x.astype(np.float64) / 7 - 3
    kept = images.compute("rgb", real, (2, 5, 3))
    np.testing.assert_array_equal(kept, real.astype(np.float32))


@pytest.mark.parametrize("image_shape", [(8, 8), (13, 9)])
def test_hog_of_grey_images_is_that_of_scikit_image(image_shape):
    x = pictures(3, image_shape)
    computed = images.compute("hog", x, image_shape)
    expected = [
        feature.hog(
            image.reshape(image_shape) / 255,
            pixels_per_cell=(4, 4),
            cells_per_block=(2, 2),
        )
        for image in x
    ]
    assert computed.shape == (3, images.size("hog", image_shape))
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-6)


def test_hog_of_colour_images_is_that_of_their_luminance():
    x = pictures(2, (8, 12, 3)).astype(np.float32)
    grey = x.reshape(2, 8, 12, 3) @ np.float32([0.2125, 0.7154, 0.0721])
    computed = images.compute("hog", x, (8, 12, 3))
    expected = images.compute("hog", grey.reshape(2, -1), (8, 12))
    np.testing.assert_allclose(computed, expected, rtol=1e-3, atol=1e-5)


def test_hues_fall_into_their_bins():
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    grey, nearly_red = (9, 9, 9), (255, 0, 1)
    x = colours([red], [green], [red, green, blue, blue], [grey], [nearly_red])
    computed = images.compute("h_histogram", x, (8, 8, 3))
    expected = np.zeros((5, 16))
    expected[0, 0] = expected[1, 5] = expected[3, 0] = expected[4, 15] = 1
    expected[2, [0, 5, 10]] = 0.25, 0.25, 0.5
    np.testing.assert_array_equal(computed, expected)


@pytest.mark.parametrize("image_shape", [(8, 8), (28, 28), (32, 32, 3), (9, 15, 3)])
def test_size_is_what_is_computed(image_shape):
    names = images.NAMES if len(image_shape) == 3 else ("rgb", "hog")
    x = pictures(1, image_shape)
    for name in names:
        features = images.compute(name, x, image_shape)
        assert features.shape == (1, images.size(name, image_shape))
    if len(image_shape) == 3:  # the last is the others, one after the other
        parts = [images.compute(name, x, image_shape) for name in names[1:3]]
        np.testing.assert_array_equal(features, np.concatenate(parts, axis=1))


def test_processes_give_the_same_bits_in_the_same_order(monkeypatch, caplog):
    monkeypatch.setattr(images, "ROWS", 8)
    x = pictures(18, (8, 8, 3))
    alone = images.compute("hog+h_histogram", x, (8, 8, 3), workers=1)
    monkeypatch.setattr(images, "REPORT_EVERY", 0.0)
    caplog.set_level("INFO")
    spread = images.compute("hog+h_histogram", x, (8, 8, 3), workers=2)
    np.testing.assert_array_equal(spread, alone)
    assert [record.args[1] for record in caplog.records] == [8, 16, 18]


# Without the usual guard, as a notebook or a hurried script is.
SCRIPT = """
import numpy as np
from linclf_jax.data import images
print("started")
images.ROWS = 2
print(images.compute("hog", np.eye(64)[:6], (8, 8), workers=2).shape)
"""


def test_a_script_is_not_run_again_by_its_processes(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, path],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split("\n") == ["started", "(6, 36)", ""]


def test_processes_import_neither_jax_nor_this_package():
    tree = ast.parse(Path(image_recipes.__file__).read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    allowed = {"numpy", "skimage", "collections.abc", *sys.stdlib_module_names}
    assert imported <= allowed


def test_a_process_that_fails_is_an_error_with_its_last_words(monkeypatch):
    monkeypatch.setattr(images, "ROWS", 2)
    monkeypatch.setattr(image_recipes, "encode", lambda _: b"damaged")
    with pytest.raises(RuntimeError, match=r"'hog' ended with 1: .*Error"):
        images.compute("hog", pictures(4, (8, 8)), (8, 8), workers=2)


def test_a_failed_process_stops_those_that_wait(monkeypatch):
    started = []

    def fail(name, pixels):
        started.append(len(pixels))
        if len(started) > 1:
            time.sleep(0.5)
        raise RuntimeError("ended")

    monkeypatch.setattr(images, "ROWS", 1)
    monkeypatch.setattr(images, "_in_process", fail)
    with pytest.raises(RuntimeError, match="ended"):
        images.compute("hog", pictures(50, (8, 8)), (8, 8), workers=2)
    assert len(started) <= 4  # of the five that were handed out


@pytest.mark.parametrize(
    ("name", "image_shape", "message"),
    [
        ("sift", (8, 8), "found features 'sift', expected one of rgb, hog"),
        ("hog", None, "'hog' are of images; the rows here are none"),
        ("rgb", (8,), r"found image shape \(8,\), expected \(H, W\) or"),
        ("rgb", (8, 8, 4), r"found image shape \(8, 8, 4\)"),
        ("rgb", (0, 8), r"found image shape \(0, 8\)"),
        ("h_histogram", (8, 8), "grey, of shape .8, 8., and grey has no hue"),
        ("hog+h_histogram", (8, 8), "grey has no hue"),
        ("hog", (7, 28), "found images of 7 x 28 pixels, expected at least 8 x 8"),
    ],
)
def test_refuses_images_without_these_features(name, image_shape, message):
    with pytest.raises(ValueError, match=message):
        images.size(name, image_shape)
    with pytest.raises(ValueError, match=message):
        images.compute(name, np.zeros((1, 64)), image_shape)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 191)), r"x has 191 columns; expected 192, .* \(8, 8, 3\)"),
        (np.full((2, 192), 256), "found pixels 256 to 256, expected 0 to 255"),
        (np.full((2, 192), -1), "found pixels -1 to -1"),
        (np.full((2, 192), -0.5), "found a pixel -0.5, expected none below 0"),
        (np.full((2, 192), np.nan), "384 of 384 entries are invalid"),
        (np.zeros((2, 8, 8, 3)), r"shape \(2, 8, 8, 3\); expected \(N, D\)"),
    ],
)
def test_refuses_rows_that_are_no_such_images(x, message):
    with pytest.raises(ValueError, match=message):
        images.compute("h_histogram", x, (8, 8, 3))


def test_refuses_no_workers_and_names_a_missing_library(monkeypatch):
    with pytest.raises(ValueError, match="found 0 workers, expected at least 1"):
        images.compute("hog", pictures(2, (8, 8)), (8, 8), workers=0)
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="need scikit-image, which is not installed"):
        images.validate("hog", (8, 8))
    images.validate("rgb", (8, 8))
