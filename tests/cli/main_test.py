"""A script from its command line to its exit status, in this process."""

import dataclasses
import logging
from pathlib import Path

import jax
import pytest

from linclf_jax.cli import main, notices
from linclf_jax.config.fields import flag
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.scheduler import signals
from linclf_jax.studies import run_files

STOPPED = signals.Interrupted(signals.Stopped("SIGTERM", 3, 8), Path("runs/a b"))


@dataclasses.dataclass(frozen=True)
class Config:
    """Two flags."""

    number: int = flag(1, "How many.")
    name: str | None = flag(None, "Of whom.")


def script(body, arguments="", defaults=None):
    return main.Script(body, defaults or Config(), arguments)


def ending(error):
    """Returns a script that ends in this way."""

    def body(config):
        raise error

    return script(body)


def test_a_script_gets_its_configuration_and_arguments(tmp_path):
    seen = []
    flagfile = tmp_path / "flags.txt"
    flagfile.write_text("--name=ann\n")
    one = script(lambda *all_: seen.append(all_), "RUN...")
    assert main.run(one, ["a", "--number=3", f"--flagfile={flagfile}", "b"]) == 0
    assert seen == [(Config(3, "ann"), "a", "b")]


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (1, 1)])
def test_the_status_is_what_the_script_returns(returned, status):
    assert main.run(script(lambda _: returned), []) == status


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("--number is 0"), 2, "error: --number is 0"),
        (
            FileNotFoundError(2, "No such file", "x.npy"),
            2,
            "error: x.npy: No such file",
        ),
        (
            run_files.Unfinished(ValueError("no page"), "sweep", Path("runs/a")),
            2,
            "error: no page; what was finished is safe in runs/a: once this is mended, "
            "python -m experiments.sweep --flagfile=runs/a/flags.txt --out_dir=runs/a "
            "does the rest",
        ),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room\nmany lines"),
            2,
            "error: JaxRuntimeError: RESOURCE_EXHAUSTED: no room",
        ),
        (
            STOPPED,
            75,
            "stopped by SIGTERM: 3 of 8 trials are done and saved; the same command "
            "with --out_dir='runs/a b' goes on",
        ),
        (KeyboardInterrupt(), 130, "stopped at once; what was saved stays"),
    ],
)
def test_what_ends_a_script_is_one_line_and_a_status(error, status, line, capsys):
    assert main.run(ending(error), []) == status
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{line}\n")


@pytest.mark.parametrize(
    ("error", "argv"),
    [
        (ValueError("no"), ["--debug"]),
        (KeyboardInterrupt(), ["--debug"]),
        (KeyError("a mistake of the code"), []),
        (RuntimeError("another"), []),
    ],
)
def test_mistakes_of_the_code_and_debug_show_the_traceback(error, argv):
    with pytest.raises(type(error)):
        main.run(ending(error), argv)


@pytest.mark.parametrize(
    ("argv", "expected", "message"),
    [
        (["--nmber=1"], "", "Unknown command line flag 'nmber'. Did you mean: number"),
        (["--number=many"], "", "--number=many"),
        (["digits"], "", "unexpected arguments: digits"),
        ([], "RUN", "expected RUN; found nothing"),
        (["a", "b"], "RUN", "expected RUN; found a b"),
        ([], "RUN...", "expected RUN...; found nothing"),
    ],
)
def test_a_bad_command_line_is_one_line_and_status_2(argv, expected, message, capsys):
    never = script(lambda *_: pytest.fail("it ran"), expected)
    assert main.run(never, argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_flags_are_refused_that_do_not_go_together(capsys):
    never = script(lambda *_: pytest.fail("it ran"), defaults=SweepConfig())
    assert main.run(never, ["--l2=1", "--C=1"]) == 2
    assert "error: of --l2 and --C both are given" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["--help", "-help", "--helpshort", "--helpfull"])
def test_help_is_the_docstring_and_every_flag(word, capsys):
    never = script(lambda *_: pytest.fail("it ran"), defaults=SweepConfig())
    assert main.run(never, [word]) == 0
    out = capsys.readouterr().out
    assert out.startswith(__doc__)
    assert "--learning_rate: Peak learning rates." in out
    assert "(default: '0.03')" in out


def test_what_the_library_logs_is_seen_while_a_script_runs(capsys):
    logger = logging.getLogger("linclf_jax.some.module")

    def body(config):
        logger.info("planned %d batches", 3)
        logger.debug("nobody sees this")
        logger.warning("rare classes")

    assert main.run(script(body), []) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "planned 3 batches\nWarning: rare classes\n")
    assert not notices.LOGGER.handlers
    assert not logger.isEnabledFor(logging.INFO)


def test_a_terminal_that_has_gone_does_not_end_a_script(monkeypatch):
    def gone(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.print", gone)
    body = lambda _: logging.getLogger("linclf_jax").warning("nobody hears")  # noqa: E731
    assert main.run(script(body), []) == 0
    assert main.run(ending(STOPPED), []) == 75
