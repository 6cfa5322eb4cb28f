"""The figures show the numbers they were given, and nothing else."""

import subprocess
import sys
import types

import matplotlib
import numpy as np
import pytest

from linclf_jax import metrics
from linclf_jax.figures import axes as canvas
from linclf_jax.figures import (
    classifier,
    grid,
    heatmap,
    learning_curves,
    scatter,
    style,
)


def row(lane, accuracy, **changes):
    settings = {
        **{"trial": lane, "optimizer": "sgd", "learning_rate": 0.1, "l2": 0.0},
        **{"momentum": 0.9, "seed": 0, "fold": None, "status": "ok"},
    }
    return settings | {"val_accuracy": accuracy} | changes


def texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


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
        floor = style.error_floor(accuracy)
        np.testing.assert_allclose(floor, 0.05, rtol=1e-12)
        errors = style.error_rates(accuracy, floor)
        np.testing.assert_allclose(errors, [0.05, 0.1, 0.4, np.nan], rtol=1e-12)

    def test_float32_rounding_is_no_error(self):
        accuracy = np.nextafter(np.float32(1), np.float32(0))
        assert style.error_rates(accuracy, 0.25) == 0.25

    def test_floor_without_any_error(self):
        assert style.error_floor(np.ones(3)) == 0.005

    @pytest.mark.parametrize(
        ("lowest", "highest"), [(0.02, 0.3), (0.001, 0.95), (0.02, 0.03), (0.017, 0.04)]
    )
    def test_ticks_say_where_they_are_and_keep_apart(self, lowest, highest):
        errors, labels = style.accuracy_ticks(lowest, highest)
        assert len(errors) >= 3
        assert lowest <= min(errors)
        assert max(errors) <= highest
        np.testing.assert_allclose(1 - np.array(errors), np.float64(labels), atol=1e-12)
        gaps = -np.diff(np.log(errors)) / np.log(highest / lowest)
        assert gaps.min() >= 0.0999

    def test_thinned_keeps_places(self):
        assert style.thinned(list("abcdefg"), 3) == ["a", "", "", "d", "", "", "g"]
        assert style.thinned(["a", "b"], 2) == ["a", "b"]


class TestGrid:
    def test_cells_hold_means_over_seeds(self):
        rows = [
            row(0, 0.8, learning_rate=0.1, l2=0.01, seed=0),
            row(1, 0.9, learning_rate=0.1, l2=0.01, seed=1),
            row(2, 0.7, learning_rate=0.01, l2=0.0),
            row(3, None, learning_rate=0.01, l2=0.01, status="diverged"),
        ]
        (panel,) = grid.arrange(rows)
        np.testing.assert_array_equal(panel.learning_rates, [0.01, 0.1])
        np.testing.assert_array_equal(panel.l2s, [0.0, 0.01])
        expected = [[0.7, np.nan], [np.nan, 0.85]]
        np.testing.assert_allclose(panel.accuracy, expected, rtol=1e-12)
        np.testing.assert_array_equal(panel.diverged, [[0, np.nan], [1, 0]])

    def test_a_diverged_seed_is_counted_and_not_averaged(self):
        stale = row(1, 0.1, seed=1, status="diverged")
        (panel,) = grid.arrange([row(0, 0.8), stale])
        np.testing.assert_array_equal(panel.accuracy, [[0.8]])
        np.testing.assert_array_equal(panel.diverged, [[0.5]])

    def test_a_retired_lane_counts_where_no_lane_finished(self):
        rows = [
            row(0, 0.8),
            row(1, 0.9, momentum=0.5, status="retired"),
            row(2, 0.6, l2=0.1, status="retired"),
            row(3, None, l2=0.1, status="diverged", seed=1),
            row(4, None, l2=0.2, status="diverged"),
        ]
        (panel,) = grid.arrange(rows)
        np.testing.assert_array_equal(panel.accuracy, [[0.8], [0.6], [np.nan]])
        np.testing.assert_array_equal(panel.retired, [[False], [True], [False]])
        np.testing.assert_array_equal(panel.diverged, [[0], [0.5], [1]])

    def test_other_settings_compete_by_their_means(self):
        rows = [
            row(0, 0.95, momentum=0.5, seed=0),
            row(1, 0.75, momentum=0.5, seed=1),
            row(2, 0.88, momentum=0.9, seed=0),
            row(3, 0.90, momentum=0.9, seed=1),
        ]
        np.testing.assert_allclose(grid.cell_accuracy(rows), 0.89, rtol=1e-12)

    def test_panels_keep_the_order_of_the_optimizers(self):
        rows = [row(i, 0.5, optimizer=o) for i, o in enumerate(["sgd", "adam", "sgd"])]
        assert [panel.optimizer for panel in grid.arrange(rows)] == ["sgd", "adam"]

    def test_an_unknown_accuracy_is_no_number(self):
        assert np.isnan(grid.cell_accuracy([row(0, None)]))


