"""The top of a page says what the record says, in whatever state that is."""

import numpy as np
import pytest

from linclf_jax.reports import answer
from tests.reports import records
from tests.reports.records import NASTY


def numbers(record):
    return {n.name: (n.value, n.note) for n in answer.make(record).numbers}


def why(record):
    return " ".join(answer.make(record).why)


class TestTrained:
    def test_the_answer(self):
        record = records.sweep()
        made = answer.make(record)
        assert made.kicker == "sweep on pets & co: 24 linear classifiers"
        chosen = "trial 17, adam, learning rate 0.1, l2 0"
        assert made.headline == f"Use {chosen}: test accuracy 0.8125"
        (why,) = made.why
        assert why.startswith("Why this one: the lowest val_loss. Tied for the best")
        assert "Tied for the best validation loss: trial 3." in why
        assert why.endswith("The test split was measured once, after the selection.")
        assert made.warnings == ["trial <b> is odd"]

    def test_the_numbers(self):
        assert numbers(records.sweep()) == {
            "test accuracy": ("0.8125", "95 % interval 0.5625 to 0.9375; 18 rows"),
            "validation accuracy": (
                "0.9375",
                "20 rows; 95 % interval 0.7500 to 0.9688; it served to choose among 22 "
                "trials, so expect less",
            ),
            "test loss": ("0.5678", "validation 0.2500"),
            "calibration error": ("0.0432", "expected calibration error"),
        }

    @pytest.mark.parametrize(
        ("accuracy", "words"),
        [
            (0.0031, "trials, which favours the best by about 0.0031"),
            (-0.0002, "trials, which is not expected to favour the best"),
        ],
    )
    def test_selection_bias_is_told_where_it_is_known(self, accuracy, words):
        bias = {"settings": 22, "accuracy": accuracy}
        record = records.sweep(change={"selection_bias": bias})
        assert numbers(record)["validation accuracy"][1].endswith(words)

    def test_hyper_parameters_are_exact_and_without_blanks(self):
        settings = answer.make(records.sweep(trial=18)).settings
        assert settings == {
            "optimizer": "adam",
            "learning_rate": 0.1,
            "l2": 0.001234567,
            "batch_size": 32,
            "seed": 0,
        }

    def test_what_differs_is_in_the_headline(self):
        rows = [row | {"loss": "hinge"} for row in records.training_rows()]
        rows[0]["loss"] = "softmax_cross_entropy"
        assert "Use trial 17, hinge, adam" in answer.make(records.sweep(rows)).headline

    def test_of_many_ties_the_first_are_named(self):
        record = records.sweep(change={"ties": list(range(17))})
        assert "17 trials, first 0, 1, 2, 3, 4. The test" in why(record)

    def test_one_trial_was_not_chosen_among_others(self):
        record = records.sweep(records.training_rows()[17:18])
        assert answer.make(record).kicker.endswith(": 1 linear classifier")
        assert "served" not in numbers(record)["validation accuracy"][1]

    def test_repeats_have_a_mean_and_a_spread(self):
        record = records.folds(refit=True)
        headline = answer.make(record).headline
        assert headline == "Use sgd, learning rate 0.1, l2 0.01: test accuracy 0.8125"
        assert "fitted again to all rows of training and validation" in why(record)
        value, note = numbers(record)["held-out accuracy"]
        assert value == "0.8500"
        assert note.startswith("mean of 3 repeats, standard deviation 0.0500; 95 %")
        assert note.endswith("choose among 3 settings, so expect less")
        assert numbers(record)["test loss"][1] == "held-out 0.3000"

    def test_a_choice_by_repeats_that_keeps_its_trial_says_which_was_tested(self):
        record = records.folds(refit=False)
        assert answer.make(record).headline.startswith("Use trial 3, sgd")
        note = numbers(record)["test accuracy"][1]
        assert note.endswith("; of trial 3, the first of the repeats")
        assert "fitted again" not in why(record)

    def test_equal_test_rows_are_counted_and_left_out(self):
        without = {"size": 16, "accuracy": 0.875, "accuracy_interval": [0.739, 0.945]}
        same = {"rows": 2, "another_label": 1, "without": without}
        change = {"test": records.measured(duplicates=same), "warnings": []}
        (warning,) = answer.make(records.sweep(change=change)).warnings
        assert warning == (
            "2 of 18 test rows are byte-equal to a row of training or validation; 1 of "
            "them with another label; without them the test accuracy is 0.8750 (95 % "
            "interval 0.7390 to 0.9450, 16 rows)"
        )
        change["test"]["duplicates"] = same | {"without": None, "another_label": 0}
        (warning,) = answer.make(records.sweep(change=change)).warnings
        assert warning.endswith(
            "row of training or validation; no other test rows are left"
        )


