"""What the flags of a sweep make: data, trials, and what is refused before any fit."""

import importlib.util
import re

import numpy as np
import pytest

from experiments import train
from linclf_jax.cli import main
from linclf_jax.config import flat
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.runs.store import MemoryStore
from linclf_jax.scheduler.signals import Stop
from linclf_jax.selection import choose
from linclf_jax.selection.folds import NOT_HELD_OUT
from linclf_jax.studies import pipeline
from tests import sweeps

KEY = ("raw", "standardize")


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick():
        yield


def test_trials_are_numbered_and_have_the_columns_of_the_contract():
    fitted = sweeps.fit(optimizer=("momentum", "adam"), learning_rate=(0.01, 1e30))
    rows = fitted.results.rows
    assert [row["trial"] for row in rows] == list(range(2 * 2 * 2 * 2))
    columns = "trial optimizer learning_rate l2 seed fold status train_loss val_loss"
    for row in rows:
        assert {*columns.split(), "train_accuracy", "val_accuracy", "steps"} <= {*row}
        assert (row["status"] == "ok") == (row["learning_rate"] < 1)
    history = fitted.results.history
    assert history["trial"].tolist() == list(range(16))
    assert history["val_loss"].shape == history["train_loss"].shape == (16, 12)
    good = [row["trial"] for row in rows if row["status"] == "ok"]
    for name in ("val_loss", "val_accuracy"):
        ends = [rows[trial][name] for trial in good]
        np.testing.assert_allclose(history[name][good, -1], ends, rtol=1e-6)
    assert not np.allclose(history["train_loss"][good], history["val_loss"][good])


