"""Figures over the penalty show the numbers they were given, and mark the choice."""

import numpy as np
import pytest

from linclf_jax.figures import regularization_path
from linclf_jax.figures.regularization_path import Curve, Panel

L2S = np.array([1.0, 0.1, 0.01, 0.001])
LOSSES = np.array([0.9, 0.5, 0.25, 0.375])
MARKS = {"chosen": 0.01, "other": 0.1}
# Means as given, of three folds that are spread evenly around them.
SPREAD = LOSSES[:, None] + np.linspace(-0.1, 0.1, 3)
CURVE = Curve(LOSSES, np.full(4, 0.1 / np.sqrt(3)), SPREAD)
UNKNOWN = Curve(np.full(4, np.nan), np.full(4, np.nan), np.empty((4, 0)))
GAPS = np.geomspace(1e-8, 4e-7, 16).reshape(4, 4)


def weights(classes):
    W = np.linspace(-1, 1, 4 * classes).reshape(1, 4, classes)
    return np.arange(1, 5).reshape(-1, 1, 1) * W


def work(gaps, tol=1e-6):
    numbers = np.arange(16).reshape(4, 4)
    history = {"newton_steps": numbers % 3 + 1, "products": numbers}
    history["relative_gap"] = gaps
    return regularization_path.work(L2S, history, np.isfinite(gaps), tol, MARKS)


def lines(axis):
    return {line.get_label(): line for line in axis.lines}


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def titles(figure):
    return [axis.get_title(loc="left") for axis in figure.axes]


def test_held_out_scores_are_drawn_with_both_choices_in_both_panels():
    figure = regularization_path.held_out(L2S, CURVE, CURVE, MARKS)
    assert titles(figure) == ["log-loss on held-out rows", "accuracy on held-out rows"]
    for axis in figure.axes:
        assert list(lines(axis)["chosen"].get_xdata()) == [0.01, 0.01]
        assert list(lines(axis)["other"].get_xdata()) == [0.1, 0.1]
        assert len(axis.lines) == 3 + 1 + 2
    mean = lines(figure.axes[0])["mean over folds"].get_ydata()
    np.testing.assert_allclose(mean, LOSSES)
    words = ["3 folds", "± one standard error", "mean over folds", *MARKS]
    assert labels(figure) == words
    assert titles(regularization_path.held_out(L2S, CURVE, UNKNOWN, MARKS)) == [
        "log-loss on held-out rows"
    ]


def test_the_band_is_one_standard_error_each_way_and_all_in_sight():
    wide = Curve(LOSSES, np.array([0.1, 0.1, 0.15, 0.1]), UNKNOWN.folds)
    axis, _ = regularization_path.held_out(L2S, wide, wide, MARKS).axes
    corners = axis.collections[0].get_paths()[0].vertices
    heights = np.unique(corners[np.isclose(corners[:, 0], 0.01), 1])
    np.testing.assert_allclose(heights, [0.25 - 0.15, 0.25 + 0.15])
    low, high = axis.get_ylim()
    assert low < 0.25 - 0.15
    assert high > 0.9 + 0.1


def test_norms_are_of_classes_and_the_rest_of_many_is_grey():
    W, names = weights(15), [f"class {i}" for i in range(15)]
    figure = regularization_path.norms(L2S, W, names, MARKS)
    norms = np.linalg.norm(W, axis=1)
    largest = sorted(np.argsort(-norms[2], kind="stable")[:12])
    words = ["3 other classes", *(names[i] for i in largest), *MARKS]
    assert labels(figure) == words
    first = lines(figure.axes[0])[words[1]].get_ydata()
    np.testing.assert_allclose(first, norms[:, largest[0]])


@pytest.mark.parametrize(("classes", "panels"), [(2, 1), (3, 3)])
def test_single_coefficients_have_a_panel_for_each_class(classes, panels):
    W, names = weights(classes), [f"class {i}" for i in range(classes)]
    figure = regularization_path.coefficients(L2S, W, names, MARKS)
    assert len(figure.axes) == panels
    assert titles(figure)[-1] == f"weights of class {classes - 1}"
    line = lines(figure.axes[-1])["feature 2"]
    np.testing.assert_allclose(line.get_ydata(), W[:, 2, -1])


def test_work_marks_what_did_not_converge_and_shows_the_tolerance():
    gaps = GAPS.copy()
    gaps[3, 0], gaps[0, 1] = np.inf, 0.0
    figure = work(gaps)
    low, high = figure.axes[2].get_ylim()
    (crosses,) = (x for x in figure.axes[2].lines if x.get_marker() == "x")
    # Beyond all others, on the axis still: nothing bounds it.
    np.testing.assert_allclose(crosses.get_xydata(), [[L2S[3], 1e-5]])
    assert low < 1e-6 < 1e-5 < high
    assert labels(figure)[-2:] == ["ended before the tolerance", "tolerance 1e-6"]
    steps = lines(figure.axes[0])["the fit to all rows"].get_ydata()
    np.testing.assert_array_equal(steps, np.arange(3, 16, 4) % 3 + 1)
    assert work(GAPS, tol=1e-3).axes[2].get_ylim()[1] > 1e-3


def test_work_shows_no_gap_of_what_is_not_certified():
    gaps = GAPS.copy()
    gaps[:2] = np.nan
    history = dict.fromkeys(("newton_steps", "products"), GAPS) | {"relative_gap": gaps}
    well = np.ones((4, 4), bool)
    figure = regularization_path.work(L2S, history, well, 1e-6, MARKS)
    shown = lines(figure.axes[2])["the fit to all rows"].get_ydata()
    np.testing.assert_array_equal(shown, gaps[:, -1])
    assert not [x for x in figure.axes[2].lines if x.get_marker() == "x"]


def test_each_selection_is_a_line_with_its_lowest_point():
    loss = np.array([[0.75, 0.5, 0.625], [0.5, 0.625, 0.75]])
    error = np.full((2, 3), 0.125)
    l2s = np.array([1.0, 0.1, 0.0])
    panel = Panel("clip", l2s, loss, error, ("1 shot", "10 shots"))
    one = Panel("clip", l2s, loss[:1], error[:1], ("all rows",))
    axis, alone = regularization_path.penalties([panel, one]).axes
    first, low, second, other = (line.get_xydata() for line in axis.lines[:4])
    np.testing.assert_array_equal(first, np.stack([l2s, loss[0]], 1))
    np.testing.assert_array_equal(second, np.stack([l2s, loss[1]], 1))
    assert low.tolist() == [[0.1, 0.5]]
    assert other.tolist() == [[1.0, 0.5]]
    assert len(axis.collections) == 0
    band = alone.collections[0].get_paths()[0].vertices
    assert {0.375, 0.625} <= set(band[band[:, 0] == 0.1][:, 1])
