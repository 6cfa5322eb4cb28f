"""The top of a page says what the record says, in whatever state that is."""

import numpy as np
import pytest

from linclf_jax.reports import answer
from tests.reports import records
from tests.reports.records import NASTY, training_rows

SHARD = records.config("sweep", num_shards=3, shard_index=1)
BADLY = {
    (3, 0): ("max_steps", 1e-3),
    (3, 1): ("no_finite_optimum", np.inf),
    (0, 2): ("stalled_at_precision", 2e-6),
}
COMPARED = {(0, j): ("not_certified", None) for j in range(4)}
INVALID = {(i, j): ("invalid", None) for i in range(4) for j in range(4)}


def sweep(diverged=(), retired=(), **state):
    return records.sweep(training_rows(diverged=diverged, retired=retired), **state)


def biased(accuracy):
    bias = {"settings": 22, "accuracy": accuracy}
    return records.sweep(change={"selection_bias": bias})


def by_loss():
    rows = [row | {"loss": "hinge"} for row in training_rows()]
    rows[0]["loss"] = "softmax_cross_entropy"
    return records.sweep(rows)


def folds(status):
    """The first of three settings ended so in every fold."""
    record = records.folds(refit=True)
    for row in record.rows[:3]:
        row["status"] = status
    return record


def without_held_out_rows():
    record = records.sets("clip", NASTY, "dino", chosen=2, chosen_ties=(0, 1))
    for entry in record.selected["entries"]:
        entry["validation"] |= {"resampling": None, "val_accuracy": None}
    return record


