"""What is chosen: one rule for ties, and the loss at the best temperature."""

import dataclasses
import types

import numpy as np
import pytest
from scipy import optimize, special

from linclf_jax.exact import status
from linclf_jax.params import Params
from linclf_jax.selection import choose, cross_validation, ranking
from linclf_jax.selection.held_out import Curve, FoldScores, RowScores, Scores
from linclf_jax.studies import probe_exact, probe_measured, probe_scores
from linclf_jax.studies.probe_fits import Path, Table
from linclf_jax.training import keeping, optimizers, trials
from linclf_jax.training.search_space import Point
from linclf_jax.training.settings import Hparams, Static

TOL = 1e-11  # of fits that are compared with others'

# Criterion, then for each setting its accuracy, calibrated loss, loss and penalty, and
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


def by_sweep(by, settings):
    names = ("val_accuracy", "val_loss_calibrated", "val_loss", "l2")
    same = {"status": "ok", "seed": 0, "fold": None, "optimizer": "sgd"}
    rows = [
        {"lane": lane, "place": lane, **same, **dict(zip(names, values, strict=True))}
        for lane, values in enumerate(settings)
    ]
    choice = choose.choose(rows, by=by)
    assert ranking.rank(rows, by=by)[0]["lane"] == choice.best
    assert set(choice.ties) == tied(by, settings, choice.best)
    return choice.best


def by_path(by, settings):
    accuracy, calibrated, loss, l2s = map(np.array, zip(*settings, strict=True))
    count, empty = len(l2s), np.empty((len(l2s), 0))
    curves = [Curve(mean, np.zeros(count)) for mean in (loss, accuracy, calibrated)]
    found = cross_validation.CrossValidation(
        *(l2s, Params(empty, empty), info(count), Scores(empty, empty)),
        *(FoldScores(empty, empty, empty), *curves),
        *(RowScores(empty, empty, np.empty(count), empty), np.ones(0, bool)),
    )
    choices = cross_validation.choose(found, by)
    assert set(choices.ties) == tied(by, settings, choices.min)
    return choices.min


def by_probe(by, settings):
    accuracy, calibrated, loss, l2s = map(np.array, zip(*settings, strict=True))
    scores = probe_scores.Scores(
        *(
            probe_scores.Score(mean[:, None], mean[:, None], np.zeros((len(l2s), 1)))
            for mean in (loss, accuracy, calibrated)
        )
    )
    rows = np.ones(6, bool)
    contest = probe_scores.Contest(None, None, "validation", rows, rows[None] & False)
    problem = types.SimpleNamespace(
        protocol=types.SimpleNamespace(select_by=by),
        config=types.SimpleNamespace(choice="min"),
    )
    table = Table(np.zeros((6, 1)), np.zeros(6, np.int32), 2, (contest,))
    known = Path(l2s, scores, info(len(l2s), 1), None)
    chosen = probe_exact.choose(problem, table, known, 0)
    others = tied(by, settings, chosen.place)
    assert sorted(chosen.ties) == sorted(l2s[[*others]].tolist())
    assert (f"{len(others) + 1} tie for it" in chosen.reason) is bool(others)
    return chosen.place


def by_sets(by, settings):
    """Between feature sets, each with one classifier."""
    names = ("accuracy", "loss_calibrated", "loss")
    described = [
        {
            "validation": {
                name: {"mean": value}
                for name, value in zip(names, values, strict=False)
            },
            "runs": [{"l2": values[-1]}],
        }
        for values in settings
    ]
    found = probe_measured.best(described, by)
    assert set(found.ties) == tied(by, settings, found.place)
    return found.place


def tied(by, settings, best):
    column = ["val_accuracy", "val_loss_calibrated", "val_loss"].index(by)
    scores = [values[column] for values in settings]
    return {i for i, score in enumerate(scores) if score == scores[best]} - {best}


def info(count, lanes=2):
    statuses = np.full((count, lanes), status.CONVERGED, "U20")
    return status.Info(*[np.zeros((count, lanes))] * 6, statuses)


@pytest.mark.parametrize("chooser", [by_sweep, by_path, by_probe, by_sets])
@pytest.mark.parametrize(("by", "settings", "expected"), TIES)
def test_ties_are_broken_alike_wherever_something_is_chosen(
    chooser, by, settings, expected
):
    assert chooser(by, settings) == expected


def test_losses_of_different_kinds_break_no_tie():
    rows = [
        {"lane": lane, "status": "ok", "seed": 0, "fold": None, **values}
        for lane, values in enumerate(
            (
                {"loss": "hinge", "val_loss": 0.9, "val_accuracy": 0.9, "l2": 0.1},
                {"loss": "softmax", "val_loss": 0.1, "val_accuracy": 0.9, "l2": 0.01},
            )
        )
    ]
    assert ranking.rank(rows, by="val_accuracy") == rows


OTHER = {
    **{"num_classes": 4, "loss": "weston_watkins_hinge", "optimizer": "nesterov"},
    **{"schedule": "linear", "batch_size": 4, "epochs": 2, "gradient": "autodiff"},
    **{"precision": "high", "keep": "best", "features": "hog"},
    **{"preprocessing": "none", "smoothed": True},
}