class TestRetired:
    def test_they_are_counted_and_were_chosen_among(self):
        rows = records.training_rows(diverged=(4, 5), retired=(0, 1, 2, 16))
        record = records.sweep(rows)
        line = "4 of 24 trials were retired early: others were better, and they could"
        assert line in why(record)
        assert "among 22 trials" in numbers(record)["validation accuracy"][1]

    def test_settings_that_were_retired_were_chosen_among(self):
        record = records.folds(refit=True)
        for status, count in (("retired", 3), ("diverged", 2)):
            for row in record.rows[:3]:
                row["status"] = status
            note = numbers(record)["held-out accuracy"][1]
            assert f"choose among {count} settings" in note

    def test_a_repeat_that_diverged_is_a_reason_too(self):
        """Trials 4 and 5 repeat one setting, over seeds."""
        rows = records.training_rows(diverged=(4,), retired=(5,))
        words = (
            "others were better or a repeat of the same setting diverged, and it could"
        )
        assert f"1 of 24 trials was retired early: {words}" in why(records.sweep(rows))
        rows = records.training_rows(diverged=(4, 5), retired=(6,))
        assert "others were better, and it could" in why(records.sweep(rows))

    @pytest.mark.parametrize("diverged", [(), (4, 5)])
    def test_while_a_run_trains_those_of_a_rung_may_train_on(self, diverged):
        """Every trial of a rung that is not the last is called retired in its batch."""
        rest = sorted({*range(24)} - {*diverged})
        rows = records.training_rows(diverged=diverged, retired=rest)
        record = records.sweep(rows, trial=None, fitting=True, sealed=False)
        text = why(record)
        assert f"{len(rest)} of 24 trials have been through a rung of halving;" in text
        assert f"0 trials have finished and {len(diverged)} have diverged." in text
        assert "The same command on this run directory continues the run" in text
        for words in ("retired", "ended well", "learning rate tried", "Ahead by"):
            assert words not in text