class TestHeatmap:
    rows = tuple(
        row(i, 0.9 - 0.01 * i, optimizer=o, learning_rate=rate, l2=l2)
        for i, (o, rate, l2) in enumerate(
            (o, rate, l2)
            for o in ("sgd", "adam", "lion")
            for rate in (0.001, 0.01, 0.1)
            for l2 in (0.0, 0.001)
        )
    )

    def test_images_hold_the_error_rates(self):
        figure = heatmap.draw(self.rows, None)
        panels = grid.arrange(self.rows)
        for axis, panel in zip(figure.axes, panels, strict=False):
            shown = axis.images[0].get_array()
            np.testing.assert_allclose(shown, 1 - panel.accuracy, rtol=1e-12)
            assert axis.get_title(loc="left").startswith(panel.optimizer)
        scales = {axis.images[0].norm for axis in figure.axes[:3]}
        assert len(scales) == 1

    def test_cells_carry_their_numbers(self):
        assert {"0.900", "0.850", "0.730"} <= set(texts(heatmap.draw(self.rows, None)))

    def test_the_frame_is_on_the_chosen_cell(self):
        chosen = next(
            r
            for r in self.rows
            if (r["optimizer"], r["learning_rate"], r["l2"]) == ("adam", 0.1, 0.001)
        )
        figure = heatmap.draw(self.rows, chosen)
        frames = [[p.get_xy() for p in axis.patches] for axis in figure.axes[:3]]
        assert frames == [[], [(1.5, 0.5), (1.5, 0.5)], []]

    def test_diverged_cells_are_hatched(self):
        rows = [row(0, 0.9), row(1, None, l2=0.1, status="diverged")]
        figure = heatmap.draw(rows, None)
        (patch,) = figure.axes[0].patches
        assert patch.get_xy() == (-0.5, 0.5)
        assert patch.get_hatch()
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["diverged"]

    def test_retired_cells_are_marked_and_are_never_the_best(self):
        rows = [row(0, 0.9), row(1, 0.95, l2=0.1, status="retired")]
        figure = heatmap.draw(rows, None)
        (mark,) = (x for x in figure.axes[0].lines if x.get_marker() == "v")
        np.testing.assert_allclose(mark.get_xydata(), [[-0.38, 1.34]], atol=1e-12)
        assert figure.axes[0].get_title(loc="left") == "sgd: best cell 0.9000"
        assert not figure.axes[0].patches
        (legend,) = figure.legends
        labels = [text.get_text() for text in legend.get_texts()]
        assert labels == ["not trained to the end: the accuracy by then"]
        none = heatmap.draw(rows[1:], None)
        assert none.axes[0].get_title(loc="left") == "sgd: no lane finished"

    def test_all_diverged_has_no_colour_bar(self):
        rows = [row(i, None, l2=0.1 * i, status="diverged") for i in range(3)]
        figure = heatmap.draw(rows, None)
        assert len(figure.axes) == 1
        assert "every lane diverged" in figure.axes[0].get_title(loc="left")

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
        found = canvas.error_range(np.array(errors))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


