"""Validation rows one by one: they add up to the rows of results."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import sweep
from linclf_jax import calibration, losses, metrics, params
from linclf_jax.cli import console
from linclf_jax.cli import options as shared_flags
from linclf_jax.params import Params
from linclf_jax.reports import validation_text
from linclf_jax.runs import checkpoint, directory
from linclf_jax.selection import bias, ranking
from linclf_jax.studies import outcome, validated
from linclf_jax.studies import problem as problem_lib
from tests import sweeps

BY = "val_loss"


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


def keep_pieces(folder, **changes):
    """Runs a sweep, and returns it with its problem; the pieces stay."""
    config = dataclasses.replace(sweeps.SMALL, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "clear", lambda _: None)
        found = sweeps.run(folder, config)
    return found, problem_lib.prepare(shared_flags.read(found.folder / "flags.txt"))


@pytest.fixture(
    scope="module",
    params=[{}, {"folds": 3}, {"halving": 2, "loss": ("weston_watkins_hinge",)}],
    ids=["seeds", "folds", "halving"],
)
def finished(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return keep_pieces(folder, **request.param)


def test_rows_add_up_to_the_means_that_settings_were_chosen_by(finished):
    found, problem = finished
    by_row = validated.read(found.folder, problem, found.rows, pytest.fail)
    ranked = ranking.rank_settings(found.rows, by=BY)
    groups = {group[0]["trial"]: group for group in ranked}
    assert by_row.lanes == tuple(sorted(groups))
    assert len(groups) == (1 if problem.config.halving else 8)
    (data, *_) = problem.data.values()
    assert by_row.loss.shape == (len(groups), len(data.val_labels))
    for place, lane in enumerate(by_row.lanes):
        for values, name in ((by_row.loss, BY), (by_row.right, "val_accuracy")):
            mean = ranking.spread(groups[lane], name).mean
            # Folds of 40 rows each: the mean of their means is that over the rows.
            np.testing.assert_allclose(values[place].mean(), mean, rtol=1e-5)


def test_a_setting_of_which_a_repeat_diverged_is_left_out(finished):
    """Its other repeats ended well, and are in the pieces."""
    found, problem = finished
    first, *others = validated.read(
        found.folder, problem, found.rows, pytest.fail
    ).lanes
    rows = [dict(row) for row in found.rows]
    rows[first]["status"] = "diverged"
    by_row = validated.read(found.folder, problem, rows, pytest.fail)
    assert by_row.lanes == tuple(others)


def test_a_row_is_judged_by_the_lanes_that_have_not_seen_it(finished):
    """As one would by hand, a lane and a row at a time."""
    found, problem = finished
    by_row = validated.read(found.folder, problem, found.rows, pytest.fail)
    data = problem.data["raw", "standardize"]
    loss = losses.LOSSES[problem.config.loss[0]]
    seeds = len(problem.config.seeds)
    for place, first in enumerate(by_row.lanes[:2]):
        like = ranking.settings(found.rows[first])
        expected = np.zeros(len(data.val_labels))
        for row in found.rows:
            if ranking.settings(row) != like:
                continue
            arrays = checkpoint.load_lane(found.folder, row["trial"], ("W", "b"))
            p = Params(jnp.asarray(arrays["W"]), jnp.asarray(arrays["b"]))
            values = np.asarray(loss(params.logits(p, data.val_x), data.val_labels))
            mine = True if row["fold"] is None else data.val_folds == row["fold"]
            expected += np.where(mine, values, 0.0) / seeds
        np.testing.assert_allclose(by_row.loss[place], expected, rtol=1e-4, atol=1e-6)


def test_what_selected_says_follows_from_the_rows(finished):
    found, problem = finished
    by_row = validated.read(found.folder, problem, found.rows, pytest.fail)
    selected = directory.read(found.folder / "selected.json")
    size = by_row.right.shape[1]
    accuracy = selected["repeats"]["val_accuracy"]["mean"]
    assert selected["validation"] == {
        **{"size": size, "accuracy": accuracy},
        "accuracy_interval": list(metrics.wilson_interval(accuracy, size)),
        "duplicates": {"rows": 0, "another_label": 0, "size": size},
    }
    luck = selected["optimism"]
    if problem.config.halving:
        # Who would have lived on other rows, and to what scores, nobody knows.
        assert luck is None
        assert "flatter" not in console.summary(*found)
        return
    estimate = bias.estimate(by_row.loss, by_row.right)
    assert luck["accuracy"] == -estimate.correction
    assert luck["loss"] == bias.estimate(by_row.loss).correction
    assert (luck["settings"], luck["rows"]) == (len(by_row.lanes), size)
    assert by_row.lanes[estimate.best] == selected["best"]
    assert validation_text.flattery({"optimism": luck}) in console.summary(*found)


def test_the_temperature_is_that_of_rows_that_trained_nothing(finished):
    found, problem = finished
    selected = directory.read(found.folder / "selected.json")
    test = selected["test"]
    if problem.config.loss != ("softmax_cross_entropy",):
        assert test["temperature"] is test["nll"] is None
        return
    data = problem.data["raw", "standardize"]
    like, logits = ranking.settings(selected["row"]), []
    for row in found.rows:
        if ranking.settings(row) == like and row["seed"] == 0:
            arrays = checkpoint.load_lane(found.folder, row["trial"], ("W", "b"))
            scores = np.asarray(data.val_x) @ arrays["W"] + arrays["b"]
            logits.append((row["fold"], scores))
    if problem.config.folds:
        folds, rows = np.asarray(data.val_folds), np.arange(len(data.val_labels))
        together = np.stack([scores for _, scores in logits])[folds, rows]
    else:
        ((_, together),) = logits
    expected = calibration.fit_temperature(together, np.asarray(data.val_labels))
    assert test["temperature"] == pytest.approx(expected, rel=1e-4)
    assert test["nll_scaled"] != test["nll"]


def test_standard_errors_are_those_over_rows():
    rng = np.random.default_rng(0)
    found = validated.Validated((3, 8), rng.random((2, 50)), rng.random((2, 50)) < 0.5)
    errors = validated.standard_errors(found, "val_loss")
    assert list(errors) == [3, 8]
    mean = found.loss[1].mean()
    variance = np.sum((found.loss[1] - mean) ** 2) / 49
    assert errors[8] == pytest.approx(np.sqrt(variance / 50), rel=1e-12)
    share = found.right[0].mean()
    expected = np.sqrt(share * (1 - share) / 49)
    errors = validated.standard_errors(found, "val_accuracy")
    assert errors[3] == pytest.approx(expected, rel=1e-12)


def test_a_sweep_can_be_chosen_within_one_standard_error(tmp_path):
    l2 = (0.0, 0.001, 0.01, 0.03, 0.1)
    found, problem = keep_pieces(
        tmp_path / "run", choice="one_standard_error", l2=l2, learning_rate=(0.3,)
    )
    by_row = validated.read(found.folder, problem, found.rows, pytest.fail)
    selected = found.selected
    assert selected["choice"] == "one_standard_error"
    best = found.rows[selected["best"]]
    error = validated.standard_errors(by_row, BY)[selected["best"]]
    assert selected["standard_error"] == error
    means = by_row.loss.mean(axis=1)
    limit = means[by_row.lanes.index(selected["best"])] + error
    expected = max(v for v, mean in zip(l2, means, strict=True) if mean <= limit)
    assert selected["row"]["l2"] == expected > best["l2"]
    assert "the strongest l2 that is within one" in console.summary(*found)


def test_a_class_without_rows_leaves_settings_that_can_still_be_compared():
    rng = np.random.default_rng(0)
    loss, right = rng.random((3, 40)), rng.random((3, 40)) < 0.5
    loss[1, 7] = np.inf
    found = validated.flattery(loss, right, by="val_loss")
    assert found == validated.flattery(loss[[0, 2]], right[[0, 2]], by="val_loss")
    assert found["settings"] == 2
    assert validated.flattery(loss[:2], right[:2], by="val_loss") is None


def test_the_best_that_flatters_itself_is_the_best_by_the_criterion():
    rng = np.random.default_rng(1)
    loss, scaled = rng.random((2, 3, 40))
    right = rng.random((3, 40)) < 0.5
    found = validated.flattery(loss, right, by="val_loss_calibrated", calibrated=scaled)
    expected = bias.estimate(scaled, right)
    assert found["accuracy"] == 0.0 - expected.correction
    assert found["stability"] == expected.stability
    assert found != validated.flattery(loss, right, by="val_loss", calibrated=scaled)
    with pytest.raises(ValueError, match="expected calibrated, the losses, with it"):
        validated.flattery(loss, right, by="val_loss_calibrated")


def test_of_equal_accuracies_the_lower_loss_flatters_itself():
    rng = np.random.default_rng(2)
    right = np.repeat(rng.random((1, 40)) < 0.5, 3, axis=0)
    right[1:, :2] = [[True, False], [False, True]]
    right[0, :2] = [True, False]
    loss = rng.random((3, 40)) + np.array([[0.2], [0.0], [0.1]])
    found = validated.flattery(loss, right, by="val_accuracy")
    order = np.argsort(loss.mean(axis=1))
    assert order[0] != 0
    expected = bias.estimate(right[order], loss[order], lowest=False)
    assert found["loss"] == expected.correction
    assert found["loss"] != bias.estimate(right, loss, lowest=False).correction


def test_the_validation_rows_are_gone_through_before_the_choice_and_no_others(
    tmp_path, monkeypatch
):
    seen = []
    for module, name in (
        (outcome.validated, "read"),
        (outcome.selection, "choose"),
        (outcome.evaluation, "measure"),
    ):
        monkeypatch.setattr(module, name, watched(seen, name, getattr(module, name)))
    sweeps.run(tmp_path / "run")
    assert seen == ["read", "choose", "measure"]


def watched(seen, name, call):
    def record(*args, **kwargs):
        seen.append(name)
        return call(*args, **kwargs)

    return record


def test_a_bad_rule_is_refused_before_anything_is_written(tmp_path):
    folder = tmp_path / "refused"
    with pytest.raises(ValueError, match="--choice is 'max'; expected one of min, one"):
        sweep.run(dataclasses.replace(sweeps.SMALL, choice="max", out_dir=str(folder)))
    assert not folder.exists()
