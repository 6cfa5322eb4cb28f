"""The map shows every setting in its place, and the best of each."""

import numpy as np
import pytest

from linclf_jax.figures import search_grid, search_map, style
from linclf_jax.figures.search_grid import Setting

EARLY = "not trained to the end: the accuracy by then"


def setting(*accuracies, optimizer="sgd", rate=0.1, l2=0.0, status="ok"):
    """One setting; ``status`` of all its repeats, or of each."""
    values = [np.nan if each is None else each for each in accuracies]
    words = [status] * len(values) if isinstance(status, str) else status
    return Setting(optimizer, rate, l2, np.array(values, float), np.array(words))


def sample(count=41, **changes):
    """Settings of distinct learning rates, from bad to good and back."""
    rates = np.geomspace(1e-3, 10, count).tolist()
    return [
        setting(0.9 - abs(i - 30) / 100, rate=rate, l2=10.0 ** -(1 + i % 3))._replace(
            **changes
        )
        for i, rate in enumerate(rates)
    ]


LOST = setting(None, status="diverged")
SOME_LOST = setting(0.5, None, l2=0.1, status=["ok", "diverged"])
WITHOUT_TRIALS = [(0.5, -0.5), (-0.5, 0.5)]  # of two settings that share no axis
GRID = tuple(
    setting(0.9 - 0.01 * i, optimizer=optimizer, rate=rate, l2=l2)
    for i, (optimizer, rate, l2) in enumerate(
        (optimizer, rate, l2)
        for optimizer in ("sgd", "adam", "lion")
        for rate in (0.001, 0.01, 0.1)
        for l2 in (0.0, 0.001)
    )
)


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def titles(figure):
    return [title for axis in figure.axes if (title := axis.get_title(loc="left"))]


def marks(axis, marker):
    lines = (line for line in axis.lines if line.get_marker() == marker)
    return [line.get_xydata()[0] for line in lines if len(line.get_xydata())]


class TestCells:
    @pytest.mark.parametrize(
        ("settings", "accuracy", "diverged", "retired"),
        [
            # A diverged repeat is counted and not averaged.
            ([setting(0.8, 0.1, status=["ok", "diverged"])], [0.8], [0.5], [False]),
            # Other settings compete by their means.
            ([setting(0.95, 0.75), setting(0.88, 0.9)], [0.89], [0], [False]),
            ([setting(None)], [np.nan], [0], [False]),
            (  # A retired trial counts where none finished.
                [
                    setting(0.8),
                    setting(0.9, status="retired"),
                    setting(0.6, None, l2=0.1, status=["retired", "diverged"]),
                    LOST._replace(l2=0.2),
                ],
                [0.8, 0.6, np.nan],
                [0, 0.5, 1],
                [False, True, False],
            ),
        ],
    )
    def test_they_hold_the_best_mean_and_the_share_that_diverged(
        self, settings, accuracy, diverged, retired
    ):
        (panel,) = search_grid.cells(settings)
        np.testing.assert_allclose(panel.accuracy[:, 0], accuracy, rtol=1e-12)
        np.testing.assert_array_equal(panel.diverged[:, 0], diverged)
        np.testing.assert_array_equal(panel.retired[:, 0], retired)

    def test_rows_are_penalties_and_columns_rates_of_each_optimizer_in_order(self):
        settings = [
            setting(0.8, 0.9, l2=0.01),
            setting(0.5, optimizer="adam"),
            setting(0.7, rate=0.01),
            setting(None, rate=0.01, l2=0.01, status="diverged"),
        ]
        panel, other = search_grid.cells(settings)
        assert (panel.optimizer, other.optimizer) == ("sgd", "adam")
        assert panel.learning_rates.tolist() == [0.01, 0.1]
        assert panel.l2s.tolist() == [0.0, 0.01]
        expected = [[0.7, np.nan], [np.nan, 0.85]]
        np.testing.assert_allclose(panel.accuracy, expected, rtol=1e-12)
        np.testing.assert_array_equal(panel.diverged, [[0, np.nan], [1, 0]])