class TestScatter:
    def sample(self, count=41, **changes):
        """Lanes of distinct learning rates, from bad to good and back."""
        rates = np.geomspace(1e-3, 10, count).tolist()
        return [
            row(i, 0.9 - abs(i - 30) / 100, learning_rate=rate, l2=10.0 ** -(1 + i % 3))
            | changes
            for i, rate in enumerate(rates)
        ]

    def collections(self, axis):
        """Offsets of crosses, triangles and dots, in the order in which they lie."""
        return [np.asarray(points.get_offsets()) for points in axis.collections]

    @pytest.mark.parametrize(
        ("rates", "l2s", "expected"),
        [(41, 2, False), (64, 8, False), (40, 1, False), (41, 1, True)],
    )
    def test_a_grid_is_not_scattered_unless_it_is_one_long_line(
        self, rates, l2s, expected
    ):
        rows = [
            row(0, 0.5, learning_rate=rate, l2=l2)
            for rate in np.geomspace(1e-3, 1, rates).tolist()
            for l2 in np.linspace(0, 1, l2s).tolist()
        ]
        assert grid.is_scattered(rows) == expected

    def test_a_sample_is_scattered_whichever_axis_it_samples(self):
        assert grid.is_scattered(self.sample())
        assert not grid.is_scattered(self.sample(40))
        turned = [
            r | {"l2": r["learning_rate"], "learning_rate": 1} for r in self.sample()
        ]
        assert grid.is_scattered(turned)
        # One optimizer may have a list of its own.
        assert grid.is_scattered([row(0, 0.5, optimizer="adam"), *self.sample()])
        repeated = [r | {"seed": s} for r in self.sample() for s in range(3)]
        assert grid.is_scattered(repeated)
        many_seeds = [row(i, 0.5, seed=i) for i in range(99)]
        assert not grid.is_scattered(many_seeds)

    def test_repeats_are_one_point_and_settings_are_not(self):
        rows = [
            row(0, 0.8, seed=0),
            row(1, 0.9, seed=1),
            row(2, 0.5, momentum=0.5),
            row(3, 0.9, l2=0.1),
            row(4, 0.1, l2=0.1, seed=1, status="diverged"),
            row(5, 0.6, l2=0.2, status="retired"),
            row(6, 0.8, l2=0.2, seed=1, status="retired"),
            row(7, None, l2=0.3),
        ]
        (points,) = grid.scatter(rows)
        np.testing.assert_array_equal(points.l2, [0, 0, 0.1, 0.2, 0.3])
        expected = [0.85, 0.5, np.nan, 0.7, np.nan]
        np.testing.assert_allclose(points.accuracy, expected, rtol=1e-12)
        np.testing.assert_array_equal(points.diverged, np.arange(5) == 2)
        np.testing.assert_array_equal(points.retired, np.arange(5) == 3)

    def test_every_point_is_where_it_belongs_the_best_on_top(self):
        rows = self.sample()
        rows[3] |= {"status": "diverged", "val_accuracy": None}
        rows[4] |= {"status": "retired", "val_accuracy": 0.99}
        figure = scatter.draw(rows, None)
        axis = figure.axes[0]
        crosses, triangles, dots = self.collections(axis)
        place = {i: [r["learning_rate"], r["l2"]] for i, r in enumerate(rows)}
        np.testing.assert_allclose(crosses, [place.pop(3)])
        np.testing.assert_allclose(triangles, [place.pop(4)])
        order = sorted(place, key=lambda i: rows[i]["val_accuracy"])
        np.testing.assert_allclose(dots, [place[i] for i in order])
        errors = [1 - rows[i]["val_accuracy"] for i in order]
        np.testing.assert_allclose(axis.collections[2].get_array(), errors, rtol=1e-12)
        assert axis.get_xscale() == axis.get_yscale() == "log"
        # A retired lane is never the best.
        assert axis.get_title(loc="left") == "sgd: best point 0.9000"
        (legend,) = figure.legends
        labels = [text.get_text() for text in legend.get_texts()]
        assert labels == ["diverged", "not trained to the end: the accuracy by then"]

    def test_panels_share_the_colours(self):
        rows = self.sample() + self.sample(optimizer="adam", val_accuracy=0.5)
        figure = scatter.draw(rows, None)
        scales = {points.norm for a in figure.axes[:2] for points in a.collections[1:]}
        assert len(scales) == 1
        titles = [axis.get_title(loc="left") for axis in figure.axes[:2]]
        assert titles == ["sgd: best point 0.9000", "adam: best point 0.5000"]
        assert not figure.legends

    def test_the_ring_is_on_the_chosen_point_of_its_panel(self):
        rows = self.sample() + self.sample(optimizer="adam")
        figure = scatter.draw(rows, rows[50])
        rings = [
            [x.get_xydata().tolist() for x in axis.lines if x.get_marker() == "o"]
            for axis in figure.axes[:2]
        ]
        place = [[rows[50]["learning_rate"], rows[50]["l2"]]]
        assert rings == [[], [place, place]]
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["chosen"]

    def test_zero_has_a_strip_below_the_others(self):
        rows = self.sample()
        zero = [r | {"l2": 0.0} for r in rows[:5]]
        figure = scatter.draw([*zero, *rows[5:]], zero[2])
        axis = figure.axes[0]
        heights = axis.get_yticks()
        assert axis.get_yticklabels()[0].get_text() == "0"
        assert axis.get_ylim()[0] < heights[0] < 1e-3  # the smallest positive l2
        *_, dots = self.collections(axis)
        assert (dots[:, 1] == heights[0]).sum() == 5
        ring = next(x for x in axis.lines if x.get_marker() == "o")
        np.testing.assert_allclose(ring.get_ydata(), heights[0], rtol=1e-12)

    @pytest.mark.parametrize(("l2", "label"), [(0.0, "0"), (3e-4, "3e-4")])
    def test_a_single_l2_is_a_line(self, l2, label):
        figure = scatter.draw(self.sample(l2=l2), None)
        axis = figure.axes[0]
        assert [text.get_text() for text in axis.get_yticklabels()] == [label]
        low, high = axis.get_ylim()
        (height,) = axis.get_yticks()
        assert low < height < high
        assert len(style.png(figure)) > 0

    def test_all_diverged_has_no_colour_bar(self):
        rows = self.sample(val_accuracy=None, status="diverged")
        figure = scatter.draw(rows, None)
        assert len(figure.axes) == 1
        assert "every lane diverged" in figure.axes[0].get_title(loc="left")
        assert len(self.collections(figure.axes[0])[0]) == 41
        assert len(style.png(figure)) > 0

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
        np.testing.assert_allclose(style.log_ticks(np.array(values)), expected)


