"""A section is there where its record holds what it shows, and its words are true."""

import matplotlib.figure
import numpy as np
import pytest

from linclf_jax.reports import (
    chosen_classifier,
    groups,
    penalties,
    render,
    search,
    text,
)
from linclf_jax.runs import examples, schema
from tests.reports import records
from tests.reports.records import NASTY, training_rows

CLIP_DINO = [records.pair("clip", "dino", 0.04)]
LOST = {"trial": None, "rows": training_rows(diverged=range(24))}


def sample(*, seeds=(0,), retired=(), first=None, third=None):
    """A sweep of distinct learning rates."""
    rates = np.geomspace(0.01, 1, 48).tolist()
    pairs = [(rate, seed) for rate in rates for seed in seeds]
    pattern = training_rows(retired=retired)
    rows = [
        pattern[trial % 24]
        | {"trial": trial, "seed": seed, "learning_rate": rate, "l2": rate / 100}
        | {"optimizer": "sgd", "momentum": 0.9}
        for trial, (rate, seed) in enumerate(pairs)
    ]
    rows[0] |= first or {}
    rows[2] |= third or {}
    return records.sweep(rows)


def several_losses():
    rows = [row | {"loss": f"loss {row['seed']}"} for row in training_rows()]
    return records.sweep(rows)


def without_a_curve():
    record = records.sweep()
    record.history["val_loss"][4] = np.nan
    return record


def repeated_groups():
    record = records.grouped(keep="best")
    record.selected["entries"][0]["trials"] = [10, 11]
    return record


def pairs(*adjusted):
    known = [records.pair("clip", "dino", value) for value in adjusted]
    return records.sets("clip", "dino", comparisons=known)


def shapes(features, classes):
    names = [f"class {i}" for i in range(classes)]
    return records.path(features=features, names=names)


