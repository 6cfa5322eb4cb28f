"""The map shows every setting in its place, and the best of each."""

import numpy as np
import pytest

from linclf_jax.figures import search_grid, search_map, style
from linclf_jax.figures.search_grid import Setting


def setting(*accuracies, optimizer="sgd", rate=0.1, l2=0.0, status="ok"):
    """One setting; ``status`` of all its repeats, or of each."""
    values = [np.nan if each is None else each for each in accuracies]
    words = [status] * len(values) if isinstance(status, str) else status
    return Setting(optimizer, rate, l2, np.array(values, float), np.array(words))


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def titles(figure, count):
    return [axis.get_title(loc="left") for axis in figure.axes[:count]]


class TestCells:
    def test_they_hold_means_over_repeats(self):
        settings = [
            setting(0.8, 0.9, l2=0.01),
            setting(0.7, rate=0.01),
            setting(None, rate=0.01, l2=0.01, status="diverged"),
        ]
        (panel,) = search_grid.cells(settings)
        np.testing.assert_array_equal(panel.learning_rates, [0.01, 0.1])
        np.testing.assert_array_equal(panel.l2s, [0.0, 0.01])
        expected = [[0.7, np.nan], [np.nan, 0.85]]
        np.testing.assert_allclose(panel.accuracy, expected, rtol=1e-12)
        np.testing.assert_array_equal(panel.diverged, [[0, np.nan], [1, 0]])

    def test_a_diverged_repeat_is_counted_and_not_averaged(self):
        (panel,) = search_grid.cells([setting(0.8, 0.1, status=["ok", "diverged"])])
        np.testing.assert_array_equal(panel.accuracy, [[0.8]])
        np.testing.assert_array_equal(panel.diverged, [[0.5]])

    def test_a_retired_trial_counts_where_none_finished(self):
        settings = [
            setting(0.8),
            setting(0.9, status="retired"),
            setting(0.6, None, l2=0.1, status=["retired", "diverged"]),
            setting(None, l2=0.2, status="diverged"),
        ]
        (panel,) = search_grid.cells(settings)
        np.testing.assert_array_equal(panel.accuracy, [[0.8], [0.6], [np.nan]])
        np.testing.assert_array_equal(panel.retired, [[False], [True], [False]])
        np.testing.assert_array_equal(panel.diverged, [[0], [0.5], [1]])

    def test_other_settings_compete_by_their_means(self):
        (panel,) = search_grid.cells([setting(0.95, 0.75), setting(0.88, 0.9)])
        np.testing.assert_allclose(panel.accuracy, [[0.89]], rtol=1e-12)

    def test_an_unknown_accuracy_is_no_number(self):
        (panel,) = search_grid.cells([setting(None)])
        assert np.isnan(panel.accuracy).all()

    def test_panels_keep_the_order_of_the_optimizers(self):
        settings = [setting(0.5, optimizer=name) for name in ("sgd", "adam", "sgd")]
        names = [panel.optimizer for panel in search_grid.cells(settings)]
        assert names == ["sgd", "adam"]


