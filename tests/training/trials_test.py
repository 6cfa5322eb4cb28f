"""Trials and their batches, and that nothing changes the bits of a trial."""

import chex
import numpy as np
import pytest

from linclf_jax.selection import ranking
from linclf_jax.training import execution, search_space, states, trials
from linclf_jax.training.settings import Hparams, Static
from tests.training import small
from tests.training.small import WIDTH

STATIC = Static(num_classes=3, batch_size=8, epochs=3)
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FLOAT32 = np.dtype(np.float32)


@pytest.fixture(scope="module")
def built():
    return small.compiled(STATIC)


def make_candidates(rates=RATES, **changes):
    return [search_space.Candidate(STATIC, Hparams(rate, **changes)) for rate in rates]


def make_trials(rates=RATES, seeds=(0,), **changes):
    return trials.make_trials(make_candidates(rates, **changes), seeds)


def run_batch(batch, built, last=None, damage=None):
    """The output of a batch; ``damage`` changes its state after the first step."""
    start = execution.Start(trials.filled(batch, WIDTH, FLOAT32))
    if damage is not None:
        (begun,) = small.run(built, [start], 1)
        start = start._replace(step=1, state=damage(begun.state))
    return small.run(built, [start], last)[0]


def run_all(every, built, damage=None):
    """Row and arrays of every trial, by its number."""
    results = {}
    for batch in trials.make_batches(every, WIDTH):
        output = run_batch(batch, built, damage=damage)
        arrays = trials.make_arrays(batch, output)
        for index, row in enumerate(trials.make_rows(batch, output)):
            own = {name: array[index] for name, array in arrays.items()}
            results[row["trial"]] = (row, own)
    return results


def assert_same(one, other):
    assert one[0] == other[0]
    chex.assert_trees_all_equal(one[1], other[1])


def test_trials_are_the_candidates_in_order_repeats_side_by_side():
    every = trials.make_trials(make_candidates((0.1, 0.2)), (5, 6), 2)
    assert [trial.trial for trial in every] == list(range(8))
    repeats = [(trial.hparams.learning_rate, trial.seed, trial.fold) for trial in every]
    of_first = [(0.1, 5, 0), (0.1, 5, 1), (0.1, 6, 0), (0.1, 6, 1)]
    assert repeats[:5] == [*of_first, (0.2, 5, 0)]
    assert all(trial.static == STATIC for trial in every)
    assert [trial.fold for trial in make_trials()] == [None] * 6


@pytest.mark.parametrize("width", [0, -1, trials.MAX_WIDTH + 1])
def test_a_width_out_of_range_is_refused(width):
    message = f"--trials_per_batch is {width}; expected 1 to"
    with pytest.raises(ValueError, match=message):
        trials.make_batches(make_trials(), width)


def test_batches_hold_every_trial_once_and_one_program_each():
    candidates = [
        search_space.Candidate(Static(3, optimizer=optimizer), Hparams(l2=l2))
        for optimizer in ("sgd", "adam")
        for l2 in range(5)
    ]
    every = trials.make_trials(candidates, (0, 1))
    for ordered in (every, every[::-1]):
        batches = trials.make_batches(ordered, WIDTH)
        assert [len(batch.trials) for batch in batches] == [4, 1] * 4
        numbers = [trial.trial for batch in batches for trial in batch.trials]
        assert sorted(numbers) == list(range(20))
        for batch in batches:
            own = {(trial.static, trial.seed) for trial in batch.trials}
            assert own == {(batch.static, batch.seed)}
        # A program is compiled once if its batches stand side by side.
        assert [batch.static for batch in batches[:4]] == [batches[0].static] * 4


def test_a_short_batch_is_filled_up_with_its_last_trial():
    (batch,) = trials.make_batches(make_trials((0.1, 0.2), (7,), l2=0.5), WIDTH)
    filled = trials.filled(batch, WIDTH, FLOAT32)
    rates = np.array([0.1, 0.2, 0.2, 0.2], np.float32)
    np.testing.assert_array_equal(filled.hparams.learning_rate, rates)
    assert {value.dtype for value in filled.hparams} == {FLOAT32}
    assert (int(filled.seed), filled.fold.tolist()) == (7, [states.NO_FOLD] * WIDTH)
    folded = trials.make_trials(make_candidates((0.1,)), (7,), 3)
    (batch,) = trials.make_batches(folded, WIDTH)
    assert trials.filled(batch, WIDTH, FLOAT32).fold.tolist() == [0, 1, 2, 2]


def test_order_of_trials_and_cut_into_batches_change_no_bit(built):
    every = make_trials()
    expected = run_all(every, built)
    for shuffled in (every[::-1], every[3:] + every[:3], every[:1], every[4:5]):
        for number, result in run_all(shuffled, built).items():
            assert_same(result, expected[number])


