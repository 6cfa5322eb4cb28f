"""Rows of results: which columns make a setting, and the order of settings."""

import dataclasses
import itertools
import math
import types

import numpy as np
import pytest

from linclf_jax.selection import ranking
from linclf_jax.training import optimizers, states, trials
from linclf_jax.training.search_space import Candidate
from linclf_jax.training.settings import Hparams, Static
from tests.selection.trial_rows import numbers, row

# Metric, then of each setting its accuracy, calibrated loss, loss and penalty, and
# which one is the best. Each case differs from the one before in what decides.
TIES = [
    ("val_accuracy", [(0.8, 0.4, 0.4, 1.0), (0.9, 0.4, 0.9, 0.1)], 1),
    ("val_accuracy", [(0.9, 0.4, 0.5, 1.0), (0.9, 0.4, 0.4, 0.1)], 1),
    ("val_accuracy", [(0.9, 0.4, 0.4, 0.1), (0.9, 0.5, 0.4, 1.0)], 1),
    ("val_accuracy", [(0.9, 0.4, 0.4, 0.1), (0.9, 0.4, 0.4, 0.1)], 0),
    ("val_loss", [(0.9, 0.4, 0.4, 0.1), (0.8, 0.5, 0.4, 1.0)], 1),
    ("val_loss", [(0.8, 0.4, 0.4, 0.1), (0.9, 0.4, 0.4, 0.1)], 0),
    ("val_loss_calibrated", [(0.9, 0.4, 0.4, 1.0), (0.8, 0.3, 0.5, 0.1)], 1),
    ("val_loss_calibrated", [(0.9, 0.4, 0.5, 1.0), (0.8, 0.4, 0.4, 0.1)], 1),
    ("val_loss_calibrated", [(0.9, 0.4, 0.5, 0.1), (0.8, 0.4, 0.5, 1.0)], 1),
]


@pytest.mark.parametrize(("metric", "settings", "best"), TIES)
def test_ties_are_broken_by_loss_then_penalty_then_number(metric, settings, best):
    names = ("val_accuracy", "val_loss_calibrated", "val_loss", "l2")
    rows = [
        {**row(trial, 0.0), **dict(zip(names, values, strict=True))}
        for trial, values in enumerate(settings)
    ]
    for given in (rows, rows[::-1]):
        assert ranking.rank(given, metric=metric)[0]["trial"] == best
        assert numbers(ranking.rank_settings(given, metric=metric)[0]) == [best]


@pytest.mark.parametrize(
    ("status", "gap", "usable"),
    [
        ("ok", None, True),
        ("converged", 1e-9, True),
        ("optimum_without_bound", None, True),
        ("stalled_at_precision", 1e-3, True),
        ("stalled_at_precision", 1.1e-3, False),
        ("stalled_at_precision", None, False),
        ("max_steps", 1e-9, False),
        ("no_finite_optimum", None, False),
        ("invalid", None, False),
        ("diverged", None, False),
        ("retired", None, False),
    ],
)
def test_only_trials_that_ended_well_are_ranked(status, gap, usable):
    rows = [
        row(0, 0.1, 0.9, status=status, relative_gap=gap),
        row(1, None),
        row(2, math.nan),
        row(5, math.inf),
        row(6, -math.inf),
        row(3, 0.2),
        row(4, 0.0, 1.0, stage=ranking.FINAL),  # made to be tested, not compared
    ]
    for given in (rows, rows[::-1]):
        ranked = numbers(ranking.rank(given, metric="val_loss"))
        assert ranked == [*[0] * usable, 3, 1, 2, 5, 6]
        settings = ranking.rank_settings(given, metric="val_loss")
        assert [numbers(setting) for setting in settings] == [[n] for n in ranked]
    assert ranking.scores(rows, "val_loss") == [*[0.1] * usable, 0.2]
    assert ranking.diverged(rows) == [0] * (status == "diverged")
    assert ranking.retired(rows) == [0] * (status == "retired")


def repeated(first, scores, **columns):
    """Returns rows of one setting, one a seed, of pairs of loss and accuracy."""
    return [
        row(first + seed, *pair, seed=seed, learning_rate=0.5 + first, **columns)
        for seed, pair in enumerate(scores)
    ]


@pytest.mark.parametrize("repeat", ["seed", "fold"])
def test_settings_are_ranked_by_the_mean_of_their_repeats(repeat):
    """The best single trial, number 0, is the best repeat of another setting."""
    rows = repeated(0, [(0.1, 0.9), (0.8, 0.5)]) + repeated(2, [(0.3, 0.8), (0.3, 0.5)])
    for status in ("diverged", "retired"):  # one bad repeat takes its setting out
        first = len(rows)
        rows += repeated(first, [(0.0, 1.0), (0.0, 1.0)])
        rows[-1]["status"] = status
    rows = [{**r, "seed": 0, "fold": None, repeat: r["seed"]} for r in rows]
    for metric, best in (
        ("val_loss", [[2, 3], [0, 1]]),
        ("val_accuracy", [[0, 1], [2, 3]]),
    ):
        for given in (rows, rows[::-1]):
            ranked = ranking.rank_settings(given, metric=metric)
            assert [numbers(setting) for setting in ranked] == best
    assert ranking.rank_settings([], metric="val_loss") == []


def test_a_final_fit_repeats_no_comparison_but_must_end_well():
    fold = repeated(0, [(0.1, 0.9), (0.2, 0.9)])
    final = row(2, 9.0, learning_rate=0.5, stage=ranking.FINAL)
    (setting,) = ranking.rank_settings([*fold, final], metric="val_loss")
    assert numbers(setting) == [0, 1]
    final["status"] = "diverged"
    assert ranking.rank_settings([*fold, final], metric="val_loss") == []


