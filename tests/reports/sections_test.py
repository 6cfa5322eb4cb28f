"""A section is there where its record holds what it shows, and its words are true."""

import matplotlib.figure
import numpy as np
import pytest

from linclf_jax.data.datasets import Split
from linclf_jax.reports import chosen_classifier, groups, penalties, render, search
from linclf_jax.reports import sections as section_lib
from linclf_jax.runs import examples, schema
from tests.reports import records
from tests.reports.records import NASTY
from tests.reports.tables_test import grouped


def by_id(record):
    return {section.id: section for section in render.contents(record)}


def ids(record):
    return list(by_id(record))


CLASSIFIER = ["confusion", "reliability"]


class TestWhichSections:
    def test_a_sweep(self):
        expected = ["scores", "search_map", "curves", "ranking", *CLASSIFIER]
        assert ids(records.sweep()) == expected

    def test_a_sweep_with_groups(self):
        first = ["accuracies", "scores", "group_curves", "search_map", "curves"]
        assert ids(grouped()) == [*first, "ranking", *CLASSIFIER]

    def test_a_path(self):
        figures = ["held_out", "norms", "coefficients", "work"]
        expected = ["scores", "rules", *figures, "path", *CLASSIFIER]
        assert ids(records.path()) == expected

    def test_a_probe_of_one_set(self):
        expected = ["scores", "held_out", "path", *CLASSIFIER, "protocol"]
        assert ids(records.sets("clip")) == expected

    def test_a_probe_of_several_sets(self):
        pairs = [records.pair("clip", "dino", 0.04)]
        record = records.sets("clip", "dino", comparisons=pairs)
        first = ["accuracies", "differences", "scores", "penalties"]
        assert ids(record) == [*first, *CLASSIFIER, "protocol"]

    def test_a_probe_of_shots(self):
        expected = ["shots", "scores", "penalties", *CLASSIFIER, "protocol"]
        assert ids(records.shots()) == expected

    def test_one_number_of_shots_is_no_curve(self):
        few = [
            ({"features": name, "shots": 4, "seed": seed}, 0.5 + seed / 8)
            for name in ("clip", "dino")
            for seed in (0, 1)
        ]
        found = by_id(records.probe(few))
        assert list(found)[:2] == ["accuracies", "scores"]
        caption = found["accuracies"].caption
        assert "bars one standard deviation over 2 draws each way" in caption
        assert "compared below" not in caption

    def test_an_unfinished_run_has_nothing_of_a_selection(self):
        record = records.sweep(trial=None, fitting=True, sealed=False)
        assert ids(record) == ["search_map", "curves", "ranking"]
        assert ids(record._replace(history=None)) == ["search_map", "ranking"]
        assert ids(records.sweep([], trial=None)._replace(history=None)) == []
        assert ids(records.path()._replace(selected=None)) == []

    def test_one_trial_makes_no_map(self):
        assert "search_map" not in ids(records.sweep(records.training_rows()[17:18]))

    def test_all_diverged(self):
        record = records.sweep(records.training_rows(diverged=range(24)), trial=None)
        assert ids(record) == ["search_map", "curves"]
        assert "Colours follow" not in by_id(record)["search_map"].caption
        for name in schema.CURVES:
            record.history[name][:] = np.nan
        assert ids(record) == ["search_map"]

    @pytest.mark.parametrize(
        "record", [records.sweep(), records.path(), records.sets("clip", "dino")]
    )
    def test_every_figure_is_known_and_has_words_for_those_who_cannot_see_it(
        self, record
    ):
        for section in render.contents(record):
            assert section.heading
            if section.figure:
                assert section.id in section_lib.FIGURES
                assert len(section.alt) > 20
                assert section.caption


class TestEveryTemplate:
    def test_texts_have_no_space_before_a_stop_and_no_gap_after(self):
        all_records = [
            records.sweep(),
            records.folds(refit=True),
            records.path(),
            records.path(num_folds=0, metric="val_loss_calibrated"),
            records.shots(),
            records.sets(
                "clip", "dino", comparisons=[records.pair("clip", "dino", 1.0)]
            ),
            grouped(keep="best"),
        ]
        for section in (s for record in all_records for s in render.contents(record)):
            for text in (section.heading, section.alt, section.caption, section.notes):
                for gap in (" .", " ,", " ;", " :", "( ", " )", "  "):
                    assert gap not in text, text
                assert not text or text[0].isupper()