class TestCurves:
    def history(self):
        loss = np.array([[2.0, 1.0, 0.5], [2.0, 1.5, 1.2], [3.0, np.nan, np.nan]])
        accuracy = np.array([[0.5, 0.8, 0.9], [0.4, 0.5, 0.6], [0.1, np.nan, np.nan]])
        lanes = np.array([7, 3, 5])
        return {
            "trial": lanes,
            "train_loss": loss / 2,
            "val_loss": loss,
            "val_accuracy": accuracy,
        }

    def lines(self, axis):
        return {str(line.get_label()): line.get_ydata() for line in axis.lines}

    def test_lines_are_the_lanes_of_the_history(self):
        history = self.history()
        left, right = learning_curves.draw(
            history, {"chosen": 7, "median": 3}, [5]
        ).axes
        lines = self.lines(left)
        np.testing.assert_array_equal(lines["chosen: lane 7"], history["val_loss"][0])
        np.testing.assert_array_equal(lines["median: lane 3"], history["val_loss"][1])
        training = lines["chosen: lane 7, training loss"]
        np.testing.assert_array_equal(training, history["train_loss"][0])
        shown = self.lines(right)["chosen: lane 7"]
        np.testing.assert_allclose(shown, [0.5, 0.2, 0.1], rtol=1e-12)

    def test_a_diverged_lane_ends_in_a_cross_at_the_edge(self):
        left, _ = learning_curves.draw(self.history(), {"chosen": 7}, [5]).axes
        crosses = [line for line in left.lines if line.get_marker() == "x"]
        drawn = [
            line.get_xydata().tolist() for line in crosses if len(line.get_xdata())
        ]
        assert len(drawn) == 1
        ((epoch, height),) = drawn[0]
        assert epoch == 1
        assert height <= left.get_ylim()[1]
        assert "1 of 1 lanes that diverged" in self.lines(left)

    def test_a_handful_of_many_diverged_lanes(self):
        lanes = np.arange(40)
        loss = np.where(np.arange(8)[None, :] < lanes[:, None] % 8, 1.0, np.nan)
        history = {"trial": lanes, "val_accuracy": loss / 2}
        history |= {"val_loss": loss, "train_loss": loss}
        left, _ = learning_curves.draw(history, {}, list(lanes)).axes
        solid = [line for line in left.lines if len(line.get_xdata()) == 8]
        lived = [int(np.isfinite(line.get_ydata()).sum()) for line in solid]
        assert lived[0] == 1
        assert lived[-1] == 7
        assert len(lived) == learning_curves.MOST_DIVERGED

    def test_a_retired_lane_is_no_diverged_one(self):
        history = self.history()
        left, _ = learning_curves.draw(history, {"chosen": 7}, [], [5]).axes
        lines = self.lines(left)
        assert "1 of 1 lanes that were not trained to the end" in lines
        assert not any("diverged" in label for label in lines)
        marks = {line.get_marker() for line in left.lines if len(line.get_xdata()) == 1}
        assert marks == {"v"}

    def test_the_band_is_of_the_lanes_that_finished(self):
        lanes = np.arange(13)
        loss = np.tile(np.arange(1.0, 4.0), (13, 1)) + lanes[:, None]
        loss[:10, 2] = np.nan  # fewer epochs than the diverged and the retired
        loss[10:] = 1e3
        history = {"trial": lanes, "val_accuracy": loss / 2e3}
        history |= {"val_loss": loss, "train_loss": loss}
        left, _ = learning_curves.draw(history, {}, [10, 11], [12]).axes
        (band,) = left.collections
        assert band.get_label() == "middle 80 % of the 10 lanes that finished"
        corners = band.get_paths()[0].vertices
        assert corners[:, 0].max() == 2
        np.testing.assert_allclose(corners[:, 1].max(), 2 + 8.1, rtol=1e-12)

    def test_a_loss_of_zero_leaves_the_picture_downwards(self):
        history = self.history()
        history["val_loss"][0, 2] = 0.0
        left, _ = learning_curves.draw(history, {"chosen": 7}, [5]).axes
        assert left.get_yscale() == "log"
        assert 0.2 < left.get_ylim()[0] < 0.25  # the training loss ends at 0.25

    def test_nothing_but_nan_is_an_empty_picture(self):
        history = self.history()
        history = {k: v * np.nan if v.ndim == 2 else v for k, v in history.items()}
        assert len(style.png(learning_curves.draw(history, {}, [7, 3, 5]))) > 0

    def test_a_lane_that_never_improves_is_a_level_line(self):
        loss = np.full((1, 3), 0.5)
        history = {"trial": np.array([0]), "train_loss": loss, "val_loss": loss}
        history["val_accuracy"] = np.full((1, 3), 0.9)
        left, right = learning_curves.draw(history, {"chosen": 0}, []).axes
        for axis, height in ((left, 0.5), (right, 0.1)):
            assert axis.get_yscale() == "log"
            low, high = sorted(axis.get_ylim())
            assert 0 < low < height < high

    def test_one_epoch_is_a_point(self):
        history = self.history()
        history = {k: v[:2, :1] if v.ndim == 2 else v[:2] for k, v in history.items()}
        left, _ = learning_curves.draw(history, {"chosen": 7}, []).axes
        assert left.lines[0].get_marker() == "o"

    def test_the_worst_lanes_do_not_set_the_scale(self):
        values = np.r_[1e-9, np.linspace(0.1, 1, 98), 1e9][:, None]
        low, high = learning_curves.worth_seeing(values, values[:0])
        assert 0.09 < low < 0.11
        assert 0.9 < high <= 1
        assert learning_curves.worth_seeing(values, np.array([[0.01, 3]])) == (0.01, 3)
        assert (
            learning_curves.worth_seeing(values, np.array([[0.5, 1e9]]))[1] == 10 * high
        )


