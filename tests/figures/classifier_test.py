"""Errors, weights and reliability are drawn as they are."""

import numpy as np
import pytest

from linclf_jax import metrics
from linclf_jax.figures import classifier, style
from linclf_jax.figures.classifier import Diagram

COUNTS = np.array([[50, 2, 0], [0, 40, 0], [7, 0, 0]])
BINS = {
    "edges": [0.0, 0.5, 0.75, 1.0],
    "count": [0, 4, 16],
    "confidence": [None, 0.6, 0.9],
    "accuracy": [None, 0.5, 1.0],
}


class TestConfusion:
    def test_counts_and_recall_are_written_true_classes_down(self):
        figure = classifier.confusion(COUNTS, [0.9615, 1.0, None], ["a", "b", "c"])
        texts = {t.get_text(): t.get_position() for t in figure.axes[0].texts}
        assert {t: texts[t] for t in texts if t.isdigit()} == {
            "50": (0, 0),
            "2": (1, 0),
            "40": (1, 1),
            "7": (0, 2),
        }
        recall = [text.get_text() for text in figure.axes[0].texts[-4:]]
        assert recall == ["recall", "0.962", "1.000", "none"]

    def test_only_errors_are_coloured(self):
        axis = classifier.confusion(COUNTS, [1, 1, 0], ["a", "b", "c"]).axes[0]
        shades = np.ma.filled(axis.images[0].get_array(), np.nan)
        expected = [[np.nan, 2, np.nan], [np.nan] * 3, [7, np.nan, np.nan]]
        np.testing.assert_array_equal(shades, expected)

    def test_many_classes_have_no_text(self):
        names = [f"class {i}" for i in range(100)]
        figure = classifier.confusion(np.eye(100, dtype=int), [1.0] * 100, names)
        assert not any(axis.texts for axis in figure.axes)
        assert len(style.png(figure)) > 0


class TestTemplates:
    def test_each_class_is_its_column_upright_on_one_symmetric_scale(self):
        W = np.random.default_rng(0).normal(size=(12, 3))
        axis, _ = classifier.templates(W, ["a", "b", "c"], [3, 4]).axes
        for i, image in enumerate(axis.images):
            np.testing.assert_array_equal(image.get_array(), W[:, i].reshape(3, 4))
            assert image.get_clim() == (-np.abs(W).max(), np.abs(W).max())
            left, right, bottom, top = image.get_extent()
            below, above = axis.get_ylim()
            assert left < right
            # The axis runs downwards, and so does the image: its first row is on top.
            assert above < top < bottom < below
        assert [text.get_text() for text in axis.texts] == ["a", "b", "c"]

    def test_colours_keep_zero_grey(self):
        W = np.zeros((12, 1))
        W[0] = 2.0
        axis = classifier.templates(W, ["a"], [2, 2, 3]).axes[0]
        image = np.asarray(axis.images[0].get_array())
        np.testing.assert_allclose(image[0, 0], [1.0, 0.5, 0.5])

    def test_a_shape_that_does_not_fit(self):
        with pytest.raises(ValueError, match=r"\(3, 3\) holds 9 values, expected 8"):
            classifier.templates(np.zeros((8, 2)), ["a", "b"], [3, 3])

    def test_at_most_a_hundred(self):
        axis = classifier.templates(np.ones((4, 120)), ["x"] * 120, [2, 2]).axes[0]
        assert len(axis.images) == 100


class TestReliability:
    def test_points_have_wilsons_intervals_and_bars_their_heights(self):
        top, bottom = classifier.reliability(Diagram("as trained", BINS)).axes
        np.testing.assert_array_equal(top.lines[1].get_xydata(), [[0.6, 0.5], [0.9, 1]])
        assert [bar.get_height() for bar in bottom.patches] == [0, 4, 16]
        assert top.get_title(loc="left") == "as trained"
        (lines,) = top.collections
        low, high = metrics.wilson_interval(np.array([0.5, 1.0]), np.array([4, 16]))
        ends = np.array([segment[:, 1] for segment in lines.get_segments()])
        np.testing.assert_allclose(ends, np.stack([low, high], 1), rtol=1e-12)

    def test_two_diagrams_share_their_axes(self):
        few = {**BINS, "count": [0, 2, 2]}
        axes = classifier.reliability(
            Diagram("before", BINS), Diagram("after", few)
        ).axes
        titles = [axis.get_title(loc="left") for axis in axes]
        assert titles == ["before", "after", "", ""]
        heights = [[bar.get_height() for bar in axis.patches] for axis in axes[2:]]
        assert heights == [[0, 4, 16], [0, 2, 2]]
        assert axes[2].get_ylim() == axes[3].get_ylim()