HALVING = {"trial": None, "fitting": True, "sealed": False}
RECORDS = {
    "bias": biased(0.0031),
    "no bias": biased(-0.0002),
    "by loss": by_loss(),
    "ties": records.sweep(change={"ties": list(range(17))}),
    "one trial": records.sweep(training_rows()[17:18]),
    "refitted": records.folds(refit=True),
    "kept": records.folds(refit=False),
    "retired": sweep((4, 5), (0, 1, 2, 16)),
    "folds retired": folds("retired"),
    "folds diverged": folds("diverged"),
    # Trials 4 and 5 repeat one setting, over seeds.
    "a repeat": sweep((4,), (5,)),
    "no repeat": sweep((4, 5), (6,)),
    "halving": sweep((4, 5), {*range(24)} - {4, 5}, **HALVING),
    "unfinished": records.unfinished(),
    "empty": records.unfinished([]),
    "diverged": sweep(range(24), trial=None),
    "none left": sweep(range(20), range(20, 24), trial=None),
    "diverged so far": records.unfinished(training_rows(diverged=range(24))),
    "no whole setting": sweep(range(0, 24, 2), trial=None),
    "shard": records.sweep(trial=None, settings=SHARD),
    "path": records.path(),
    "more rows": records.with_more_rows(),
    "leave-one-out": records.path(num_folds=0),
    "one penalty": records.path(l2s=(0.5,), losses=(0.25,), at=(0, 0)),
    "no penalty": records.path(l2s=(0.1, 0.0), losses=(0.5, 0.25), at=(1, 0)),
    "early ends": records.path(ends=BADLY),
    "compared": records.path(ends=COMPARED, left_out=3),
    "invalid": records.path(ends=INVALID)._replace(selected=None),
    "fitting": records.sets("clip")._replace(selected=None, fitting=True, sealed=False),
    "set": records.sets("clip"),
    "sets": records.sets("clip", "dino", chosen=1),
    "not compared": without_held_out_rows(),
    "shots": records.shots(chosen=9),
    "hostile": records.sets(NASTY),
}
SAID = [
    ("bias", "validation accuracy", "trials, which favours the best by about 0.0031"),
    ("no bias", "validation accuracy", "which is not expected to favour the best"),
    ("by loss", "headline", "Use trial 17, hinge, adam"),
    ("ties", "why", "17 trials, first 0, 1, 2, 3, 4. The test"),
    ("one trial", "kicker", ": 1 linear classifier"),
    ("refitted", "headline", "Use sgd, learning rate 0.1, l2 0.01: test accuracy 0.8"),
    ("refitted", "why", "fitted again to all rows of training and validation"),
    ("refitted", "held-out accuracy", "0.8500; mean of 3 repeats, standard deviation"),
    ("refitted", "held-out accuracy", "deviation 0.0500; 95 % interval 0.7500 to"),
    ("refitted", "held-out accuracy", "choose among 3 settings, so expect less"),
    ("refitted", "test loss", "held-out 0.3000"),
    ("kept", "headline", "Use trial 3, sgd"),
    ("kept", "test accuracy", "; of trial 3, the first of the repeats"),
    ("retired", "why", "4 of 24 trials were retired early: others were better, and"),
    ("retired", "validation accuracy", "among 22 trials"),
    ("folds retired", "held-out accuracy", "choose among 3 settings"),
    ("folds diverged", "held-out accuracy", "choose among 2 settings"),
    ("a repeat", "why", "1 of 24 trials was retired early: others were better or a"),
    ("a repeat", "why", "or a repeat of the same setting diverged, and it could"),
    ("no repeat", "why", "others were better, and it could"),
    ("halving", "why", "22 of 24 trials have been through a rung of halving;"),
    ("halving", "why", "0 trials have finished and 2 have diverged."),
    ("halving", "why", "The same command on this run directory continues the run"),
    ("unfinished", "headline", "has been chosen yet: the run is unfinished"),
    ("unfinished", "why", "So far 22 trials have finished and 2 have diverged."),
    ("unfinished", "why", "Ahead by validation loss: trial 17 (adam, learning rate"),
    ("empty", "headline", "No trial has finished yet"),
    ("empty", "why", "The same command on this run directory continues the run."),
    ("diverged", "headline", "No classifier to use: all 24 trials diverged"),
    ("diverged", "why", "smallest learning rate tried was 0.01: try smaller"),
    ("diverged", "why", "The test split has not been touched."),
    ("none left", "headline", "all 24 trials diverged or were retired"),
    ("diverged so far", "why", "So far no trial has ended well"),
    (
        "no whole setting",
        "headline",
        "to use: no setting kept all of its trials",
    ),
    ("shard", "headline", "Shard 1 of 3, counted from 0, is finished: join all shards"),
    ("shard", "why", "Of its share 22 trials have finished and 2 have diverged."),
    ("shard", "why", "join their run directories with python -m experiments.merge"),
    ("path", "kicker", "path on pets & co: 16 exact fits"),
    ("path", "headline", "Use l2 0.01 (C 1.25): test accuracy 0.8125"),
    ("path", "why", "Certified by its duality gap: its objective is at most 1.5e-7 of"),
    ("path", "why", "The worst gap of all 16 fits is 4e-7, where 1e-6 was asked for."),
    ("path", "held-out accuracy", "0.9300; mean of 3 folds; 95 % interval"),
    ("path", "held-out accuracy", "among 4 penalties, so expect less"),
    ("path", "test loss", "0.5678; held-out 0.2500 ± 0.0577"),
    ("more rows", "held-out accuracy", "among 4 penalties"),
    ("leave-one-out", "held-out accuracy", "approximate leave-one-out; 95 % interval"),
    ("no penalty", "headline", "Use l2 0: test accuracy 0.8125"),
    ("early ends", "why", "worst gap of all 16 fits is unknown"),
    (
        "early ends",
        "why",
        "13 reached that, the others ended as 1 stalled",
    ),
    ("early ends", "why", "1 stalled at precision, 1 max steps, 1 no finite optimum."),
    (
        "compared",
        "why",
        "of the 12 fits that are certified, of 16, is 4e-7, where 1e-6",
    ),
    ("compared", "why", "asked for. The others were only compared: no selection rest"),
    ("compared", "why", "3 values of a weaker penalty left out: held-out scores had"),
    ("invalid", "headline", "all 16 trials ended without an optimum"),
    ("invalid", "why", "Try larger penalties, or allow more steps."),
    ("fitting", "why", "So far 3 trials have finished and 0 have failed."),
    ("fitting", "why", "Ahead by validation loss: trial 1 (l2 0.1 (C 1.5)), val"),
    ("set", "headline", "Use clip: l2 0.1 (C 1.5):"),
    ("sets", "kicker", "6 exact fits, 2 groups, protocol clip"),
    ("sets", "headline", "Best on held-out rows is dino: l2 0.1 (C 1.5): test accur"),
    ("sets", "why", "not for its test score; those of all are below"),
    ("sets", "why", "measured once, after every selection."),
    ("not compared", "headline", "Chosen is dino: "),
    ("not compared", "why", f"A tie: clip, {NASTY} and dino have no held-out rows to"),
    ("not compared", "why", "of these the strongest l2 was taken, of equal ones the f"),
    (
        "shots",
        "headline",
        "Best on held-out rows is dino, 10 shots: test accuracy 0",
    ),
    ("shots", "why", "fitted again to all rows of the draw"),
    ("shots", "why", "of the classifier of the first draw"),
    ("shots", "test accuracy", "mean of 3 draws, standard deviation 0.0156; 18 rows"),
    ("shots", "held-out accuracy", "; mean of 3 draws; it served"),
    ("shots", "calibration error", "0.0312 after temperature scaling"),
    ("hostile", "headline", NASTY),
]
UNSAID = [
    *[("path", "why", words) for words in ("only compared", "left out")],
    ("compared", "why", "not certified"),
    ("one trial", "validation accuracy", "served"),
    ("one penalty", "held-out accuracy", "served"),
    ("kept", "why", "fitted again"),
    *[("halving", "why", words) for words in ("retired", "ended well", "Ahead by")],
    ("diverged so far", "headline", "No classifier to use"),
    ("set", "why", "named first"),
    ("not compared", "held-out accuracy", "0"),
]