class TestConfusion:
    counts = np.array([[50, 2, 0], [0, 40, 0], [7, 0, 0]])

    def test_counts_and_recall_are_written(self):
        figure = classifier.confusion(self.counts, [0.9615, 1.0, None], ["a", "b", "c"])
        written = texts(figure)
        assert sorted(t for t in written if t.isdigit()) == ["2", "40", "50", "7"]
        assert written[-4:] == ["recall", "0.962", "1.000", "none"]

    def test_true_classes_run_down(self):
        axis = classifier.confusion(self.counts, [1, 1, 0], ["a", "b", "c"]).axes[0]
        (seven,) = (text for text in axis.texts if text.get_text() == "7")
        assert seven.get_position() == (0, 2)

    def test_only_errors_are_coloured(self):
        axis = classifier.confusion(self.counts, [1, 1, 0], ["a", "b", "c"]).axes[0]
        shades = np.ma.filled(axis.images[0].get_array(), np.nan)
        expected = [[np.nan, 2, np.nan], [np.nan] * 3, [7, np.nan, np.nan]]
        np.testing.assert_array_equal(shades, expected)

    def test_many_classes_have_no_text(self):
        names = [f"class {i}" for i in range(100)]
        figure = classifier.confusion(np.eye(100, dtype=int), [1.0] * 100, names)
        assert texts(figure) == []
        assert len(style.png(figure)) > 0