class TestSearch:
    def sample(self, *, seeds=(0,), retired=()):
        """A sweep of distinct learning rates."""
        rates = np.geomspace(0.01, 1, 48).tolist()
        pairs = [(rate, seed) for rate in rates for seed in seeds]
        pattern = records.training_rows(retired=retired)
        return [
            pattern[trial % 24]
            | {"trial": trial, "seed": seed, "learning_rate": rate, "l2": rate / 100}
            | {"optimizer": "sgd", "momentum": 0.9}
            for trial, (rate, seed) in enumerate(pairs)
        ]

    def test_a_grid(self):
        section = by_id(records.sweep())["search_map"]
        assert section.heading == "Validation accuracy over the grid"
        assert section.alt.startswith("Heat map of validation accuracy over")
        assert section.alt.endswith("each optimizer: sgd, adam.")
        assert section.caption.startswith("Each cell is the mean over seeds.")
        assert "another cell may be brighter than the chosen one" in section.caption
        assert "step is the same." in section.caption
        assert "retired" not in section.caption

    def test_a_sample(self):
        section = by_id(records.sweep(self.sample()))["search_map"]
        assert section.heading == "Validation accuracy over learning rate and l2"
        assert section.caption.startswith("Each point is a trial. The better ones lie")
        assert "another point may be brighter than the chosen one" in section.caption
        for word in ("cell", "grid", "mean", "retired", "strip", "differ in"):
            assert word not in section.caption

    def test_repeats_retired_trials_and_no_l2_have_words(self):
        rows = self.sample(seeds=(0, 1), retired=(1,))
        caption = by_id(records.sweep(rows))["search_map"].caption
        assert "Each point is the mean over seeds." in caption
        assert "is a cross" not in caption
        assert "4 of 96 trials were retired early" in caption
        assert "Their points show how good they were by then." in caption
        rows[0] |= {"l2": 0.0, "momentum": 0.5}
        rows[2] |= {"status": "diverged"}
        caption = by_id(records.sweep(rows))["search_map"].caption
        assert "Without l2 they are in the strip at the bottom." in caption
        assert "Points differ in momentum too." in caption
        assert "Where a repeat diverged, the point is a cross." in caption

    def test_trials_without_any_curve_are_counted(self):
        record = records.sweep()
        record.history["val_loss"][4] = np.nan
        caption = by_id(record)["curves"].caption
        assert caption.endswith("diverged in their first epoch: 1 trial.")

    def test_losses_that_do_not_compare(self):
        rows = [
            row | {"loss": f"loss {row['seed']}"} for row in records.training_rows()
        ]
        found = by_id(records.sweep(rows))
        assert "their accuracies do." in found["curves"].caption
        assert "Of all values of loss the best counts." in found["search_map"].caption

    def test_the_ranking(self):
        section = by_id(records.sweep())["ranking"]
        assert section.heading == "The 10 best of 22 trials that finished"
        note = section.notes
        order = "Ordered by validation loss, then by the stronger l2, then by trial."
        assert note.startswith(order)
        assert note.endswith("that use it: momentum 0.9, batch_size 32.")
        one = by_id(records.sweep(records.training_rows()[17:18]))["ranking"]
        assert one.heading == "The trial that finished"
        assert one.notes == ""

    def test_the_ranking_of_settings_and_what_is_to_come(self):
        record = records.folds(refit=True)
        section = by_id(record)["ranking"]
        assert section.heading == "The 3 best of 3 settings that finished"
        assert "means over the repeats ± their standard deviation" in section.notes
        before = record._replace(selected=None, fitting=True, sealed=False)
        note = by_id(before)["ranking"].notes
        assert "will go by the mean of each setting over its repeats." in note

    def test_named_curves(self):
        assert search.named(records.sweep()) == {"chosen": 17, "median": 11}
        repeated = {"a repeat of the chosen": 3, "median": 0}
        assert search.named(records.folds(refit=True)) == repeated
        assert search.named(records.sweep(trial=None))["best so far"] == 17

    def test_group_curves(self):
        record = grouped(keep="best")
        first, second = search.group_curves(record, record.history)
        assert (first.panel, first.line, first.epoch) == ("sgd", "the selection", 2)
        np.testing.assert_array_equal(
            second.accuracy, record.history["val_accuracy"][17]
        )
        assert (
            "A dot is the epoch that was kept." in by_id(record)["group_curves"].caption
        )
        record.selected["entries"][0]["trials"] = [10, 11]
        assert search.group_curves(record, record.history)[0].epoch is None
        caption = by_id(record)["group_curves"].caption
        assert caption.endswith("means over the repeats of a selection.")