def parts(record):
    """All that an answer says, by the name of its part."""
    made = answer.make(record)
    numbers = {n.name: f"{n.value}; {n.note}" for n in made.numbers}
    return {"kicker": made.kicker, "headline": made.headline, **numbers} | {
        "why": " ".join(made.why)
    }


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_said_and_what_is_not(name):
    said = parts(RECORDS[name])
    for record, part, words in SAID:
        assert record != name or words in said[part]
    for record, part, words in UNSAID:
        assert record != name or words not in said.get(part, "")


def test_the_answer_of_a_sweep():
    made = answer.make(records.sweep())
    assert made.kicker == "sweep on pets & co: 24 linear classifiers"
    chosen = "trial 17, adam, learning rate 0.1, l2 0"
    assert made.headline == f"Use {chosen}: test accuracy 0.8125"
    assert made.why == [
        "Why this one: the lowest val_loss. Tied for the best validation loss: "
        "trial 3. The test split was measured once, after the selection."
    ]
    assert made.warnings == ["trial <b> is odd"]
    assert " ".join(made.replay) == (
        "python -m experiments.sweep --flagfile='my runs/one/flags.txt' "
        "--out_dir='my runs/one-replay'"
    )
    assert {n.name: (n.value, n.note) for n in made.numbers} == {
        "test accuracy": ("0.8125", "95 % interval 0.5625 to 0.9375; 18 rows"),
        "validation accuracy": (
            "0.9375",
            "20 rows; 95 % interval 0.7500 to 0.9688; it served to choose among 22 "
            "trials, so expect less",
        ),
        "test loss": ("0.5678", "validation 0.2500"),
        "calibration error": ("0.0432", "expected calibration error"),
    }


def test_hyper_parameters_are_exact_and_without_blanks():
    settings = {"optimizer": "adam", "learning_rate": 0.1, "l2": 0.001234567}
    expected = settings | {"batch_size": 32, "seed": 0}
    assert answer.make(records.sweep(trial=18)).settings == expected
    assert answer.make(records.path()).settings["C"] == 1.25


def test_without_a_selection_there_are_no_numbers_and_damage_is_a_warning():
    notes = ("000001.npz is damaged",)
    made = answer.make(records.unfinished(notes=notes))
    assert (made.numbers, made.settings, made.warnings) == ((), None, notes)


def test_equal_test_rows_are_counted_and_left_out():
    without = {"size": 16, "accuracy": 0.875, "accuracy_interval": [0.739, 0.945]}
    same = {"rows": 2, "another_label": 1, "without": without}
    change = {"test": records.measured(duplicates=same), "warnings": []}
    assert answer.make(records.sweep(change=change)).warnings == [
        "2 of 18 test rows are byte-equal to a row of training or validation; 1 of "
        "them with another label; without them the test accuracy is 0.8750 (95 % "
        "interval 0.7390 to 0.9450, 16 rows)"
    ]
    change["test"]["duplicates"] = same | {"without": None, "another_label": 0}
    (warning,) = answer.make(records.sweep(change=change)).warnings
    assert warning.endswith("or validation; no other test rows are left")


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("val_loss", "validation loss; of these the stronger l2 was taken"),
        ("val_accuracy", "validation accuracy; of these the lower valid"),
    ],
)
def test_sets_that_tie_are_named_with_the_rule(metric, words):
    record = records.sets("clip", "dino", chosen=1, chosen_ties=[0], metric=metric)
    assert f"clip and dino have exactly the same {words}" in answer.ties(
        record.selected
    )
    assert answer.ties(records.sets("clip", "dino").selected) == ""


def test_what_is_odd_is_said_of_the_group_that_it_is_in():
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
    assert answer.remarks(records.sets("clip").selected) == []


def test_a_group_without_a_selection_says_why():
    record = records.sets("clip", "dino")
    entries = record.selected["entries"]
    entries[1] = {"group": entries[1]["group"], "failure": "all fits failed"}
    assert answer.remarks(record.selected) == ["dino: all fits failed"]
    assert parts(record)["headline"].startswith("Best on held-out rows is clip")
