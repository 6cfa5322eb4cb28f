"""Numbers, ticks and colours are right, and a figure is the same bytes everywhere."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from linclf_jax.figures import axes, classifier, style


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0, "0"),
            (0.01, "0.01"),
            (0.0099, "9.9e-3"),
            (0.04641588833612779, "0.046"),
            (1, "1"),
            (99.4, "99"),
            (316.2, "316"),
            (1000.0, "1e3"),
            (1e-3, "1e-3"),
            (3.1622776601683794e-07, "3.2e-7"),
            (-0.5, "-0.5"),
        ],
    )
    def test_short_number(self, value, expected):
        assert style.short_number(value) == expected

    def test_error_of_zero_becomes_half_of_the_smallest(self):
        accuracy = np.array([1.0, 0.9, 0.6, np.nan])
        floor = axes.error_floor(accuracy)
        np.testing.assert_allclose(floor, 0.05, rtol=1e-12)
        errors = axes.error_rates(accuracy, floor)
        np.testing.assert_allclose(errors, [0.05, 0.1, 0.4, np.nan], rtol=1e-12)

    def test_float32_rounding_is_no_error(self):
        accuracy = np.nextafter(np.float32(1), np.float32(0))
        assert axes.error_rates(accuracy, 0.25) == 0.25

    def test_floor_without_any_error(self):
        assert axes.error_floor(np.ones(3)) == 0.005

    @pytest.mark.parametrize(
        ("lowest", "highest"), [(0.02, 0.3), (0.001, 0.95), (0.02, 0.03), (0.017, 0.04)]
    )
    def test_ticks_say_where_they_are_and_keep_apart(self, lowest, highest):
        errors, labels = axes.accuracy_ticks(lowest, highest)
        assert len(errors) >= 3
        assert lowest <= min(errors)
        assert max(errors) <= highest
        np.testing.assert_allclose(1 - np.array(errors), np.float64(labels), atol=1e-12)
        gaps = -np.diff(np.log(errors)) / np.log(highest / lowest)
        assert gaps.min() >= 0.0999

    def test_thinned_keeps_places(self):
        assert style.thinned(list("abcdefg"), 3) == ["a", "", "", "d", "", "", "g"]
        assert style.thinned(["a", "b"], 2) == ["a", "b"]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.1, 0.3, 0.1], [0.1, 0.3]),
            (np.geomspace(1e-3, 100, 50), [1e-3, 0.01, 0.1, 1, 10, 100]),
            (np.geomspace(1.1e-3, 97, 50), [1e-3, 0.01, 0.1, 1, 10, 100]),
            (np.geomspace(1.5e-3, 60, 50), [0.01, 0.1, 1, 10]),
            (np.geomspace(0.2, 0.5, 50), [0.2, 0.5]),
            (np.geomspace(0.2, 3, 50), [0.2, 3]),
        ],
    )
    def test_ticks(self, values, expected):
        np.testing.assert_allclose(axes.log_ticks(np.array(values)), expected)

    def test_the_worst_trials_do_not_set_the_scale(self):
        values = np.r_[1e-9, np.linspace(0.1, 1, 98), 1e9][:, None]
        low, high = axes.worth_seeing(values, values[:0])
        assert 0.09 < low < 0.11
        assert 0.9 < high <= 1
        assert axes.worth_seeing(values, np.array([[0.01, 3]])) == (0.01, 3)
        assert axes.worth_seeing(values, np.array([[0.5, 1e9]]))[1] == 10 * high

    def test_many_series_can_be_told_apart(self):
        looks = [tuple(style.series(i).values()) for i in range(style.MOST_SERIES)]
        assert len(set(looks)) == style.MOST_SERIES

    def test_a_figure_that_fails_is_named(self):
        with pytest.raises(style.FigureError, match=r"^one\.png cannot be drawn: Zero"):
            style.pngs({"one": lambda: 1 / 0})


class TestLook:
    def draw(self):
        return classifier.confusion(np.eye(2, dtype=int), [1, 1], [r"$\frac$", "漢字"])

    def test_names_are_not_formulas_and_need_no_font(self):
        assert style.png(self.draw())[:8] == b"\x89PNG\r\n\x1a\n"

    def test_bytes_do_not_depend_on_the_users_settings(self):
        before = style.png(self.draw())
        with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
            assert style.png(self.draw()) == before
            assert matplotlib.rcParams["font.size"] == 30

    def test_bytes_carry_no_version(self):
        assert matplotlib.__version__.encode() not in style.png(self.draw())

    def test_matplotlib_is_imported_late_and_pyplot_never(self):
        script = (
            "import sys; from linclf_jax.figures import classifier, style\n"
            "assert 'matplotlib' not in sys.modules\n"
            "bins = {'edges': [0, 1], 'count': [0]}\n"
            "bins |= {'confidence': [None], 'accuracy': [None]}\n"
            "style.png(classifier.reliability(classifier.Diagram('', bins)))\n"
            "assert 'matplotlib' in sys.modules\n"
            "assert 'matplotlib.pyplot' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