class TestGroups:
    def test_scores(self):
        notes = by_id(records.sets("clip", "dino"))["scores"].notes
        assert notes.startswith(
            "Each row is the setting with the lowest loss in its group;"
        )
        assert "The temperature is fitted on rows that were held out" in notes
        rule = records.sets("clip", "dino", rule="one_standard_error")
        assert "the strongest l2 within one standard" in by_id(rule)["scores"].notes
        alone = by_id(records.sets("clip"))["scores"]
        assert alone.heading == "Its scores"
        assert alone.notes.startswith("All but the held-out accuracy")
        assert "never the best" in by_id(records.shots())["scores"].notes

    def test_scores_of_groups_of_trials(self):
        section = by_id(grouped(keep="best"))["scores"]
        assert section.heading == "The selections by optimizer"
        assert "Each trial kept its best epoch" in section.notes
        assert "best epoch" not in by_id(grouped())["scores"].notes

    @pytest.mark.parametrize(
        ("adjusted", "heading"),
        [
            ((0.04,), "The difference is more than chance"),
            ((0.06,), "The difference is not more than chance"),
            ((0.04, 0.06, 0.5), "1 of 3 differences is more than chance"),
            ((0.04, 0.05, 0.5), "2 of 3 differences are more than chance"),
        ],
    )
    def test_differences(self, adjusted, heading):
        pairs = [records.pair("clip", "dino", value) for value in adjusted]
        section = by_id(records.sets("clip", "dino", comparisons=pairs))["differences"]
        assert section.heading == heading
        assert "McNemar's exact test" in section.notes
        assert ("Holm's method for being 3" in section.notes) == (len(pairs) == 3)

    def test_an_interval_of_draws_is_their_spread(self):
        averages = schema.across_seeds(records.shots().selected["entries"])
        low, high = groups.interval(averages[0])
        sd = np.std([0.5, 0.5 + 1 / 64, 0.5 + 2 / 64], ddof=1)
        mean = 0.5 + 1 / 64
        np.testing.assert_allclose([low, high], [mean - sd, mean + sd], rtol=1e-12)

    def test_the_protocol(self):
        section = by_id(records.sets("clip"))["protocol"]
        assert section.heading == "The protocol: clip"
        assert section.notes == (
            "As in a paper & its <code>. Set by flags: l2. Where it departs from the "
            "original:"
        )
        assert section.remarks == ["Every penalty is solved; the original <stops>"]
        assert section.table.rows == [["unit", "C"], ["grid", "1e-06, 1"]]