def test_a_tenth_of_many_trials_diverging_changes_no_other_bit(built):
    """By a learning rate, and by NaN that somebody put into the weights."""
    rates = np.geomspace(0.01, 1.0, 40).tolist()

    def damage(state):
        W = np.array(state.params.W)
        W[2, 1, 3] = np.nan
        return state._replace(params=state.params._replace(W=W))

    clean = run_all(make_trials(rates), built)
    assert {row["status"] for row, _ in clean.values()} == {"ok"}
    spoilt = {4: 1e30, 17: 1e38, 22: 1e30, 33: 1e30}
    wild = [spoilt.get(number, rate) for number, rate in enumerate(rates)]
    broken = run_all(make_trials(rates), built, damage)
    for results, out in (
        (run_all(make_trials(wild), built), {*spoilt}),
        (broken, {*range(3, 40, 4)}),
    ):
        for number in range(40):
            diverged = results[number][0]["status"] == "diverged"
            assert diverged == (number in out)
            if not diverged:
                assert_same(results[number], clean[number])
    for number in range(3, 40, 4):
        row = broken[number][0]
        assert (row["reason"], row["steps"]) == ("nonfinite_loss", 1)


def test_a_trial_that_diverges_says_when_and_why_and_keeps_its_weights(built):
    (batch,) = trials.make_batches(make_trials((1e8, 0.1)), WIDTH)
    first, whole = (run_batch(batch, built, last) for last in (1, 9))
    rows = trials.make_rows(batch, whole)
    ends = [(row["reason"], row["steps"]) for row in rows]
    assert ends == [("exploded", 1), (None, 9)]
    first, whole = (trials.make_arrays(batch, output) for output in (first, whole))
    np.testing.assert_array_equal(first["W"][0], whole["W"][0])
    assert not np.array_equal(first["W"][1], whole["W"][1])
    assert np.isfinite(whole["W"]).all()
    assert np.isnan(whole["val_loss"]).all(axis=1).tolist() == [True, False]


def test_a_trial_that_was_stopped_early_is_retired(built):
    (batch,) = trials.make_batches(make_trials((0.1, 1e30)), WIDTH)
    output = run_batch(batch, built, 4)
    rows = trials.make_rows(batch, output, finished=False)
    assert [row["status"] for row in rows] == [ranking.RETIRED, "diverged"]
    assert [row["reason"] for row in rows] == [None, rows[1]["reason"]]
    assert rows[1]["reason"] in states.REASONS.values()
    assert rows[0]["steps"] == 4
    assert np.isfinite(rows[0]["val_loss"])


def test_arrays_have_the_trials_in_front_and_no_padding(built):
    (batch,) = trials.make_batches(make_trials((0.1, 0.2, 0.3))[::-1], WIDTH)
    output = run_batch(batch, built)
    arrays = trials.make_arrays(batch, output)
    assert arrays["trial"].tolist() == [2, 1, 0]
    shapes = {name: array.shape for name, array in arrays.items()}
    curves = dict.fromkeys(("train_loss", "val_loss", "val_accuracy"), (3, 3))
    assert shapes == {"trial": (3,), "W": (3, 4, 3), "b": (3, 3), **curves}
    for index in range(3):
        own = [arrays[name][index] for name in ("W", "b", *curves)]
        chex.assert_trees_all_equal(own, [*small.run_of(output.state, index)])


def test_rows_say_what_was_run_and_what_came_of_it(built):
    _, data = built
    row, arrays = run_all(make_trials((0.1,), l2=0.25), built)[0]
    assert row["optimizer"] == "momentum"
    assert (row["learning_rate"], row["l2"]) == (0.1, 0.25)
    assert row["b1"] is None  # momentum does not use it
    assert (row["seed"], row["fold"], row["reason"]) == (0, None, None)
    splits = {"train": (data.x, data.labels), "val": (data.val_x, data.val_labels)}
    for split, (x, labels) in splits.items():
        scores = np.asarray(x, np.float64) @ arrays["W"] + arrays["b"]
        right = np.mean(np.argmax(scores, axis=1) == labels)
        np.testing.assert_allclose(row[f"{split}_accuracy"], right, rtol=1e-6)
        log_sums = np.log(np.exp(scores).sum(axis=1))
        loss = np.mean(log_sums - scores[np.arange(len(labels)), labels])
        np.testing.assert_allclose(row[f"{split}_loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(row["val_loss"], arrays["val_loss"][-1], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.full(21, 7)}, r"21 of 21 .* labels\[0\] = 7"),
        ({"val_labels": np.full(10, -1)}, r"labels\[0\] = -1"),
        ({"x": np.full((21, 4), np.nan)}, r"x\[0, 0\] = nan"),
        ({"val_x": np.ones((10, 3))}, "4 columns, validation rows 3"),
        ({"labels": np.zeros(20, int)}, "21 rows but labels has 20"),
    ],
)
def test_bad_data_is_refused_and_not_called_divergence(change, message):
    data = small.make_data()
    with pytest.raises(ValueError, match=message):
        trials.validate_data(data._replace(**change), num_classes=3)
    trials.validate_data(data, num_classes=3)
    targets = np.full((len(data.labels), 3), -1).astype(np.int32)
    targets[0, 0] = 1
    trials.validate_data(data._replace(labels=targets), num_classes=3)
    targets[1, 1] = 4
    with pytest.raises(ValueError, match=r"labels: 1 of 63 .* = 4; expected 0 or 1"):
        trials.validate_data(data._replace(labels=targets), num_classes=3)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"batch_size": 201}, r"--batch_size is 201; expected 1 to 200 \(the train"),
        ({"epochs": 0}, "--epochs is 0; expected 1 to 1000000"),
    ],
)
def test_static_choices_of_which_no_program_is_made_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        trials.validate_static(Static(3, **choices), num_rows=200)
