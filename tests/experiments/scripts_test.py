"""Every script once, from its command line: a status, and what it prints and writes."""

import importlib
import re
import types
from pathlib import Path

import numpy as np
import pytest

from experiments import course
from linclf_jax import audit
from linclf_jax.audit import numerics
from linclf_jax.cli import main
from linclf_jax.reports import render
from linclf_jax.runs import directory
from tests import feature_files, small_studies

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem != "__init__"
)
SWEEP = ["--dataset=iris", "--optimizer=adam", "--learning_rate=0.01,0.1", "--l2=0.01"]
SWEEP += ["--seeds=0", "--epochs=3", "--compilation_cache=none"]
ALONE = "--trials_per_batch=1"


def script(name, *argv):
    """Returns the exit status of a script."""
    module = importlib.import_module(f"experiments.{name}")
    return main.run(module.SCRIPT, list(map(str, argv)))


@pytest.fixture
def blank():
    """Most pages are drawn elsewhere."""
    with small_studies.blank_pages():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The run directory of a small sweep, with its page."""
    out_dir = tmp_path_factory.mktemp("runs") / "sweep"
    assert script("sweep", *SWEEP, ALONE, f"--out_dir={out_dir}") == 0
    return out_dir


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_short_and_its_docstring_holds_its_command(name, capsys):
    text = (ROOT / "experiments" / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 75
    assert script(name, "--help") == 0
    out = capsys.readouterr().out
    assert f"python -m experiments.{name}" in out
    assert len(out.splitlines()[0]) > 40


def test_sweep_prints_the_answer_and_its_flagfile_replays_it(
    finished, tmp_path, capsys, blank
):
    again = tmp_path / "again"
    flagfile = finished / "flags.txt"
    assert script("sweep", f"--flagfile={flagfile}", f"--out_dir={again}") == 0
    out, err = capsys.readouterr()
    assert out.startswith("The 2 best trials by val_loss\n")
    assert f"Run directory  {again}\n" in out
    assert "2 of 2 trials" in err
    names = (*small_studies.SAME, "flags.txt")
    assert small_studies.contents(again, names) == (
        small_studies.contents(finished, names)
    )


def test_sweep_makes_a_directory_of_its_own(tmp_path, monkeypatch, blank):
    monkeypatch.chdir(tmp_path)
    assert script("sweep", *SWEEP, "--learning_rate=0.1") == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"sweep-iris-\d{8}-\d{6}-[0-9a-f]{4}", made.name)


def test_train_prints_a_curve_and_has_the_bits_of_the_trial(
    finished, tmp_path, capsys, blank
):
    out_dir = tmp_path / "train"
    one = [*SWEEP, "--learning_rate=0.1", ALONE, f"--out_dir={out_dir}"]
    assert script("train", *one) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["epoch", "train_loss", "val_loss", "val_accuracy"]
    assert f"Run directory  {out_dir}" in out
    (row,) = directory.read(out_dir / "results.jsonl")
    _, expected = directory.read(finished / "results.jsonl")
    assert row == {**expected, "trial": 0}
    assert script("train", f"--replay={finished}", "--trial=1") == 0
    assert capsys.readouterr().out.endswith("\ntrial 1 has the bits of its row\n")


def test_course_takes_all_features_and_prints_their_table(tmp_path, capsys, blank):
    grid = ["--learning_rate=0.1", "--l2=0", "--epochs=1", "--batch_size=64"]
    grid += ["--loss=softmax_cross_entropy", f"--out_dir={tmp_path / 'course'}"]
    assert script("course", "--dataset=digits", *grid) == 0
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("The settings selected by features and loss, each")
    assert [row.split()[0] for row in rows[:2]] == list(course.GREY_FEATURES)


def test_path_and_probe_print_their_tables(tmp_path, capsys, blank):
    solved = ["--l2=0.1,0.01", "--folds=2"]
    clear = feature_files.write(tmp_path / "clear", noise=1.0)
    noisy = feature_files.write(tmp_path / "noisy", noise=3.0)
    files = [f"--{k}={v}" for k, v in small_studies.data_flags(clear).items()]
    data = ["--dataset=features", *files]
    assert script("path", *data, *solved, f"--out_dir={tmp_path / 'path'}") == 0
    out = capsys.readouterr().out
    assert out.startswith("What each rule selects")
    assert "certified   6 fits" in out
    sets = f"--features=clear={clear},noisy={noisy}"
    assert script("probe", sets, *solved, f"--out_dir={tmp_path / 'probe'}") == 0
    title, header, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("The settings selected by features, each tested once")
    assert header.split()[0] == "features"
    assert [row.split()[0] for row in rows[:2]] == ["clear", "noisy"]
    assert "Differences in accuracy on the same test rows: McNemar's" in "".join(rows)


def test_merge_joins_shards_into_the_run_of_one_process(
    finished, tmp_path, capsys, blank
):
    shards = [tmp_path / f"part-{index}" for index in (0, 1)]
    for index, shard in enumerate(shards):
        share = ["--num_shards=2", f"--shard_index={index}", f"--out_dir={shard}"]
        assert script("sweep", *SWEEP, ALONE, *share) == 0
        printed = capsys.readouterr().out
        assert f"python -m experiments.merge {shard} ... --out_dir=" in printed
    assert script("merge", *shards, f"--out_dir={tmp_path / 'whole'}") == 0
    assert capsys.readouterr().out.startswith("The 2 best trials")
    whole = small_studies.contents(tmp_path / "whole")
    assert whole == small_studies.contents(finished)


def test_predict_prints_how_many_rows_and_where(finished, tmp_path, capsys):
    np.save(tmp_path / "new.npy", np.ones((5, 4)))
    out = tmp_path / "new.csv"
    flags = [f"--run={finished}", f"--features={tmp_path / 'new.npy'}", f"--out={out}"]
    assert script("predict", *flags) == 0
    expected = f"5 rows, classes setosa, versicolor, virginica\n{out}\n"
    assert capsys.readouterr().out == expected
    assert len(out.read_text().splitlines()) == 6


def test_report_draws_a_finished_run_again_and_leaves_it_sealed(finished, capsys):
    before = (finished / "manifest.json").read_bytes()
    assert script("report", finished) == 0
    assert capsys.readouterr().out == f"{finished / 'report.html'}\n"
    assert (finished / "manifest.json").read_bytes() == before
    directory.verify(finished)


def test_report_draws_the_progress_of_an_unfinished_run(tmp_path, capsys, monkeypatch):
    unfinished = tmp_path / "run"

    def full(path):
        raise OSError(28, "No space left on device", str(path / "report.html"))

    with monkeypatch.context() as patch:
        patch.setattr(render, "write", full)
        assert script("sweep", *SWEEP, ALONE, f"--out_dir={unfinished}") == 2
    assert "report.html: No space left on device" in capsys.readouterr().err
    assert script("report", unfinished) == 0
    assert capsys.readouterr().out == f"{unfinished / 'progress.html'}\n"
    assert not (unfinished / "report.html").exists()


def test_audit_ends_with_the_sentence_of_its_docstring(capsys):
    assert script("audit") == 0
    sentence = capsys.readouterr().out.splitlines()[-1]
    assert sentence in importlib.import_module("experiments.audit").__doc__


def test_audit_of_a_wrong_gradient_is_status_1(tmp_path, monkeypatch, capsys):
    def audit_gradient(gradient, **given):
        assert (gradient(), given) == ("mine", {"l2": 0.01})
        return types.SimpleNamespace(passed=False)

    (tmp_path / "my_module.py").write_text("def wrong():\n    return 'mine'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(audit, "audit_gradient", audit_gradient)
    assert script("audit", "--gradient=my_module:wrong", "--l2=0.01") == 1
    assert capsys.readouterr().out == "namespace(passed=False)\n"


@pytest.fixture
def unmeasured(monkeypatch):
    """Measuring is quick and says nothing; the list says how often it was done."""
    calls = []
    names = [(f, name) for f in numerics.FAMILIES for name in numerics.IMPLEMENTATIONS]
    worst = dict.fromkeys(names, numerics.Scores(1.0, 5.0))
    measure = lambda dtype: (calls.append(dtype), worst)[1]  # noqa: E731
    monkeypatch.setattr(numerics, "measure", measure)
    return calls


def test_numerics_prints_the_page_or_writes_it_whole(unmeasured, tmp_path, capsys):
    assert script("numerics") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# What floating point leaves")
    assert "| one class | 1 / **5** |" in printed
    assert script("numerics", f"--out={tmp_path / 'page.md'}") == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") + "\n" == printed
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]
    assert len(unmeasured) == 4


def test_numerics_says_what_to_install(unmeasured, monkeypatch, capsys):
    find = importlib.util.find_spec
    without = lambda name: None if name == "mpmath" else find(name)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert script("numerics") == 2
    assert "pip install 'linclf_jax[test]'" in capsys.readouterr().err
    assert unmeasured == []


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("sweep", ["--optimizer=adams"], "--optimizer is 'adams'"),
        ("sweep", ["--out_dir=/dev/null/run", "--dataset=iris"], "/dev/null"),
        ("train", ["--optimizer=sgd,adam"], "--optimizer has 2 values; expected one"),
        ("train", ["--C=1,2"], "--C has 2 values; expected one, or use experiments.sw"),
        *(
            ("train", [flag], f"{flag.split('=')[0]} is for experiments.sweep; expec")
            for flag in (
                "--sample=1",
                "--folds=2",
                "--halving=2",
                "--num_shards=2",
                "--select_per=loss",
                '--grid_file={"grids":[{}]}',
            )
        ),
        ("train", ["--replay=runs/a"], "expected --replay=RUN_DIRECTORY and --trial=N"),
        ("train", ["--trial=1"], "expected --replay=RUN_DIRECTORY and --trial=NUMBER"),
        (
            "train",
            ["--replay=runs/a", "--trial=1", "--epochs=3", "--out_dir=b"],
            "--replay takes all flags from its run directory; expected no --epochs, "
            "--out_dir beside it",
        ),
        ("path", ["--preprocessing=zca"], "'zca', expected one of none"),
        ("probe", [], "no features are given; expected --features=NAME=PATH"),
        ("merge", ["runs/a"], "expected --out_dir, the run directory to make"),
        ("merge", ["--out_dir=a"], "expected RUN_DIRECTORY...; found nothing"),
        ("merge", ["nowhere", "--out_dir=a"], "nowhere is no run directory"),
        ("predict", ["--out=a.txt"], "--run is missing; expected a path"),
        ("report", [], "expected RUN_DIRECTORY; found nothing"),
        ("report", ["one", "two"], "expected RUN_DIRECTORY; found one two"),
        ("report", ["nowhere"], "nowhere is not a complete run directory: config.json"),
        ("audit", ["--gradient=nothing_here:f"], "cannot load nothing_here:f: Module"),
        (
            "audit",
            ["--l2=1", "--loss=weston_watkins_hinge"],
            "--loss and --l2 without a gradient; expected --gradient=",
        ),
        ("numerics", ["--out=/no/such/folder/page.md"], "--out is '/no/such/folder"),
        ("numerics", ["--out=."], "expected a file in a folder that exists"),
    ],
)
def test_bad_flags_are_one_line_status_2_and_leave_nothing(
    name, arguments, message, tmp_path, monkeypatch, capsys, unmeasured
):
    monkeypatch.chdir(tmp_path)
    assert script(name, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert unmeasured == []


def test_the_readmes_examples_run(finished, capsys, blank):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    run_directory = finished.parent / "digits"
    one = ["--learning_rate=0.5", ALONE, f"--out_dir={run_directory}"]
    assert script("train", *one) == 0
    for code in examples:
        exec(compile(code, "README.md", "exec"), {"run_directory": run_directory})
    printed = capsys.readouterr().out
    assert "Params(W=" in printed
    assert "[0 1 2 3 4 " in printed  # the sixth, a broken 5, is hard
