"""Scales and ticks say where they are, and what is worth seeing is on them."""

import numpy as np
import pytest

from linclf_jax.figures import canvas, style

DECADES = ("1e-4", "1e-3", "0.01", "0.1", "1")


def ticks(axis):
    return {label.get_text(): label.get_position() for label in axis.get_ticklabels()}


class TestErrorRates:
    def test_zero_becomes_half_of_the_smallest(self):
        accuracy = np.array([1.0, 0.9, 0.6, np.nan])
        floor = canvas.error_floor(accuracy)
        np.testing.assert_allclose(floor, 0.05, rtol=1e-12)
        errors = canvas.error_rates(accuracy, floor)
        np.testing.assert_allclose(errors, [0.05, 0.1, 0.4, np.nan], rtol=1e-12)
        assert canvas.error_floor(np.ones(3)) == 0.005

    def test_float32_rounding_is_no_error(self):
        accuracy = np.nextafter(np.float32(1), np.float32(0))
        assert canvas.error_rates(accuracy, 0.25) == 0.25

    @pytest.mark.parametrize(
        ("lowest", "highest"), [(0.02, 0.3), (0.001, 0.95), (0.02, 0.03), (0.017, 0.04)]
    )
    def test_an_accuracy_axis_is_labelled_by_accuracies(self, lowest, highest):
        figure, (axis,) = canvas.subplots(3.7, 2.2)
        canvas.accuracy_axis(axis, lowest, highest)
        below, above = axis.get_ylim()
        assert below >= highest > lowest > above  # high accuracy on top
        figure.draw_without_rendering()
        shown = {text: y for text, (_, y) in ticks(axis.yaxis).items()}
        inside = {t: y for t, y in shown.items() if above <= y <= below}
        assert 3 <= len(inside) <= 10
        accuracies = 1 - np.array(list(inside.values()))
        np.testing.assert_allclose(accuracies, np.float64(list(inside)), atol=1e-12)


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.3, 0.1], ["0.1", "0.3"]),
        ([0.1, 1.0, 0.0], ["0", "0.1", "1"]),
        ([0.0], ["0"]),
        ([3e-4], ["3e-4"]),
        (np.geomspace(1e-3, 100, 50), ["1e-3", "0.01", "0.1", "1", "10", "100"]),
        (np.geomspace(3e-3, 60, 50), ["0.01", "0.1", "1", "10"]),
        (np.geomspace(0.2, 0.5, 50), ["0.2", "0.3", "0.4", "0.5"]),
        (np.append(0.0, np.geomspace(1e-4, 1, 9)), ["0", *DECADES]),
    ],
)
def test_a_value_axis_has_few_ticks_and_zero_beside_the_smallest(
    values, expected, vertical
):
    _, (axis,) = canvas.subplots(3.7, 2.2)
    values = np.array(values)
    canvas.value_axis(axis, values, vertical=vertical)
    chosen = axis.yaxis if vertical else axis.xaxis
    low, high = axis.get_ylim() if vertical else axis.get_xlim()
    assert low < values.min()
    assert high > values.max()
    shown = {text: at[vertical] for text, at in ticks(chosen).items()}
    assert [text for text, at in shown.items() if low <= at <= high] == expected
    np.testing.assert_allclose(list(shown.values()), np.float64(list(shown)))
    # In the picture zero has a strip as wide as a few margins.
    places = chosen.get_transform().transform(np.array([low, *np.unique(values), high]))
    assert (np.diff(places) > 0.04 * (places[-1] - places[0]) / len(values)).all()


def test_the_worst_trials_do_not_set_the_scale():
    values = np.r_[1e-9, np.linspace(0.1, 1, 98), 1e9][:, None]
    low, high = canvas.worth_seeing(values, values[:0])
    assert 0.09 < low < 0.11
    assert 0.9 < high <= 1
    assert canvas.worth_seeing(values, np.array([[0.01, 3]])) == (0.01, 3)
    assert canvas.worth_seeing(values, np.array([[0.5, 1e9]]))[1] == 10 * high


@style.style()
@pytest.mark.parametrize("others", [[], ["a label that is longer than others"] * 3])
def test_a_legend_has_each_label_once_and_stays_in_the_figure(others):
    words = ["folds", *(f"{word} {i}" for i, word in enumerate(others)), "chosen"]
    figure, axes = canvas.panels(3, width=1.5)
    for axis in axes:
        canvas.lines(axis, np.arange(2), np.ones((2, 3)), label="folds")
    for word in words[1:]:
        axes[2].plot(0, 0, label=word)
    canvas.legend(figure)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == words
    figure.draw_without_rendering()
    assert legend.get_window_extent().x1 <= figure.bbox.x1
