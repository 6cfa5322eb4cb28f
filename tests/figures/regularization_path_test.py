"""Figures over the penalty show the numbers they were given, and mark the choice."""

import numpy as np
import pytest

from linclf_jax.figures import axes, regularization_path
from linclf_jax.figures.regularization_path import Curve, Panel

L2S = (1.0, 0.1, 0.01, 0.001)
LOSSES = (0.9, 0.5, 0.25, 0.375)
MARKS = {"chosen": 0.01, "other": 0.1}


def curve():
    """Means as given, of three folds that are spread evenly around them."""
    folds = np.array(LOSSES)[:, None] + np.linspace(-0.1, 0.1, 3)
    return Curve(np.array(LOSSES), np.full(4, 0.1 / np.sqrt(3)), folds)


def history(*, features=4, classes=3, count=4):
    """Arrays of three folds and the fit to all rows."""
    W = np.linspace(-1, 1, features * classes).reshape(1, features, classes)
    numbers = np.arange(4 * count).reshape(count, 4)
    return {
        "coefficients": np.arange(1, count + 1).reshape(-1, 1, 1) * W,
        "newton_steps": numbers % 3 + 1,
        "products": numbers,
        "relative_gap": np.geomspace(1e-8, 4e-7, 4 * count).reshape(count, 4),
    }


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