RECORDS = {
    "sweep": records.sweep(),
    "one trial": records.sweep(training_rows()[17:18]),
    "no curve": without_a_curve(),
    "losses": several_losses(),
    "sample": sample(),
    "repeats": sample(seeds=(0, 1), retired=(1,)),
    "lost repeats": sample(
        seeds=(0, 1),
        first={"l2": 0.0, "momentum": 0.5},
        third={"status": "diverged"},
    ),
    "lost": records.sweep(**LOST),
    "unfinished": records.unfinished(),
    "folds": records.folds(refit=True),
    "unfinished folds": records.folds(refit=True)._replace(
        selected=None, fitting=True, sealed=False
    ),
    "groups": records.grouped(),
    "groups of epochs": records.grouped(keep="best"),
    "repeated groups": repeated_groups(),
    "path": records.path(),
    "leave-one-out": records.path(num_folds=0),
    "calibrated": records.path(metric="val_loss_calibrated"),
    "two classes": records.path(names=("a", NASTY)),
    "13 classes": shapes(4, 13),
    "13 features": shapes(13, 3),
    "set": records.sets("clip"),
    "sets": records.sets("clip", "dino", comparisons=CLIP_DINO),
    "standard error": records.sets("clip", "dino", rule="one_standard_error"),
    "no difference": pairs(0.06),
    "3 pairs": pairs(0.04, 0.06, 0.5),
    "2 of 3": pairs(0.04, 0.05, 0.5),
    "shots": records.shots(),
    "4 shots": records.shots(counts=(4,)),
}
SECTIONS = {
    "sweep": "scores search_map curves ranking confusion reliability",
    "one trial": "scores curves ranking confusion reliability",
    "lost": "search_map curves",
    "unfinished": "search_map curves ranking",
    "groups": "accuracies scores group_curves search_map curves ranking confusion "
    "reliability",
    "path": "scores rules held_out norms coefficients work path confusion reliability",
    "13 features": "scores rules held_out norms work path confusion reliability",
    "13 classes": "scores rules held_out norms work path confusion reliability",
    "set": "scores held_out path confusion reliability protocol",
    "sets": "accuracies differences scores penalties confusion reliability protocol",
    "shots": "shots scores penalties confusion reliability protocol",
    "4 shots": "accuracies scores penalties confusion reliability protocol",
}
SAID = [
    ("sweep", "search_map", "heading", "Validation accuracy over the grid"),
    ("sweep", "search_map", "alt", "Heat map of validation accuracy over"),
    ("sweep", "search_map", "alt", "each optimizer: sgd, adam."),
    ("sweep", "search_map", "caption", "Each cell is the mean over seeds."),
    ("sweep", "search_map", "caption", "another cell may be brighter than the chosen"),
    ("sweep", "search_map", "caption", "step is the same."),
    ("losses", "search_map", "caption", "Of all values of loss the best counts."),
    (
        "sample",
        "search_map",
        "heading",
        "Validation accuracy over learning rate and l2",
    ),
    ("sample", "search_map", "caption", "Each point is a trial. The better ones lie"),
    ("sample", "search_map", "caption", "another point may be brighter than the cho"),
    ("repeats", "search_map", "caption", "Each point is the mean over seeds."),
    ("repeats", "search_map", "caption", "4 of 96 trials were retired early"),
    ("repeats", "search_map", "caption", "Their points show how good they were by th"),
    ("lost repeats", "search_map", "caption", "Without l2 they are in the strip at t"),
    ("lost repeats", "search_map", "caption", "Points differ in momentum too."),
    ("lost repeats", "search_map", "caption", "Where a repeat diverged, the point is"),
    ("no curve", "curves", "caption", "diverged in their first epoch: 1 trial."),
    ("losses", "curves", "caption", "their accuracies do."),
    ("sweep", "ranking", "heading", "The 10 best of 22 trials that finished"),
    (
        "sweep",
        "ranking",
        "notes",
        "Ordered by validation loss, then by the stronger l2",
    ),
    ("sweep", "ranking", "notes", "l2, then by trial."),
    ("sweep", "ranking", "notes", "that use it: momentum 0.9, batch_size 32."),
    ("one trial", "ranking", "heading", "The trial that finished"),
    ("folds", "ranking", "heading", "The 3 best of 3 settings that finished"),
    ("folds", "ranking", "notes", "means over the repeats ± their standard deviation"),
    ("unfinished folds", "ranking", "notes", "go by the mean of each setting over its"),
    ("groups", "scores", "heading", "The selections by optimizer"),
    ("groups of epochs", "scores", "notes", "Each trial kept its best epoch"),
    (
        "groups of epochs",
        "group_curves",
        "caption",
        "A dot is the epoch that was kept.",
    ),
    ("repeated groups", "group_curves", "caption", "means over the repeats of a sele"),
    ("sets", "scores", "notes", "Each row is the setting with the lowest loss in its"),
    ("sets", "scores", "notes", "The temperature is fitted on rows that were held out"),
    ("standard error", "scores", "notes", "the strongest l2 within one standard"),
    ("set", "scores", "heading", "Its scores"),
    ("set", "scores", "notes", "All but the held-out accuracy"),
    ("shots", "scores", "notes", "never the best"),
    ("4 shots", "accuracies", "caption", "bars one standard deviation over 3 draws"),
    ("sets", "differences", "heading", "The difference is more than chance"),
    ("sets", "differences", "notes", "McNemar's exact test"),
    ("no difference", "differences", "heading", "The difference is not more than cha"),
    ("3 pairs", "differences", "heading", "1 of 3 differences is more than chance"),
    ("3 pairs", "differences", "notes", "Holm's method for being 3"),
    ("2 of 3", "differences", "heading", "2 of 3 differences are more than chance"),
    ("set", "protocol", "heading", "The protocol: clip"),
    ("set", "protocol", "notes", "As in a paper & its <code>. Set by flags: l2. Where"),
    ("path", "held_out", "heading", "Cross-validation"),
    ("path", "path", "heading", "All 4 penalties"),
    ("path", "work", "caption", "31 Newton steps and 120 products in all"),
    ("leave-one-out", "held_out", "heading", "Leave-one-out"),
    ("leave-one-out", "held_out", "caption", "as if it had been left out"),
    ("calibrated", "held_out", "caption", "by the best temperature of all held-out r"),
    ("calibrated", "rules", "notes", "standard error of the lowest calibrated loss."),
    ("13 classes", "norms", "caption", "Named are the 12 largest"),
    ("two classes", "coefficients", "caption", "Those of “a” are the same with the o"),
    ("shots", "penalties", "caption", "a line for each draw of the rows"),
    ("sweep", "confusion", "heading", "Where it errs: 3 of 18 test rows"),
    ("sweep", "confusion", "caption", f"Most frequent: “cat” taken for “{NASTY}” (3)."),
    ("sweep", "confusion", "caption", "Lowest recall: “cat” (0.6250)."),
    ("set", "reliability", "caption", "Expected calibration error 0.0432."),
    ("set", "reliability", "caption", "held out, not on these: 0.0312 is left."),
]
UNSAID = [
    ("sweep", "search_map", "caption", "retired"),
    *[
        ("sample", "search_map", "caption", word)
        for word in ("cell", "grid", "mean", "retired", "strip", "differ in")
    ],
    ("repeats", "search_map", "caption", "is a cross"),
    ("lost", "search_map", "caption", "Colours follow"),
    ("one trial", "ranking", "notes", "Ordered"),
    ("groups", "scores", "notes", "best epoch"),
    ("4 shots", "accuracies", "caption", "compared below"),
    ("sets", "differences", "notes", "Holm"),
    ("path", "rules", "notes", "calibrated"),
    ("13 features", "norms", "caption", "Named are"),
    ("sweep", "reliability", "caption", "temperature"),
]


def by_id(record):
    return {section.id: section for section in render.contents(record)}


