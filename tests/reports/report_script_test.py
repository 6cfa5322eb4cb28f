"""The script that draws a page again: which page it is, and what it refuses."""

import pytest

from experiments import report
from linclf_jax.cli import main
from linclf_jax.reports import render
from linclf_jax.runs import directory
from tests.reports import records


@pytest.fixture
def folder(tmp_path):
    made = records.write(records.sweep(trial=None), tmp_path / "run")
    records.to_batches(made, cut=10)
    return made


@pytest.mark.usefixtures("undrawn")
def test_an_unfinished_run_has_a_page_of_its_progress(folder, capsys):
    report.run(report.ReportConfig(), str(folder))
    assert capsys.readouterr().out == f"{folder / 'progress.html'}\n"
    assert "the run is unfinished" in (folder / "progress.html").read_text("utf-8")
    assert not (folder / "report.html").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("make", [records.sweep, records.path, records.shots])
def test_a_finished_run_stays_sealed(make, tmp_path, capsys):
    folder = records.write(make(), tmp_path / "run")
    render.write(folder)
    directory.seal(folder)
    before = (folder / "manifest.json").read_bytes()
    (folder / "report.html").write_text("old")
    report.run(report.ReportConfig(), str(folder))
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "manifest.json").read_bytes() == before
    directory.verify(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "RUN_DIRECTORY"),
        (["one", "two"], "one two"),
        (
            ["nowhere"],
            "nowhere is not a complete run directory: config.json, flags.txt",
        ),
        (["--lr=1", "nowhere"], "'lr'"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(arguments, message, capsys):
    assert main.run(report.SCRIPT, arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