class TestPath:
    def test_words(self):
        found = by_id(records.path())
        assert found["held_out"].heading == "Cross-validation"
        assert found["path"].heading == "All 4 penalties"
        assert "31 Newton steps and 120 products in all" in found["work"].caption
        assert "calibrated" not in found["rules"].notes
        loo = by_id(records.path(num_folds=0))["held_out"]
        assert loo.heading == "Leave-one-out"
        assert "as if it had been left out" in loo.caption

    def test_calibrated_losses_are_called_so(self):
        found = by_id(records.path(metric="val_loss_calibrated"))
        caption = found["held_out"].caption
        assert "divided by the best temperature of all held-out rows" in caption
        assert "standard error of the lowest calibrated loss." in found["rules"].notes

    @pytest.mark.parametrize(
        ("changes", "labels"),
        [
            ({}, ["chosen, the lowest loss: l2 0.01", "one standard error: l2 0.1"]),
            (
                {"rule": "one_standard_error"},
                ["chosen, one standard error: l2 0.1", "the lowest loss: l2 0.01"],
            ),
            ({"at": (2, 2)}, ["chosen, by either rule: l2 0.01"]),
        ],
    )
    def test_marks(self, changes, labels):
        record = records.path(**changes)
        l2 = penalties.compared_l2(record, record.chosen)
        assert list(penalties.marked(record.chosen, record.selected, l2)) == labels

    def test_a_penalty_is_marked_as_it_was_compared(self):
        """Given as C, it is another l2 once the classifier is fitted to more rows."""
        record = records.path()
        record.chosen["row"] = record.chosen["row"] | {"l2": 0.008}
        assert penalties.compared_l2(record, record.chosen) == 0.01
        assert by_id(record)["path"].table.marked == 2

    def test_a_status_is_in_the_place_of_its_fit(self):
        ends = {(3, 0): ("max_steps", 1e-3), (1, 3): ("invalid", None)}
        record = records.path(ends=ends)
        odd = penalties.statuses(record, np.array(records.L2S)) != "converged"
        assert np.argwhere(odd).tolist() == [[1, 3], [3, 0]]

    @pytest.mark.parametrize(("features", "classes"), [(13, 3), (4, 13)])
    def test_many_coefficients_are_not_drawn_one_by_one(self, features, classes):
        names = [f"class {i}" for i in range(classes)]
        found = by_id(records.path(features=features, names=names))
        assert "coefficients" not in found
        many = classes > 12
        assert ("Named are the 12 largest" in found["norms"].caption) == many

    def test_of_two_classes_one_mirrors_the_other(self):
        caption = by_id(records.path(names=("a", NASTY)))["coefficients"].caption
        assert caption.endswith("Those of “a” are the same with the other sign.")


class TestPanels:
    def panels(self, record):
        return penalties.penalty_panels(record.selected, record.history)

    def test_each_set_has_a_panel_and_each_draw_a_line(self):
        panels = self.panels(records.shots())
        assert [panel.title for panel in panels] == ["clip", "dino"]
        assert panels[0].labels == ["1 shot"] * 3 + ["10 shots"] * 3
        np.testing.assert_array_equal(panels[0].loss, [[0.75, 0.5, 0.625]] * 6)
        caption = by_id(records.shots())["penalties"].caption
        assert "a line for each draw of the rows" in caption

    def test_where_penalties_differ_with_the_rows_a_panel_is_of_one_number(self):
        record = records.shots()
        for index in (3, 4, 5):
            record.history[f"{index}.l2s"] = np.array([0.1, 0.01, 0.001])
        titles = [panel.title for panel in self.panels(record)]
        assert titles == ["clip, 1 shot", "clip, 10 shots", "dino"]

    def test_what_is_unknown_or_alone_has_no_panel(self):
        record = records.sets("clip", "dino")
        record.history["0.val_loss"][1] = np.nan
        assert [panel.title for panel in self.panels(record)] == ["dino"]
        for name in schema.PATH:
            record.history[f"1.{name}"] = record.history[f"1.{name}"][:1]
        assert self.panels(record) == []
        assert "penalties" not in by_id(record)

    def test_the_loss_is_that_which_was_compared(self):
        (panel, _) = self.panels(
            records.sets("clip", "dino", metric="val_loss_calibrated")
        )
        np.testing.assert_array_equal(panel.loss, [[0.375, 0.25, 0.3125]])


def keep(folder, *, image_shape=(2, 2), calibrated=True, perfect=False):
    """Eight test rows of each class, one in four taken for the next class."""
    labels = np.arange(24) % 3
    wrong = (np.arange(24) % 4 == 0) & (not perfect)
    logits = 3.0 * np.eye(3)[(labels + wrong) % 3]
    logits[2] *= 0.1
    x = np.arange(96, dtype=np.uint8).reshape(24, 4)
    split = Split(x, labels.astype(np.int32), 1000 + np.arange(24))
    kept = examples.collect(
        logits, split, image_shape=image_shape, calibrated=calibrated
    )
    folder.mkdir(exist_ok=True)
    examples.write(folder, kept)
    return kept