class TestWithoutSelection:
    def test_unfinished(self):
        made = answer.make(records.sweep(trial=None, fitting=True, sealed=False))
        assert made.headline.endswith("chosen yet: the run is unfinished")
        assert "So far 22 trials have finished and 2 have diverged." in made.why[0]
        ahead = "Ahead by validation loss: trial 17 (adam, learning rate 0.1, l2 0), va"
        assert ahead in made.why[0]
        assert not made.numbers
        assert made.settings is None

    def test_nothing_finished_yet(self):
        record = records.sweep([], trial=None, fitting=True, sealed=False)
        assert answer.make(record).headline == "No trial has finished yet"
        assert why(record) == (
            "The same command on this run directory continues the run."
        )

    def test_all_diverged(self):
        record = records.sweep(records.training_rows(diverged=range(24)), trial=None)
        headline = answer.make(record).headline
        assert headline == "No classifier to use: all 24 trials diverged"
        assert "smallest learning rate tried was 0.01: try smaller" in why(record)
        assert "The test split has not been touched." in why(record)

    def test_all_diverged_or_retired(self):
        rows = records.training_rows(diverged=range(20), retired=range(20, 24))
        headline = answer.make(records.sweep(rows, trial=None)).headline
        assert headline.endswith("all 24 trials diverged or were retired")

    def test_all_diverged_so_far_is_not_the_end(self):
        rows = records.training_rows(diverged=range(24))
        record = records.sweep(rows, trial=None, fitting=True, sealed=False)
        assert "No classifier to use" not in answer.make(record).headline
        assert "So far no trial has ended well" in why(record)

    def test_a_setting_that_lost_a_repeat_is_none_to_use(self):
        rows = records.training_rows(diverged=range(0, 24, 2))
        headline = answer.make(records.sweep(rows, trial=None)).headline
        assert headline == "No classifier to use: no setting kept all of its trials"

    def test_a_shard_says_how_to_join_it_with_the_others(self):
        settings = records.config("sweep", num_shards=3, shard_index=1)
        record = records.sweep(trial=None, settings=settings)
        headline = "Shard 1 of 3, counted from 0, is finished: join all shards"
        assert answer.make(record).headline == headline
        assert "Of its share 22 trials have finished and 2 have diverged." in why(
            record
        )
        assert "join their run directories with python -m experiments.merge" in why(
            record
        )

    def test_fits_that_are_no_optimum(self):
        ends = {(i, j): ("invalid", None) for i in range(4) for j in range(4)}
        record = records.path(ends=ends)._replace(selected=None)
        headline = answer.make(record).headline
        assert headline.endswith("all 16 trials ended without an optimum")
        assert "Try larger penalties, or allow more steps." in why(record)

    def test_unfinished_fits(self):
        record = records.sets("clip")._replace(selected=None)
        record = record._replace(fitting=True, sealed=False)
        assert "So far 3 trials have finished and 0 have failed." in why(record)
        ahead = "Ahead by validation loss: trial 1 (l2 0.1 (C 1.5)), validation acc"
        assert ahead in why(record)

    def test_what_could_not_be_read_is_a_warning(self):
        notes = ("000001.npz is damaged",)
        record = records.sweep(trial=None, fitting=True, sealed=False, notes=notes)
        assert answer.make(record).warnings == notes


class TestExact:
    def test_the_answer_and_its_certificate(self):
        made = answer.make(records.path())
        assert made.kicker == "path on pets & co: 16 exact fits"
        assert made.headline == "Use l2 0.01 (C 1.25): test accuracy 0.8125"
        assert made.why[1] == (
            "Certified by its duality gap: its objective is at most 1.5e-7 of itself "
            "above the lowest there is. The worst gap of all 16 fits is 4e-7, where "
            "1e-6 was asked for."
        )
        assert made.settings["C"] == 1.25

    def test_the_numbers(self):
        known = numbers(records.path())
        assert known["held-out accuracy"][0] == "0.9300"
        assert known["held-out accuracy"][1].startswith(
            "mean of 3 folds; 95 % interval"
        )
        assert known["held-out accuracy"][1].endswith(
            "among 4 penalties, so expect less"
        )
        assert known["test loss"] == ("0.5678", "held-out 0.2500 ± 0.0577")

    def test_leave_one_out(self):
        known = numbers(records.path(num_folds=0))
        assert known["held-out accuracy"][1].startswith("approximate leave-one-out; 95")

    def test_one_penalty_was_not_chosen_among_others(self):
        record = records.path(l2s=(0.5,), losses=(0.25,), at=(0, 0))
        assert "served" not in numbers(record)["held-out accuracy"][1]

    def test_a_fit_that_was_made_to_be_tested_was_not_chosen_among(self):
        record = records.path()
        for row in record.rows:
            if row["stage"] == "final":
                row["l2"] *= 0.8  # the same C, of more rows
        assert "among 4 penalties" in numbers(record)["held-out accuracy"][1]

    def test_no_penalty_at_all_has_no_inverse(self):
        record = records.path(l2s=(0.1, 0.0), losses=(0.5, 0.25), at=(1, 0))
        assert answer.make(record).headline == "Use l2 0: test accuracy 0.8125"

    def test_fits_that_ended_early_are_told(self):
        ends = {(3, 0): ("max_steps", 1e-3), (3, 1): ("no_finite_optimum", np.inf)}
        record = records.path(ends=ends | {(0, 2): ("stalled_at_precision", 2e-6)})
        certificate = answer.make(record).why[1]
        assert "worst gap of all 16 fits is unknown" in certificate
        others = "1 stalled at precision, 1 max steps, 1 no finite optimum."
        assert certificate.endswith(f"13 reached that, the others ended as {others}")