class TestHeatmap:
    settings = tuple(
        setting(0.9 - 0.01 * i, optimizer=optimizer, rate=rate, l2=l2)
        for i, (optimizer, rate, l2) in enumerate(
            (optimizer, rate, l2)
            for optimizer in ("sgd", "adam", "lion")
            for rate in (0.001, 0.01, 0.1)
            for l2 in (0.0, 0.001)
        )
    )

    def test_images_hold_the_error_rates_on_one_scale(self):
        figure = search_map.draw(self.settings)
        panels = search_grid.cells(self.settings)
        for axis, panel in zip(figure.axes, panels, strict=False):
            shown = axis.images[0].get_array()
            np.testing.assert_allclose(shown, 1 - panel.accuracy, rtol=1e-12)
            assert axis.get_title(loc="left").startswith(panel.optimizer)
        assert len({axis.images[0].norm for axis in figure.axes[:3]}) == 1

    def test_cells_carry_their_numbers(self):
        axes = search_map.draw(self.settings).axes
        texts = {text.get_text() for axis in axes for text in axis.texts}
        assert {"0.900", "0.850", "0.730"} <= texts

    def test_the_frame_is_on_the_chosen_cell(self):
        figure = search_map.draw(self.settings, ("adam", 0.1, 0.001))
        frames = [[p.get_xy() for p in axis.patches] for axis in figure.axes[:3]]
        assert frames == [[], [(1.5, 0.5), (1.5, 0.5)], []]
        assert legend(figure) == ["chosen"]

    def test_diverged_cells_are_hatched(self):
        lost = setting(None, l2=0.1, status="diverged")
        figure = search_map.draw([setting(0.9), lost])
        (patch,) = figure.axes[0].patches
        assert patch.get_xy() == (-0.5, 0.5)
        assert patch.get_hatch()
        assert legend(figure) == ["diverged"]

    def test_a_cell_of_which_some_diverged_has_a_cross(self):
        some = setting(0.9, None, status=["ok", "diverged"])
        figure = search_map.draw([some, setting(0.5, l2=0.1)])
        (cross,) = (x for x in figure.axes[0].lines if x.get_marker() == "x")
        np.testing.assert_allclose(cross.get_xydata(), [[0.37, 0.34]])
        assert not figure.axes[0].patches
        assert legend(figure) == ["some trials of the cell diverged"]

    def test_cells_without_a_trial_are_explained(self):
        figure = search_map.draw([setting(0.9), setting(0.5, rate=1.0, l2=0.1)])
        assert legend(figure) == ["no trial"]

    def test_retired_cells_are_marked_and_are_never_the_best(self):
        early = setting(0.95, l2=0.1, status="retired")
        figure = search_map.draw([setting(0.9), early])
        (mark,) = (x for x in figure.axes[0].lines if x.get_marker() == "v")
        np.testing.assert_allclose(mark.get_xydata(), [[-0.38, 1.34]], atol=1e-12)
        assert titles(figure, 1) == ["sgd: best cell 0.9000"]
        assert not figure.axes[0].patches
        assert legend(figure) == ["not trained to the end: the accuracy by then"]
        none = search_map.draw([early])
        assert titles(none, 1) == ["sgd: no trial finished"]

    def test_all_diverged_has_no_colour_bar(self):
        settings = [setting(None, l2=0.1 * i, status="diverged") for i in range(3)]
        figure = search_map.draw(settings)
        assert len(figure.axes) == 1
        assert titles(figure, 1) == ["sgd: every trial diverged"]

    @pytest.mark.parametrize(
        ("errors", "expected"),
        [
            ([0.02, 0.9, np.nan], (0.02, 0.3)),
            ([0.05, 0.9], (0.05, 0.5)),
            ([0.02, 0.1], (0.02, 0.1)),
            ([0.02], (0.02, 0.025)),
            ([np.nan], (0.01, 1.0)),
        ],
    )
    def test_error_range(self, errors, expected):
        ends = search_map.error_range(np.array(errors))
        np.testing.assert_allclose(ends, expected, rtol=1e-12)


def sample(count=41, **changes):
    """Settings of distinct learning rates, from bad to good and back."""
    rates = np.geomspace(1e-3, 10, count).tolist()
    return [
        setting(0.9 - abs(i - 30) / 100, rate=rate, l2=10.0 ** -(1 + i % 3))._replace(
            **changes
        )
        for i, rate in enumerate(rates)
    ]


