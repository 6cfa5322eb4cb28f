"""Curves are those of the history, and end where trials end."""

import numpy as np

from linclf_jax.figures import learning_curves, style
from linclf_jax.figures.learning_curves import GroupCurve

LOSS = np.array([[2.0, 1.0, 0.5], [2.0, 1.5, 1.2], [3.0, np.nan, np.nan]])
ACCURACY = np.array([[0.5, 0.8, 0.9], [0.4, 0.5, 0.6], [0.1, np.nan, np.nan]])


def history(loss=LOSS, accuracy=None, trials=(7, 3, 5)):
    accuracy = loss / 2e3 if accuracy is None else accuracy
    curves = {"train_loss": loss / 2, "val_loss": loss, "val_accuracy": accuracy}
    return {"trial": np.array(trials), **curves}


def draw(history, *named_and_ended):
    """Draws trials, and returns the two panels with their lines by label."""
    axes = learning_curves.of_trials(history, *named_and_ended).axes
    return [(axis, {line.get_label(): line for line in axis.lines}) for axis in axes]


class TestTrials:
    def test_lines_are_the_trials_of_the_history(self):
        given = history(accuracy=ACCURACY)
        (_, left), (_, right) = draw(given, {"chosen": 7, "median": 3}, [5])
        for label, expected in (
            ("chosen: trial 7", LOSS[0]),
            ("median: trial 3", LOSS[1]),
            ("chosen: trial 7, training loss", LOSS[0] / 2),
        ):
            np.testing.assert_array_equal(left[label].get_ydata(), expected)
        errors = right["chosen: trial 7"].get_ydata()
        np.testing.assert_allclose(errors, [0.5, 0.2, 0.1], rtol=1e-12)

    def test_what_ended_early_has_its_mark_at_the_edge(self):
        for ended, label, mark in (
            (([5], []), "1 of 1 trials that diverged", "x"),
            (([], [5]), "1 of 1 trials that were not trained to the end", "v"),
        ):
            (axis, lines), _ = draw(history(), {"chosen": 7}, *ended)
            marked = {key for key, line in lines.items() if line.get_marker() == mark}
            assert marked == {label}
            ((epoch, height),) = lines[label].get_xydata()
            assert epoch == 1
            assert height <= axis.get_ylim()[1]
            assert len(lines) == 3

    def test_a_handful_of_many_that_diverged(self):
        trials = np.arange(40)
        loss = np.where(np.arange(8)[None, :] < trials[:, None] % 8, 1.0, np.nan)
        figure = learning_curves.of_trials(history(loss, None, trials), {}, trials)
        lived = [len(line.get_xdata()) for line in figure.axes[0].lines]
        assert lived[0] == 1
        assert lived[-1] == 7
        assert len(lived) == learning_curves.MOST_ENDED

    def test_the_band_is_of_the_trials_that_finished(self):
        trials = np.arange(13)
        loss = np.tile(np.arange(1.0, 4.0), (13, 1)) + trials[:, None]
        loss[:10, 2] = np.nan  # fewer epochs than the diverged and the retired
        loss[10:] = 1e9
        (axis, _), _ = draw(history(loss, None, trials), {}, [10, 11], [12])
        (band,) = axis.collections
        assert band.get_label() == "middle 80 % of the 10 trials that finished"
        corners = band.get_paths()[0].vertices
        assert corners[:, 0].max() == 2
        np.testing.assert_allclose(corners[:, 1].max(), 2 + 8.1, rtol=1e-12)
        assert axis.get_ylim()[1] < 20  # those beyond the band are not drawn

    def test_a_loss_of_zero_leaves_the_picture_downwards(self):
        loss = LOSS.copy()
        given = history(loss) | {"train_loss": LOSS / 2}
        loss[0, 2] = 0.0
        (axis, _), _ = draw(given, {"chosen": 7}, [5])
        assert axis.get_yscale() == "log"
        assert 0.2 < axis.get_ylim()[0] < 0.25  # the training loss ends at 0.25

    def test_nothing_but_nan_is_an_empty_picture(self):
        figure = learning_curves.of_trials(history(LOSS * np.nan), {}, [7, 3, 5])
        assert len(style.png(figure)) > 0

    def test_a_trial_that_never_improves_is_a_level_line(self):
        level = history(np.full((1, 3), 0.5), np.full((1, 3), 0.9), [0])
        panels = draw(level, {"chosen": 0}, [])
        for (axis, _), height in zip(panels, (0.5, 0.1), strict=True):
            assert axis.get_yscale() == "log"
            low, high = sorted(axis.get_ylim())
            assert 0 < low < height < high

    def test_one_epoch_is_a_point(self):
        one = history(LOSS[:2, :1], None, (7, 3))
        (_, lines), _ = draw(one, {"chosen": 7}, [])
        assert lines["chosen: trial 7"].get_marker() == "o"


class TestGroups:
    def test_a_panel_for_each_first_value_and_a_look_for_each_line(self):
        curves = [
            GroupCurve("raw", "softmax", np.array([0.5, 0.75, 0.875]), 2),
            GroupCurve("raw", "hinge", np.array([0.5, 0.5, 0.75]), None),
            GroupCurve("hog", "softmax", np.array([0.25, 0.5, np.nan]), None),
        ]
        figure = learning_curves.of_groups(curves)
        left, right = figure.axes
        assert left.get_title(loc="left") == "raw"
        first, dot, second = left.lines
        np.testing.assert_allclose(first.get_ydata(), [0.5, 0.25, 0.125])
        assert dot.get_xydata().tolist() == [[2, 0.25]]
        assert first.get_color() == dot.get_color() == right.lines[0].get_color()
        assert first.get_color() != second.get_color()
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["softmax", "hinge"]
        assert left.get_ylim() == right.get_ylim()