class TestGroups:
    def test_the_best_on_held_out_rows_is_named_first(self):
        made = answer.make(records.sets("clip", "dino", chosen=1))
        assert (
            made.kicker == "probe on pets & co: 6 exact fits, 2 groups, protocol clip"
        )
        assert made.headline == (
            "Best on held-out rows is dino: l2 0.1 (C 1.5): test accuracy 0.8125"
        )
        assert "not for its test score; those of all are below" in made.why[0]
        assert "measured once, after every selection." in made.why[0]

    def test_one_set_is_not_called_the_best(self):
        record = records.sets("clip")
        assert answer.make(record).headline.startswith("Use clip: l2 0.1 (C 1.5):")
        assert "named first" not in why(record)
        assert answer.remarks(record.selected) == []

    def test_sets_without_held_out_rows_are_not_called_the_best(self):
        record = records.sets(
            "clip", "<b>mae</b>", "dino", chosen=2, chosen_ties=(0, 1)
        )
        for entry in record.selected["entries"]:
            entry["validation"] |= {"resampling": None, "val_accuracy": None}
        assert answer.make(record).headline.startswith("Chosen is dino: ")
        assert "held-out accuracy" not in numbers(record)
        assert (
            "A tie: clip, <b>mae</b> and dino have no held-out rows to be compared by; "
            "of these the strongest l2 was taken, of equal ones the first."
        ) in why(record)

    @pytest.mark.parametrize(
        ("metric", "words"),
        [
            (
                "val_loss",
                "the same validation loss; of these the stronger l2 was taken",
            ),
            ("val_accuracy", "the same validation accuracy; of these the lower valid"),
        ],
    )
    def test_sets_that_tie_are_named_with_the_rule(self, metric, words):
        record = records.sets("clip", "dino", chosen=1, chosen_ties=[0], metric=metric)
        assert f"clip and dino have exactly {words}" in answer.ties(record.selected)
        assert answer.ties(records.sets("clip", "dino").selected) == ""

    def test_draws_have_means_and_their_spread(self):
        record = records.shots(chosen=9)
        headline = "Best on held-out rows is dino, 10 shots: test accuracy 0.6406"
        assert answer.make(record).headline == headline
        assert "fitted again to all rows of the draw" in why(record)
        assert "of the classifier of the first draw" in why(record)
        known = numbers(record)
        assert known["test accuracy"] == (
            "0.6406",
            "mean of 3 draws, standard deviation 0.0156; 18 rows",
        )
        assert known["held-out accuracy"][1].startswith("mean of 3 draws; it served")
        assert known["calibration error"][1] == "0.0312 after temperature scaling"

    def test_what_is_odd_is_said_of_the_group_that_it_is_in(self):
        record = records.shots(chosen=9, warnings=["the probe is odd"])
        entries = record.selected["entries"]
        entries[10]["warnings"] = ["the grid is narrow"]
        entries[0]["warnings"] = ["the grid is wide"]
        odd = "draw 1: the grid is narrow"
        assert answer.make(record).warnings == ["the probe is odd", odd]
        assert answer.remarks(record.selected) == [
            "clip, 1 shot: draw 0: the grid is wide",
            f"dino, 10 shots: {odd}",
        ]

    def test_a_group_without_a_selection_says_why(self):
        record = records.sets("clip", "dino")
        entries = record.selected["entries"]
        entries[1] = {"group": entries[1]["group"], "failure": "all fits failed"}
        assert answer.remarks(record.selected) == ["dino: all fits failed"]
        assert answer.make(record).headline.startswith("Best on held-out rows is clip")


def test_the_command_is_words_of_a_shell():
    made = answer.make(records.sweep())
    assert " ".join(made.replay) == (
        "python -m experiments.sweep --flagfile='my runs/one/flags.txt' "
        "--out_dir='my runs/one-replay'"
    )


def test_names_are_plain_text_here():
    record = records.sets(NASTY)
    assert NASTY in answer.make(record).headline