class TestScatter:
    def offsets(self, axis):
        """Of crosses, triangles and dots, in the order in which they lie."""
        return [np.asarray(points.get_offsets()) for points in axis.collections]

    @pytest.mark.parametrize(
        ("rates", "l2s", "expected"),
        [(41, 2, False), (64, 8, False), (40, 1, False), (41, 1, True)],
    )
    def test_a_grid_is_not_scattered_unless_it_is_one_long_line(
        self, rates, l2s, expected
    ):
        settings = [
            setting(0.5, rate=rate, l2=l2)
            for rate in np.geomspace(1e-3, 1, rates).tolist()
            for l2 in np.linspace(0, 1, l2s).tolist()
        ]
        assert search_grid.is_scattered(settings) == expected

    def test_a_sample_is_scattered_whichever_axis_it_samples(self):
        assert search_grid.is_scattered(sample())
        assert not search_grid.is_scattered(sample(40))
        turned = [
            each._replace(l2=each.learning_rate, learning_rate=1) for each in sample()
        ]
        assert search_grid.is_scattered(turned)
        # One optimizer may have a list of its own.
        assert search_grid.is_scattered([setting(0.5, optimizer="adam"), *sample()])
        assert not search_grid.is_scattered([setting(*[0.5] * 99)])

    def test_a_setting_is_a_point(self):
        settings = [
            setting(0.8, 0.9),
            setting(0.5),
            setting(0.9, 0.1, l2=0.1, status=["ok", "diverged"]),
            setting(0.6, 0.8, l2=0.2, status="retired"),
            setting(None, l2=0.3),
        ]
        (points,) = search_grid.points(settings)
        np.testing.assert_array_equal(points.l2s, [0, 0, 0.1, 0.2, 0.3])
        expected = [0.85, 0.5, np.nan, 0.7, np.nan]
        np.testing.assert_allclose(points.accuracy, expected, rtol=1e-12)
        np.testing.assert_array_equal(points.diverged, np.arange(5) == 2)
        np.testing.assert_array_equal(points.retired, np.arange(5) == 3)

    def test_every_point_is_where_it_belongs_the_best_on_top(self):
        settings = sample()
        lost = setting(None, status="diverged")
        early = setting(0.99, status="retired")
        for i, other in ((3, lost), (4, early)):
            rate, l2 = settings[i].learning_rate, settings[i].l2
            settings[i] = other._replace(learning_rate=rate, l2=l2)
        figure = search_map.draw(settings)
        axis = figure.axes[0]
        crosses, triangles, dots = self.offsets(axis)
        place = {i: [each.learning_rate, each.l2] for i, each in enumerate(settings)}
        np.testing.assert_allclose(crosses, [place.pop(3)])
        np.testing.assert_allclose(triangles, [place.pop(4)])
        order = sorted(place, key=lambda i: settings[i].accuracy[0])
        np.testing.assert_allclose(dots, [place[i] for i in order])
        errors = [1 - settings[i].accuracy[0] for i in order]
        np.testing.assert_allclose(axis.collections[2].get_array(), errors, rtol=1e-12)
        assert axis.get_xscale() == axis.get_yscale() == "log"
        # A retired trial is never the best.
        assert titles(figure, 1) == ["sgd: best point 0.9000"]
        words = ["diverged", "not trained to the end: the accuracy by then"]
        assert legend(figure) == words

    def test_panels_share_the_colours(self):
        others = sample(optimizer="adam", accuracy=np.array([0.5]))
        figure = search_map.draw(sample() + others)
        scales = {points.norm for a in figure.axes[:2] for points in a.collections[1:]}
        assert len(scales) == 1
        assert titles(figure, 2) == [
            "sgd: best point 0.9000",
            "adam: best point 0.5000",
        ]
        assert not figure.legends

    def test_the_ring_is_on_the_chosen_point_of_its_panel(self):
        chosen = sample()[9]
        figure = search_map.draw(
            sample() + sample(optimizer="adam"), ("adam", *chosen[1:3])
        )
        rings = [
            [x.get_xydata().tolist() for x in axis.lines if x.get_marker() == "o"]
            for axis in figure.axes[:2]
        ]
        at = [list(chosen[1:3])]
        assert rings == [[], [at, at]]
        assert legend(figure) == ["chosen"]

    def test_zero_has_a_strip_below_the_others(self):
        settings = sample()
        zero = [each._replace(l2=0.0) for each in settings[:5]]
        chosen = ("sgd", zero[2].learning_rate, 0.0)
        axis = search_map.draw([*zero, *settings[5:]], chosen).axes[0]
        heights = axis.get_yticks()
        assert axis.get_yticklabels()[0].get_text() == "0"
        assert axis.get_ylim()[0] < heights[0] < 1e-3  # the smallest positive l2
        *_, dots = self.offsets(axis)
        assert (dots[:, 1] == heights[0]).sum() == 5
        ring = next(x for x in axis.lines if x.get_marker() == "o")
        np.testing.assert_allclose(ring.get_ydata(), heights[0], rtol=1e-12)

    @pytest.mark.parametrize(("l2", "label"), [(0.0, "0"), (3e-4, "3e-4")])
    def test_a_single_l2_is_a_line(self, l2, label):
        figure = search_map.draw(sample(l2=l2))
        axis = figure.axes[0]
        assert [text.get_text() for text in axis.get_yticklabels()] == [label]
        low, high = axis.get_ylim()
        (height,) = axis.get_yticks()
        assert low < height < high
        assert len(style.png(figure)) > 0

    def test_all_diverged_has_no_colour_bar(self):
        lost = {"accuracy": np.array([np.nan]), "status": np.array(["diverged"])}
        figure = search_map.draw(sample(**lost))
        assert len(figure.axes) == 1
        assert titles(figure, 1) == ["sgd: every trial diverged"]
        assert len(self.offsets(figure.axes[0])[0]) == 41
        assert len(style.png(figure)) > 0