class TestHeatmap:
    def test_images_hold_the_error_rates_on_one_scale(self):
        figure = search_map.draw(GRID)
        panels = search_grid.cells(GRID)
        for axis, panel in zip(figure.axes, panels, strict=False):
            shown = axis.images[0].get_array()
            np.testing.assert_allclose(shown, 1 - panel.accuracy, rtol=1e-12)
            assert axis.get_title(loc="left").startswith(panel.optimizer)
        assert len({axis.images[0].norm for axis in figure.axes[:3]}) == 1
        texts = {text.get_text() for axis in figure.axes for text in axis.texts}
        assert {"0.900", "0.850", "0.730"} <= texts

    def test_the_frame_is_on_the_chosen_cell(self):
        figure = search_map.draw(GRID, ("adam", 0.1, 0.001))
        frames = [[p.get_xy() for p in axis.patches] for axis in figure.axes[:3]]
        assert frames == [[], [(1.5, 0.5), (1.5, 0.5)], []]
        assert legend(figure) == ["chosen"]

    @pytest.mark.parametrize(
        ("other", "label", "frames", "cross", "triangle"),
        [
            (LOST._replace(l2=0.1), "diverged", [(-0.5, 0.5)], [], []),
            (SOME_LOST, "some trials of the cell diverged", [], [(0.37, 1.34)], []),
            (setting(0.95, l2=0.1, status="retired"), EARLY, [], [], [(-0.38, 1.34)]),
            (setting(0.5, rate=1, l2=0.1), "no trial", WITHOUT_TRIALS, [], []),
        ],
    )
    def test_what_is_no_plain_cell_is_marked_and_explained(
        self, other, label, frames, cross, triangle
    ):
        figure = search_map.draw([setting(0.9), other])
        axis = figure.axes[0]
        assert [patch.get_xy() for patch in axis.patches] == frames
        assert all(p.get_hatch() for p in axis.patches) == (label != "no trial")
        np.testing.assert_allclose(marks(axis, "x"), cross, atol=1e-12)
        np.testing.assert_allclose(marks(axis, "v"), triangle, atol=1e-12)
        assert legend(figure) == [label]
        # What was retired is never the best.
        assert titles(figure) == ["sgd: best cell 0.9000"]

    @pytest.mark.parametrize(
        ("settings", "title"),
        [
            ([setting(0.95, l2=0.1, status="retired")], "sgd: no trial finished"),
            ([LOST, LOST._replace(l2=0.1)], "sgd: every trial diverged"),
            (
                [LOST._replace(learning_rate=i) for i in range(1, 42)],
                "sgd: every trial diverged",
            ),
        ],
    )
    def test_without_a_result_the_title_says_so(self, settings, title):
        figure = search_map.draw(settings)
        assert titles(figure) == [title]
        # Colours are explained where there are any.
        assert len(figure.axes) == 1 + (settings[0].status[0] == "retired")
        assert len(style.png(figure)) > 0

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


class TestScatter:
    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            (sample(), True),
            (sample(13), True),
            (sample(12), False),
            # Whichever axis it samples; one optimizer may have a list of its own.
            ([s._replace(l2=s.learning_rate, learning_rate=1) for s in sample()], True),
            ([setting(0.5, optimizer="adam"), *sample()], True),
            ([setting(*[0.5] * 99)], False),
            ([s._replace(l2=l2) for s in sample() for l2 in (0, 1)], False),
        ],
    )
    def test_a_sample_is_scattered_and_a_grid_is_not(self, settings, expected):
        assert search_grid.is_scattered(settings) == expected

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
        early = setting(0.99, status="retired")
        for i, other in ((3, LOST), (4, early)):
            _, rate, l2, *_ = settings[i]
            settings[i] = other._replace(learning_rate=rate, l2=l2)
        figure = search_map.draw(settings)
        axis = figure.axes[0]
        triangles, dots = (points.get_offsets() for points in axis.collections)
        places = {i: [each.learning_rate, each.l2] for i, each in enumerate(settings)}
        np.testing.assert_allclose(marks(axis, "x"), [places.pop(3)])
        np.testing.assert_allclose(triangles, [places.pop(4)])
        order = sorted(places, key=lambda i: settings[i].accuracy[0])
        np.testing.assert_allclose(dots, [places[i] for i in order])
        errors = [1 - settings[i].accuracy[0] for i in order]
        np.testing.assert_allclose(axis.collections[1].get_array(), errors, rtol=1e-12)
        assert axis.get_xscale() == axis.get_yscale() == "log"
        assert titles(figure) == ["sgd: best point 0.9000"]  # not the retired one
        assert legend(figure) == ["diverged", EARLY]

    @pytest.mark.parametrize("l2", [0.0, 0.01])
    def test_the_ring_is_on_the_chosen_point_of_its_panel(self, l2):
        chosen = ("adam", sample()[9].learning_rate, l2)
        figure = search_map.draw(sample() + sample(optimizer="adam", l2=l2), chosen)
        rings = [np.array(marks(axis, "o")).tolist() for axis in figure.axes[:2]]
        assert rings == [[], [list(chosen[1:])] * 2]
        assert legend(figure) == ["chosen"]
        assert len(style.png(figure)) > 0