def test_means_do_not_depend_on_the_order_of_the_rows_and_stay_finite():
    # A plain sum of the thirds of 0.1, 0.2 and 0.3 is more than that of 0.3, 0.2 and
    # 0.1; the means are equal, and the setting with trial 0 is the first.
    pairs = [(loss, 0.5) for loss in (0.1, 0.2, 0.3)]
    rows = repeated(0, pairs) + repeated(3, pairs[::-1])
    for order in itertools.permutations(rows):
        best, _ = ranking.rank_settings(order, metric="val_loss")
        assert numbers(best) == [0, 1, 2]
    huge = repeated(0, [(1.1e308, 0.5), (1e308, 0.5)]) + repeated(2, [(1e308, 0.5)] * 2)
    best, _ = ranking.rank_settings(huge, metric="val_loss")
    assert numbers(best) == [2, 3]


def test_losses_of_different_kinds_break_no_tie():
    rows = [row(0, 9.0, loss="hinge"), row(1, 0.1, loss="cross_entropy")]
    assert ranking.rank(rows, metric="val_accuracy") == rows
    best, _ = ranking.rank_settings(rows, metric="val_accuracy")
    assert numbers(best) == [0]  # the lower number, not the lower value
    same = [{**r, "loss": "hinge"} for r in rows]
    best, _ = ranking.rank_settings(same, metric="val_accuracy")
    assert numbers(best) == [1]


def test_the_spread_of_repeats():
    rows = [{"val_loss": value} for value in (0.1, 0.3, 0.8)]
    mean, sd, count = ranking.spread(rows, "val_loss")
    assert (mean, count) == (pytest.approx(0.4, abs=1e-15), 3)
    assert sd == pytest.approx(math.sqrt(0.13), abs=1e-15)
    assert ranking.spread(rows[:1], "val_loss") == (0.1, None, 1)
    # Their sum is no float64; the mean is.
    huge = [{"val_loss": 1.5e308}, {"val_loss": 1.5e308}]
    assert ranking.spread(huge, "val_loss").mean == 1.5e308


def test_varying_settings_leave_out_what_is_unused_or_equal():
    rows = [
        {"trial": 0, "optimizer": "sgd", "l2": 0.1, "momentum": None, "val_loss": 1.0},
        {"trial": 1, "optimizer": "adam", "l2": 0.1, "momentum": 0.9, "val_loss": 2.0},
    ]
    assert ranking.varying(rows) == ["optimizer"]
    with_seeds = [{**r, "seed": r["trial"], "C": 1.0 + r["trial"]} for r in rows]
    assert ranking.varying(with_seeds) == ["optimizer", "seed"]
    assert ranking.varying(with_seeds, also=("C",)) == ["optimizer", "C", "seed"]
    assert ranking.varying([]) == []


def test_smoothing_is_named_by_how_much_there_is_of_it():
    rows = [{"smoothed": bool(s), "label_smoothing": s or None} for s in (0, 0.1, 0.2)]
    assert ranking.varying(rows) == ["label_smoothing"]
    assert ranking.varying(rows[:2]) == ["smoothed"]


def test_the_better_score():
    assert ranking.better([0.3, None, 0.2], "val_loss") == 0.2
    assert ranking.better([0.3, None, 0.2], "val_accuracy") == 0.3
    assert ranking.better([None], "val_loss") is None


@pytest.mark.parametrize("order", [ranking.rank, ranking.rank_settings])
def test_an_unknown_metric_is_refused(order):
    with pytest.raises(ValueError, match="--metric is 'loss'; expected one of val_los"):
        order([], metric="loss")


OTHER = {
    "num_classes": 4,
    "loss": "weston_watkins_hinge",
    "optimizer": "nesterov",
    "schedule": "linear",
    "batch_size": 4,
    "epochs": 2,
    "gradient": "autodiff",
    "precision": "high",
    "keep": "best",
    "features": "hog",
    "preprocessing": "none",
    "smoothed": True,
}


def rows_of(candidates, monkeypatch):
    """Returns rows of trials with equal scores, without a training."""
    scores = types.SimpleNamespace(_asdict=lambda: {"loss": np.zeros(1)})
    state = types.SimpleNamespace(status=np.zeros(1, int), steps=np.ones(1, int))
    output = types.SimpleNamespace(train=scores, validation=scores, state=state)
    monkeypatch.setattr(states, "final_epochs", lambda _: np.ones(1, int))
    rows = []
    for trial in trials.make_trials(candidates, (0,)):
        rows += trials.make_rows(trials.TrialBatch(trial.static, 0, (trial,)), output)
    return rows


# All but the order of the rows, which is one for a whole run.
@pytest.mark.parametrize(
    "name", [f.name for f in dataclasses.fields(Static) if f.name != "shuffle"]
)
def test_every_choice_makes_a_setting_of_its_own(name, monkeypatch):
    static = Static(num_classes=3)
    other = dataclasses.replace(static, **{name: OTHER[name]})
    assert other != static
    candidates = [Candidate(choice, Hparams()) for choice in (static, other)]
    rows = rows_of(candidates, monkeypatch)
    assert len(ranking.rank_settings(rows, metric="val_loss")) == 2
    assert name in ranking.varying(rows)


@pytest.mark.parametrize("name", Hparams._fields)
def test_every_hyper_parameter_makes_a_setting_of_its_own(name, monkeypatch):
    static = next(
        static
        for static in (Static(3, optimizer=o) for o in optimizers.OPTIMIZERS)
        if name in optimizers.uses(static)
    )
    candidates = [Candidate(static, Hparams(**{name: v})) for v in (0.25, 0.5)]
    rows = rows_of(candidates, monkeypatch)
    assert len(ranking.rank_settings(rows, metric="val_loss")) == 2