@pytest.mark.parametrize("name", RECORDS)
def test_which_sections_there_are_and_what_they_say(name):
    found = by_id(RECORDS[name])
    assert name not in SECTIONS or list(found) == SECTIONS[name].split()
    for record, section, part, words in SAID:
        assert record != name or words in getattr(found[section], part)
    for record, section, part, words in UNSAID:
        assert record != name or words not in getattr(found[section], part)
    for section in found.values():
        if section.figure:
            assert section.id in text.with_block("alt")
            assert len(section.alt) > 20
            assert section.caption
        for words in (section.heading, section.alt, section.caption, section.notes):
            for gap in (" .", " ,", " ;", " :", "( ", " )", "  "):
                assert gap not in words
            assert words[:1] == words[:1].upper()


def test_without_curves_or_rows_there_is_less():
    record = RECORDS["unfinished"]._replace(history=None)
    assert list(by_id(record)) == ["search_map", "ranking"]
    assert by_id(record._replace(rows=[])) == {}
    assert by_id(records.path()._replace(selected=None)) == {}
    record = records.sweep(**LOST)
    for name in schema.CURVES:
        record.history[name][:] = np.nan
    assert list(by_id(record)) == ["search_map"]


@pytest.mark.parametrize("name", ["sample", "sets", "shots"])
def test_every_figure_can_be_made(name):
    """Those of other studies are drawn in their pages."""
    makers = {s.id: s.figure for s in by_id(RECORDS[name]).values() if s.figure}
    assert len(makers) > 3
    for make in makers.values():
        assert isinstance(make(), matplotlib.figure.Figure)


class TestSearch:
    def test_named_curves(self):
        assert search.named(records.sweep()) == {"chosen": 17, "median": 11}
        repeated = {"a repeat of the chosen": 3, "median": 0}
        assert search.named(records.folds(refit=True)) == repeated
        assert search.named(records.sweep(trial=None))["best so far"] == 17

    def test_group_curves(self):
        record = records.grouped(keep="best")
        first, second = search.group_curves(record, record.history)
        assert (first.panel, first.line, first.epoch) == ("sgd", "the selection", 2)
        expected = record.history["val_accuracy"][17]
        np.testing.assert_array_equal(second.accuracy, expected)
        record = repeated_groups()
        assert search.group_curves(record, record.history)[0].epoch is None

    def test_what_trials_share(self):
        assert search.common(records.sweep()) == {"momentum": 0.9, "batch_size": 32}


class TestGroups:
    def test_an_interval_of_draws_is_their_spread(self):
        averages = schema.across_seeds(records.shots().selected["entries"])
        low, high = groups.interval(averages[0])
        sd = np.std([0.5, 0.5 + 1 / 64, 0.5 + 2 / 64], ddof=1)
        mean = 0.5 + 1 / 64
        np.testing.assert_allclose([low, high], [mean - sd, mean + sd], rtol=1e-12)

    def test_the_protocol(self):
        section = by_id(records.sets("clip"))["protocol"]
        assert section.remarks == ["Every penalty is solved; the original <stops>"]
        assert section.table.rows == [["unit", "C"], ["grid", "1e-06, 1"]]


class TestPath:
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
        record = records.with_more_rows()
        assert record.chosen["row"]["l2"] == 0.008
        assert penalties.compared_l2(record, record.chosen) == 0.01
        assert by_id(record)["path"].table.marked == 2

    def test_a_status_is_that_of_its_fit(self):
        ends = {(3, 0): ("max_steps", 1e-3), (1, 3): ("invalid", None)}
        record = records.path(ends=ends)
        odd = penalties.statuses(record, np.array(records.L2S)) != "converged"
        assert np.argwhere(odd).tolist() == [[1, 3], [3, 0]]


class TestPanels:
    def panels(self, record):
        return penalties.penalty_panels(record.selected, record.history)

    def test_each_set_has_a_panel_and_each_draw_a_line(self):
        panels = self.panels(records.shots())
        assert [panel.title for panel in panels] == ["clip", "dino"]
        assert panels[0].labels == ["1 shot"] * 3 + ["10 shots"] * 3
        np.testing.assert_array_equal(panels[0].loss, [[0.75, 0.5, 0.625]] * 6)

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
        record = records.sets("clip", "dino", metric="val_loss_calibrated")
        np.testing.assert_array_equal(
            self.panels(record)[0].loss, [[0.375, 0.25, 0.3125]]
        )


class TestClassifier:
    def shown(self, folder, **given):
        collected = records.keep_examples(folder, **given)
        record = records.sweep()._replace(directory=folder)
        return collected, {s.id: s for s in chosen_classifier.make(record)}

    def test_reliability_is_shown_before_and_after_a_temperature(self):
        top = by_id(records.sets("clip"))["reliability"].figure().axes[:2]
        assert [axis.get_title(loc="left") for axis in top] == [
            "as trained: calibration error 0.0432",
            "at temperature 1.75: calibration error 0.0312",
        ]
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
        collected, found = self.shown(tmp_path)
        assert list(found) == ["confusion", "confused", "certainty", "reliability"]
        for name in ("confused", "certainty"):
            assert found[name].table is None
            assert isinstance(found[name].figure(), matplotlib.figure.Figure)
        surest = collected.group == examples.SUREST
        wrong = int((collected.labels != collected.predictions)[surest].sum())
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