def rows_of(points, monkeypatch):
    """Rows of lanes with equal scores, without a training."""
    scores = types.SimpleNamespace(_asdict=lambda: {"loss": np.zeros(1)})
    state = types.SimpleNamespace(status=np.zeros(1, int), steps=np.ones(1, int))
    output = types.SimpleNamespace(train=scores, validation=scores, state=state)
    monkeypatch.setattr(keeping, "epochs", lambda _: np.ones(1, int))
    rows = []
    for lane in trials.make_lanes(points, (0,)):
        rows += trials.make_rows(trials.Tile(lane.static, 0, (lane,)), output)
    return rows


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Static)])
def test_every_choice_makes_a_setting_of_its_own(name, monkeypatch):
    static = Static(num_classes=3)
    other = dataclasses.replace(static, **{name: OTHER[name]})
    assert other != static
    points = [Point(choice, Hparams()) for choice in (static, other)]
    rows = rows_of(points, monkeypatch)
    assert len(ranking.rank_settings(rows, by="val_loss")) == 2
    assert name in ranking.varying(rows)


@pytest.mark.parametrize("name", Hparams._fields)
def test_every_hyper_parameter_makes_a_setting_of_its_own(name, monkeypatch):
    static = next(
        static
        for static in (Static(3, optimizer=o) for o in optimizers.OPTIMIZERS)
        if name in optimizers.uses(static)
    )
    points = [Point(static, Hparams(**{name: value})) for value in (0.25, 0.5)]
    rows = rows_of(points, monkeypatch)
    assert len(ranking.rank_settings(rows, by="val_loss")) == 2


def gaussian(seed, rows, *, means):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % len(means)
    return means[labels] + rng.normal(size=(rows, means.shape[1])), labels


@pytest.fixture(scope="module")
def shrunken():
    """Far more features than the rows can tell of: the best penalty is a strong one."""
    means = np.random.default_rng(1).normal(scale=0.5, size=(4, 40))
    x, labels = gaussian(2, 240, means=means)
    folds = np.arange(240) // 4 % 3
    found = cross_validation.cross_validate(
        x, labels, np.logspace(1, -4, 6), folds, tol=TOL
    )
    return x, labels, folds, found, gaussian(3, 4000, means=means)


def test_the_calibrated_loss_is_that_at_the_best_single_temperature(shrunken):
    x, labels, folds, found, _ = shrunken
    for place, l2 in enumerate(found.l2):
        logits = np.empty((240, 4))
        for fold in range(3):
            solved = cross_validation.path(
                x[folds != fold], labels[folds != fold], [l2], tol=TOL
            )
            W, b = (np.asarray(array[0, 0]) for array in solved.params)
            logits[folds == fold] = x[folds == fold] @ W + b

        def losses(log_temperature, logits=logits):
            logs = special.log_softmax(logits / np.exp(log_temperature), axis=1)
            return -logs[np.arange(240), labels]

        best = optimize.minimize_scalar(
            lambda t, losses=losses: losses(t).mean(),
            bounds=(-5, 5),
            method="bounded",
            options={"xatol": 1e-9},
        ).x
        means = np.array([losses(best)[folds == fold].mean() for fold in range(3)])
        mean, error = (array[place] for array in found.loss_calibrated)
        assert mean == pytest.approx(means.mean(), rel=1e-6)
        assert error == pytest.approx(means.std(ddof=1) / np.sqrt(3), rel=1e-5)
        assert found.rows.temperature[place] == pytest.approx(np.exp(best), rel=1e-4)
        np.testing.assert_allclose(found.validation.loss_calibrated[place], means, 1e-5)
    # One temperature for all rows can only help their mean.
    assert np.all(found.loss_calibrated.mean <= found.loss.mean + 1e-12)


def test_it_does_not_mind_that_a_strong_penalty_makes_logits_small(shrunken):
    *_, found, (test_x, test_labels) = shrunken
    places = [
        cross_validation.choose(found, by).min
        for by in ("val_loss", "val_loss_calibrated")
    ]
    by_loss, calibrated = places
    assert found.l2[calibrated] > found.l2[by_loss]
    right = [
        np.mean(
            np.argmax(test_x @ found.params.W[i] + found.params.b[i], 1) == test_labels
        )
        for i in places
    ]
    assert right[1] > right[0] + 0.005


def test_leave_one_out_is_calibrated_too(shrunken):
    x, labels, *_ = shrunken
    found = cross_validation.leave_one_out(x[:80], labels[:80], [1.0, 0.1])
    for place in range(2):
        rows = found.rows.calibrated[place]
        assert found.loss_calibrated.mean[place] == pytest.approx(rows.mean())
        error = rows.std(ddof=1) / np.sqrt(80)
        assert found.loss_calibrated.standard_error[place] == pytest.approx(error)
        assert rows.mean() < found.rows.loss[place].mean()


def test_an_unknown_criterion_is_refused_by_name(shrunken):
    with pytest.raises(ValueError, match="by is 'loss'; expected one of val_loss, "):
        cross_validation.choose(shrunken[3], "loss")
