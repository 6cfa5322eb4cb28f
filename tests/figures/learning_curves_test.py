"""Curves are those of the history, and end where trials end."""

import numpy as np

from linclf_jax.figures import learning_curves, style


class TestTrials:
    def history(self):
        loss = np.array([[2.0, 1.0, 0.5], [2.0, 1.5, 1.2], [3.0, np.nan, np.nan]])
        accuracy = np.array([[0.5, 0.8, 0.9], [0.4, 0.5, 0.6], [0.1, np.nan, np.nan]])
        trials = np.array([7, 3, 5])
        return {
            "trial": trials,
            "train_loss": loss / 2,
            "val_loss": loss,
            "val_accuracy": accuracy,
        }

    def lines(self, axis):
        return {str(line.get_label()): line.get_ydata() for line in axis.lines}

    def test_lines_are_the_trials_of_the_history(self):
        history = self.history()
        left, right = learning_curves.of_trials(
            history, {"chosen": 7, "median": 3}, [5]
        ).axes
        lines = self.lines(left)
        np.testing.assert_array_equal(lines["chosen: trial 7"], history["val_loss"][0])
        np.testing.assert_array_equal(lines["median: trial 3"], history["val_loss"][1])
        training = lines["chosen: trial 7, training loss"]
        np.testing.assert_array_equal(training, history["train_loss"][0])
        shown = self.lines(right)["chosen: trial 7"]
        np.testing.assert_allclose(shown, [0.5, 0.2, 0.1], rtol=1e-12)

    def test_a_diverged_trial_ends_in_a_cross_at_the_edge(self):
        left, _ = learning_curves.of_trials(self.history(), {"chosen": 7}, [5]).axes
        crosses = [line for line in left.lines if line.get_marker() == "x"]
        drawn = [
            line.get_xydata().tolist() for line in crosses if len(line.get_xdata())
        ]
        assert len(drawn) == 1
        ((epoch, height),) = drawn[0]
        assert epoch == 1
        assert height <= left.get_ylim()[1]
        assert "1 of 1 trials that diverged" in self.lines(left)

    def test_a_handful_of_many_that_diverged(self):
        trials = np.arange(40)
        loss = np.where(np.arange(8)[None, :] < trials[:, None] % 8, 1.0, np.nan)
        history = {"trial": trials, "val_accuracy": loss / 2}
        history |= {"val_loss": loss, "train_loss": loss}
        left, _ = learning_curves.of_trials(history, {}, list(trials)).axes
        solid = [line for line in left.lines if len(line.get_xdata()) == 8]
        lived = [int(np.isfinite(line.get_ydata()).sum()) for line in solid]
        assert lived[0] == 1
        assert lived[-1] == 7
        assert len(lived) == learning_curves.MOST_ENDED

    def test_a_retired_trial_is_no_diverged_one(self):
        history = self.history()
        left, _ = learning_curves.of_trials(history, {"chosen": 7}, [], [5]).axes
        lines = self.lines(left)
        assert "1 of 1 trials that were not trained to the end" in lines
        assert not any("diverged" in label for label in lines)
        marks = {line.get_marker() for line in left.lines if len(line.get_xdata()) == 1}
        assert marks == {"v"}

    def test_the_band_is_of_the_trials_that_finished(self):
        trials = np.arange(13)
        loss = np.tile(np.arange(1.0, 4.0), (13, 1)) + trials[:, None]
        loss[:10, 2] = np.nan  # fewer epochs than the diverged and the retired
        loss[10:] = 1e3
        history = {"trial": trials, "val_accuracy": loss / 2e3}
        history |= {"val_loss": loss, "train_loss": loss}
        left, _ = learning_curves.of_trials(history, {}, [10, 11], [12]).axes
        (band,) = left.collections
        assert band.get_label() == "middle 80 % of the 10 trials that finished"
        corners = band.get_paths()[0].vertices
        assert corners[:, 0].max() == 2
        np.testing.assert_allclose(corners[:, 1].max(), 2 + 8.1, rtol=1e-12)

    def test_a_loss_of_zero_leaves_the_picture_downwards(self):
        history = self.history()
        history["val_loss"][0, 2] = 0.0
        left, _ = learning_curves.of_trials(history, {"chosen": 7}, [5]).axes
        assert left.get_yscale() == "log"
        assert 0.2 < left.get_ylim()[0] < 0.25  # the training loss ends at 0.25

    def test_nothing_but_nan_is_an_empty_picture(self):
        history = self.history()
        history = {k: v * np.nan if v.ndim == 2 else v for k, v in history.items()}
        assert len(style.png(learning_curves.of_trials(history, {}, [7, 3, 5]))) > 0

    def test_a_trial_that_never_improves_is_a_level_line(self):
        loss = np.full((1, 3), 0.5)
        history = {"trial": np.array([0]), "train_loss": loss, "val_loss": loss}
        history["val_accuracy"] = np.full((1, 3), 0.9)
        left, right = learning_curves.of_trials(history, {"chosen": 0}, []).axes
        for axis, height in ((left, 0.5), (right, 0.1)):
            assert axis.get_yscale() == "log"
            low, high = sorted(axis.get_ylim())
            assert 0 < low < height < high

    def test_one_epoch_is_a_point(self):
        history = self.history()
        history = {k: v[:2, :1] if v.ndim == 2 else v[:2] for k, v in history.items()}
        left, _ = learning_curves.of_trials(history, {"chosen": 7}, []).axes
        assert left.lines[0].get_marker() == "o"


class TestGroups:
    def curve(self, panel, line, accuracy, epoch=None):
        values = np.array(accuracy)
        return learning_curves.GroupCurve(panel, line, values, epoch)

    def test_a_panel_for_each_first_value_and_a_look_for_each_line(self):
        curves = [
            self.curve("raw", "softmax", [0.5, 0.75, 0.875], epoch=2),
            self.curve("raw", "hinge", [0.5, 0.5, 0.75]),
            self.curve("hog", "softmax", [0.25, 0.5, np.nan]),
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

    def test_one_epoch_is_a_point(self):
        (axis,) = learning_curves.of_groups([self.curve("a", "b", [0.5])]).axes
        assert axis.lines[0].get_marker() == "o"