class TestFigures:
    def test_held_out_marks_both_choices_in_both_panels(self):
        band = curve()
        figure = regularization_path.held_out(np.array(L2S), band, band, MARKS)
        assert [axis.get_title(loc="left") for axis in figure.axes] == [
            *("log-loss on held-out rows", "accuracy on held-out rows")
        ]
        for axis in figure.axes:
            lines = {line.get_label(): line for line in axis.lines}
            assert list(lines["chosen"].get_xdata()) == [0.01, 0.01]
            assert list(lines["other"].get_xdata()) == [0.1, 0.1]
        drawn = {line.get_label(): line for line in figure.axes[0].lines}
        np.testing.assert_allclose(drawn["mean over folds"].get_ydata(), LOSSES)
        assert len(figure.axes[0].lines) == 3 + 1 + 2

    def test_the_band_is_one_standard_error_each_way(self):
        band = curve()
        figure = regularization_path.held_out(np.array(L2S), band, band, MARKS)
        corners = figure.axes[0].collections[0].get_paths()[0].vertices
        at = np.isclose(corners[:, 0], 0.01)
        expected = 0.25 + np.array([-1, 1]) * band.standard_error[0]
        np.testing.assert_allclose(
            np.unique(corners[at, 1].round(9)), expected.round(9)
        )

    def test_unknown_accuracy_has_no_panel(self):
        unknown = np.full(4, np.nan)
        band = curve()
        nothing = Curve(unknown, unknown, np.empty((4, 0)))
        figure = regularization_path.held_out(np.array(L2S), band, nothing, MARKS)
        assert len(figure.axes) == 1

    def test_norms_are_of_classes_and_the_rest_of_many_is_grey(self):
        arrays = history(classes=15)
        names = [f"class {i}" for i in range(15)]
        weights = arrays["coefficients"]
        figure = regularization_path.norms(np.array(L2S), weights, names, MARKS)
        words = labels(figure)
        largest = np.argsort(-np.linalg.norm(weights[2], axis=0), kind="stable")[:12]
        assert words == [
            "3 other classes",
            *(names[i] for i in sorted(largest)),
            *MARKS,
        ]
        first = next(x for x in figure.axes[0].lines if x.get_label() == words[1])
        expected = np.linalg.norm(weights[:, :, sorted(largest)[0]], axis=1)
        np.testing.assert_allclose(first.get_ydata(), expected)

    @pytest.mark.parametrize(("classes", "panels"), [(2, 1), (3, 3)])
    def test_single_coefficients_have_a_panel_for_each_class(self, classes, panels):
        names = [f"class {i}" for i in range(classes)]
        weights = history(classes=classes)["coefficients"]
        figure = regularization_path.coefficients(np.array(L2S), weights, names, MARKS)
        assert len(figure.axes) == panels
        last = figure.axes[-1]
        assert last.get_title(loc="left") == f"weights of class {classes - 1}"
        line = next(x for x in last.lines if x.get_label() == "feature 2")
        np.testing.assert_allclose(line.get_ydata(), weights[:, 2, -1])

    def test_work_marks_what_did_not_converge_and_shows_the_tolerance(self):
        arrays = history()
        arrays["relative_gap"][3, 0] = np.inf
        arrays["relative_gap"][0, 1] = 0.0
        converged = np.isfinite(arrays["relative_gap"])
        figure = regularization_path.work(np.array(L2S), arrays, converged, 1e-6, MARKS)
        gaps = figure.axes[2]
        low, high = gaps.get_ylim()
        assert low < 1e-6 < high
        (crosses,) = (x for x in gaps.lines if x.get_marker() == "x")
        assert list(crosses.get_xdata()) == [L2S[3]]
        # Beyond all others, on the axis still: nothing bounds it.
        assert crosses.get_ydata()[0] == pytest.approx(1e-5)
        assert high > 1e-5
        assert labels(figure)[-2:] == ["ended before the tolerance", "tolerance 1e-6"]
        steps = next(x for x in figure.axes[0].lines if "all rows" in x.get_label())
        np.testing.assert_array_equal(steps.get_ydata(), arrays["newton_steps"][:, 3])

    def test_the_tolerance_is_in_sight_of_gaps_far_below_it(self):
        arrays = history()
        converged = np.ones((4, 4), bool)
        figure = regularization_path.work(np.array(L2S), arrays, converged, 1e-3, MARKS)
        assert figure.axes[2].get_ylim()[1] > 1e-3

    def test_the_whole_band_is_in_sight(self):
        wide = curve()._replace(
            standard_error=np.array([0.1, 0.1, 0.15, 0.1]), folds=np.empty((4, 0))
        )
        figure = regularization_path.held_out(np.array(L2S), wide, wide, MARKS)
        low, high = figure.axes[0].get_ylim()
        assert low < 0.25 - 0.15
        assert high > 0.9 + 0.1

    def test_zero_is_beside_the_logarithmic_axis(self):
        l2s = np.array([1.0, 0.1, 0.0])
        arrays = history(count=3)
        marks = {"chosen": 0.0}
        converged = np.ones((3, 4), bool)
        axis, *_ = regularization_path.work(l2s, arrays, converged, 1e-6, marks).axes
        place = axes.positions(l2s)[2]
        assert axis.get_xlim()[0] < place < 0.1
        ticks = dict(
            zip(
                [text.get_text() for text in axis.get_xticklabels()],
                axis.get_xticks(),
                strict=True,
            )
        )
        assert ticks == {"0.1": 0.1, "1": 1.0, "0": place}

    def test_each_selection_is_a_line_with_its_lowest_point(self):
        loss = np.array([[0.75, 0.5, 0.625], [0.5, 0.625, 0.75]])
        error = np.full((2, 3), 0.125)
        l2s = np.array([1.0, 0.1, 0.0])
        panel = Panel("clip", l2s, loss, error, ("1 shot", "10 shots"))
        one = Panel("clip", l2s, loss[:1], error[:1], ("all rows",))
        axis, alone = regularization_path.penalties([panel, one]).axes
        first, low, second, other = (line.get_xydata() for line in axis.lines[:4])
        assert first[:, 1].tolist() == loss[0].tolist()
        assert second[:, 1].tolist() == loss[1].tolist()
        assert low.tolist() == [[0.1, 0.5]]
        assert other.tolist() == [[1.0, 0.5]]
        assert len(axis.collections) == 0
        band = alone.collections[0].get_paths()[0].vertices
        assert {0.375, 0.625} <= set(band[band[:, 0] == 0.1][:, 1])