class TestTemplates:
    def test_each_class_is_its_column_on_one_symmetric_scale(self):
        W = np.random.default_rng(0).normal(size=(12, 3))
        axis, _ = classifier.templates(W, ["a", "b", "c"], [3, 4]).axes
        for i, image in enumerate(axis.images):
            np.testing.assert_array_equal(image.get_array(), W[:, i].reshape(3, 4))
            assert image.get_clim() == (-np.abs(W).max(), np.abs(W).max())
        assert [text.get_text() for text in axis.texts] == ["a", "b", "c"]

    def test_pixels_are_upright(self):
        axis = classifier.templates(np.eye(4)[:, :1], ["a"], [2, 2]).axes[0]
        left, right, bottom, top = axis.images[0].get_extent()
        below, above = axis.get_ylim()
        assert left < right
        # The axis runs downwards, and so does the image: its first row is on top.
        assert above < top < bottom < below

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
    bins = types.MappingProxyType(
        {
            "edges": [0.0, 0.5, 0.75, 1.0],
            "count": [0, 4, 16],
            "confidence": [None, 0.6, 0.9],
            "accuracy": [None, 0.5, 1.0],
        }
    )

    def test_points_and_bars(self):
        top, bottom = classifier.reliability(
            classifier.Diagram("as trained", self.bins)
        ).axes
        np.testing.assert_array_equal(top.lines[1].get_xydata(), [[0.6, 0.5], [0.9, 1]])
        heights = [bar.get_height() for bar in bottom.patches]
        assert heights == [0, 4, 16]
        assert top.get_title(loc="left") == "as trained"

    def test_two_diagrams_share_their_axes(self):
        few = {**self.bins, "count": [0, 2, 2]}
        diagrams = (
            classifier.Diagram("before", self.bins),
            classifier.Diagram("after", few),
        )
        axes = classifier.reliability(*diagrams).axes
        titles = [axis.get_title(loc="left") for axis in axes]
        assert titles == ["before", "after", "", ""]
        heights = [[bar.get_height() for bar in axis.patches] for axis in axes[2:]]
        assert heights == [[0, 4, 16], [0, 2, 2]]
        assert axes[2].get_ylim() == axes[3].get_ylim()

    def test_intervals_are_wilsons(self):
        top, _ = classifier.reliability(
            classifier.Diagram("as trained", self.bins)
        ).axes
        (lines,) = top.collections
        low, high = metrics.wilson_interval(np.array([0.5, 1.0]), np.array([4, 16]))
        ends = np.array([segment[:, 1] for segment in lines.get_segments()])
        np.testing.assert_allclose(ends, np.stack([low, high], 1), rtol=1e-12)


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
            "import sys; from linclf_jax.runs import report, plots, figures\n"
            "assert 'matplotlib' not in sys.modules\n"
            "bins = {'edges': [0, 1], 'count': [0]}\n"
            "bins |= {'confidence': [None], 'accuracy': [None]}\n"
            "figures.png(plots.reliability(plots.Diagram('', bins)))\n"
            "assert 'matplotlib' in sys.modules\n"
            "assert 'matplotlib.pyplot' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