def test_data_are_scaled_by_the_rows_that_no_split_holds_out():
    study = sweeps.prepare()
    inputs, dataset = study.plan.inputs[KEY], study.plan.inputs[KEY].dataset
    for count, scaling in (
        (90, inputs.scaling),
        (120, sweeps.prepare(folds=3).plan.inputs[KEY].scaling),
    ):
        x = np.concatenate([dataset.train.x, dataset.validation.x])[:count]
        x = x.astype(np.float64)
        np.testing.assert_allclose(scaling.shift, x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(scaling.scale, x.std(axis=0), rtol=1e-12)


@pytest.mark.parametrize("flags", [{}, {"folds": 3}, {"folds": 4, "seeds": (0,)}])
def test_the_inverse_strength_of_a_trial_is_for_the_rows_that_it_trains_on(flags):
    study = sweeps.prepare(C=(0.5, 2.0), **flags)
    inputs, folds = study.plan.inputs[KEY], flags.get("folds", 0)
    assert study.plan.unit == "C"
    assert {trial.fold for trial in study.trials} == {*range(folds)} or {None}
    for trial in study.trials:
        held_out = NOT_HELD_OUT if trial.fold is None else trial.fold
        trained = inputs.fold != held_out if folds else inputs.fold == NOT_HELD_OUT
        assert trial.num_rows == trained.sum()


def test_what_results_depend_on_is_not_left_open_in_the_configuration():
    study = sweeps.prepare(trials_per_batch=None)
    assert study.width == study.plan.config.search.trials_per_batch == 128
    assert sweeps.prepare(sample=3).plan.has_edges is False
    shard = sweeps.prepare(num_shards=2, shard_index=1)
    assert shard.plan.shard == (1, 2)


def test_a_grid_file_says_what_flags_cannot():
    text = (
        '{"grids": [{"optimizer": "sgd", "learning_rate": [0.1]}, '
        '{"optimizer": "adam", "batch_size": [8, 16], "l2": [0.5]}]}'
    )
    rows = sweeps.fit(grid_file=text, learning_rate=(0.01,)).results.rows
    columns = ("optimizer", "batch_size", "learning_rate", "l2")
    assert [tuple(row[name] for name in columns) for row in rows[::2]] == [
        ("sgd", 90, 0.1, 0.0),
        ("sgd", 90, 0.1, 0.01),
        ("adam", 8, 0.01, 0.5),
        ("adam", 16, 0.01, 0.5),
    ]


def test_a_setting_at_the_edge_of_the_grid_is_a_warning():
    fitted = sweeps.fit(learning_rate=(1e-5, 1e-4), l2=(0.0,))
    (selection,) = pipeline.select(fitted.study.plan, fitted.results)
    (warning,) = selection.warnings
    assert "learning_rate, 0.0001, is the largest" in warning


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dataset": "imagenet"}, "imagenet.*digits, iris"),
        ({"features": ("hog",)}, "'hog' are of images; the rows here are none"),
        ({"batch_size": (91,)}, "--batch_size is 91; expected 1 to 90"),
        ({"folds": 2, "batch_size": (121,)}, "--batch_size is 121; expected 1 to 120"),
        ({"folds": 121}, "--folds is 121; .* lower --folds"),
        ({"trials_per_batch": 0}, "--trials_per_batch is 0; expected 1 to"),
        ({"trials_per_batch": 10**9}, "--trials_per_batch is 1000000000"),
        ({"l2": (-0.1,)}, "--l2 holds -0.1"),
        ({"l2": (0.1, 0.1000000001)}, "--l2 has 2 values, 1 of them distinct"),
        ({"learning_rate": (1e39,)}, "--learning_rate holds 1e.39, in float32 inf"),
        ({"b2": (0.99999999,)}, "--b2 holds 0.99999999, in float32 1; .* below 1"),
        ({"memory_budget": "8 apples"}, "--memory_budget is '8 apples'"),
        ({"keep": "first"}, "--keep is 'first'; expected one of last, best"),
        ({"split_seed": -1}, "--split_seed is -1"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_compiled(flags, message, monkeypatch):
    monkeypatch.setattr("linclf_jax.training.execution.build", pytest.fail)
    with pytest.raises(ValueError, match=message):
        sweeps.prepare(**flags)


def test_tensorboard_is_asked_for_before_hours_of_training(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'linclf_jax\[tensorboard\]'"):
        sweeps.prepare(tensorboard=True)


def test_one_trial_trained_alone_has_the_bits_of_its_row(tmp_path, capsys):
    fitted = sweeps.fit(optimizer=("momentum", "adam"))
    best = choose.select(fitted.results.rows, metric="val_loss").rows[0]
    names = ("optimizer", "learning_rate", "l2", "epochs")
    flags = [f"--{name}={best[name]}" for name in names]
    flags += ["--dataset=iris", f"--seeds={best['seed']}", "--trials_per_batch=3"]
    path = tmp_path / "run"
    flags += [f"--out_dir={path}", "--compilation_cache=none"]
    assert main.run(train.SCRIPT, flags) == 0
    assert "epoch" in capsys.readouterr().out
    alone = sweeps.fit(
        config=flat.read(path / "flags.txt", SweepConfig), store=MemoryStore()
    )
    assert alone.results.rows == [{**best, "trial": 0}]
    with Stop() as stop:
        (one,) = alone.study.classifiers(
            pipeline.select(alone.study.plan, alone.results),
            alone.results,
            alone.store,
            stop,
        )
    expected = fitted.store.load_trial(best["trial"], "Wb")
    np.testing.assert_array_equal(one.params.W, expected["W"])
    _run_the_readmes_examples(path, capsys)


def _run_the_readmes_examples(path, capsys):
    """With the classifier of iris in place of digits, whose columns it lacks."""
    text = (sweeps.ROOT / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for code in examples:
        code = code.replace("load_digits", "load_iris")
        exec(compile(code, "README.md", "exec"), {"run_directory": path})
    printed = capsys.readouterr().out
    assert "Params(W=" in printed
    assert "'setosa'" in printed or "[0 0 0" in printed


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--num_shards=2", "--num_shards is for experiments.sweep"),
        ("--optimizer=sgd,adam", "--optimizer has 2 values; expected one"),
        ("--l2=log:0.1:1:3", "--l2 has 3 values; expected one"),
        ("--sample=1", "--sample is for experiments.sweep; expected it unset"),
        ("--folds=2", "--folds is for experiments.sweep"),
        ("--halving=2", "--halving is for experiments.sweep"),
        ('--grid_file={"grids":[{}]}', "--grid_file is for experiments.sweep"),
        ("--replay=somewhere", "expected --replay=RUN_DIRECTORY and --trial=NUMBER"),
    ],
)
def test_train_refuses_what_makes_several_trials(flag, message, capsys, tmp_path):
    assert main.run(train.SCRIPT, [flag, f"--out_dir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