class TestClassifier:
    def shown(self, folder, **given):
        kept = keep(folder, **given)
        record = records.sweep()._replace(directory=folder)
        return kept, {s.id: s for s in chosen_classifier.make(record)}

    def test_errors_are_counted_and_named(self):
        section = by_id(records.sweep())["confusion"]
        assert section.heading == "Where it errs: 3 of 18 test rows"
        assert f"Most frequent: “cat” taken for “{NASTY}” (3)." in section.caption
        assert section.caption.endswith("Lowest recall: “cat” (0.6250).")

    def test_reliability_is_shown_before_and_after_a_temperature(self):
        assert "temperature" not in by_id(records.sweep())["reliability"].caption
        section = by_id(records.sets("clip"))["reliability"]
        assert section.caption.startswith("Expected calibration error 0.0432.")
        assert "held out, not on these: 0.0312 is left." in section.caption
        top = section.figure().axes[:2]
        assert [axis.get_title(loc="left") for axis in top] == [
            "as trained: calibration error 0.0432",
            "at temperature 1.75: calibration error 0.0312",
        ]

    def test_without_probabilities_there_is_no_reliability(self):
        test = records.measured(reliability=None, calibration_error=None)
        assert "reliability" not in by_id(records.sweep(change={"test": test}))

    @pytest.mark.parametrize(
        ("row", "shown"),
        [
            ({}, True),
            ({"features": "rgb"}, True),
            ({"features": "hog"}, False),
            ({"preprocessing": "pca:4"}, False),
            ({"preprocessing": "whiten"}, False),
        ],
    )
    def test_templates_are_of_pixels_alone(self, row, shown):
        settings = records.config("sweep", image_shape=[2, 2])
        record = records.sweep(settings=settings)
        record.chosen["row"] = record.chosen["row"] | row
        assert ("templates" in by_id(record)) == shown

    @pytest.mark.parametrize("chosen", [0, 1])
    def test_of_a_probe_the_shape_is_that_of_the_first_set(self, chosen):
        settings = records.config("probe", image_shape=[2, 2])
        settings["data"]["sets"] = {"clip": {}, "dino": {}}
        record = records.sets("clip", "dino", chosen=chosen, settings=settings)
        assert ("templates" in by_id(record)) == (chosen == 0)

    def test_with_images_there_are_no_tables(self, tmp_path):
        kept, found = self.shown(tmp_path)
        assert list(found) == ["confusion", "confused", "certainty", "reliability"]
        for name in ("confused", "certainty"):
            assert found[name].table is None
            assert isinstance(found[name].figure(), matplotlib.figure.Figure)
        surest = kept.group == examples.SUREST
        wrong = int((kept.labels != kept.predictions)[surest].sum())
        assert wrong > 1
        words = f"Of the {surest.sum()} surest {wrong} are wrong: look there"
        assert words in found["certainty"].caption

    def test_without_images_rows_are_listed_by_their_number(self, tmp_path):
        _, found = self.shown(tmp_path, image_shape=None)
        assert found["confused"].figure is None
        first = found["confused"].table.rows[0]
        assert first == ["cat", NASTY, "2", "1000 (0.91), 1012 (0.91)"]
        rows = found["certainty"].table.rows
        assert ["Least sure", "1002", "dog", "dog", "0.40"] in rows
        assert "orange" not in found["certainty"].caption

    def test_a_hinge_is_said_to_make_no_probabilities(self, tmp_path):
        _, found = self.shown(tmp_path, image_shape=None, calibrated=False)
        words = "the margin of its prediction over the next class"
        assert words in found["confused"].caption
        assert found["certainty"].table.columns[-1] == "margin"

    def test_without_errors_it_says_so(self, tmp_path):
        _, found = self.shown(tmp_path, perfect=True)
        assert found["confused"].caption == "No test row was predicted wrong."
        assert found["confused"].figure is None


@pytest.mark.parametrize(
    "record",
    [records.sweep(), records.path(), records.shots(), grouped()],
    ids=["sweep", "path", "probe", "groups"],
)
def test_every_figure_can_be_made(record):
    makers = {s.id: s.figure for s in render.contents(record) if s.figure}
    assert len(makers) > 3
    for make in makers.values():
        assert isinstance(make(), matplotlib.figure.Figure)
