import subprocess
import sys
from pathlib import Path

import pytest

from experiments import audit as script
from linclf_jax import audit

ROOT = Path(__file__).parents[2]

MODULE = """
import numpy as np

number = 3

def right(params, x, labels, l2):
    W, x = np.asarray(params.W), np.asarray(x)
    p = x @ W + np.asarray(params.b)
    p = np.exp(p - p.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(x)), np.asarray(labels)] -= 1
    return x.T @ p / len(x) + l2 * W, p.mean(axis=0)

def wrong(params, x, labels, l2):
    dW, db = right(params, x, labels, l2)
    return dW - l2 * np.asarray(params.W), db
"""


@pytest.fixture
def my_gradients(tmp_path, monkeypatch):
    """A working directory with a researcher's module in it."""
    (tmp_path / "my_gradients.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "my_exit.py").write_text("raise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("my_gradients", "my_broken", "my_exit"):
        sys.modules.pop(name, None)


def test_the_derivation_is_confirmed(capsys):
    assert script.run(script.Config()) == 0
    out = capsys.readouterr().out
    assert out.endswith(
        "38 lines: 10 hold, 28 fail as printed; "
        "every verdict and correction is confirmed\n"
    )
    assert out.splitlines()[-1] in script.__doc__
    assert max(map(len, out.splitlines())) <= 120
    assert "printed * printed" in out


def test_an_unconfirmed_line_is_told_and_makes_the_status_1(capsys, monkeypatch):
    row = audit.claims()[0]._replace(expected=audit.FAILS)
    monkeypatch.setattr(audit, "claims", lambda: (row,))
    assert script.run(script.Config()) == 1
    assert "NOT CONFIRMED: S1" in capsys.readouterr().out


def test_a_cancellation_that_does_not_cancel_makes_the_status_1(capsys, monkeypatch):
    factors = audit.cancellation()
    monkeypatch.setattr(audit, "claims", lambda: ())
    monkeypatch.setattr(audit, "cancellation", lambda: factors[:3] + factors[2:3])
    assert script.run(script.Config()) == 1
    assert "NOT CONFIRMED: the cancellation" in capsys.readouterr().out


@pytest.mark.usefixtures("my_gradients")
def test_a_gradient_of_the_working_directory_is_audited(capsys):
    assert script.run(script.Config(gradient="my_gradients:right")) == 0
    assert "PASSED: 96 comparisons" in capsys.readouterr().out
    wrong = script.Config(gradient="my_gradients:wrong", l2=1e-5)
    assert script.run(wrong) == 1
    assert "diagnosis: penalty missing" in capsys.readouterr().out
    other = script.Config(gradient="my_gradients:right", loss="weston_watkins_hinge")
    assert script.run(other) == 1
    found = capsys.readouterr().out
    assert "diagnosis: softmax cross-entropy for the hinge" in found


@pytest.mark.usefixtures("my_gradients")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("my_gradients", "expected package.module:function"),
        (":right", "expected package.module:function"),
        ("no_such_module:f", "cannot import no_such_module: ModuleNotFoundError"),
        ("my_broken:f", "cannot import my_broken: ModuleNotFoundError"),
        ("my_exit:f", "cannot import my_exit: SystemExit"),
        ("my_gradients:absent", "my_gradients.absent is nothing; expected a function"),
        ("my_gradients:number", "my_gradients.number is a int; expected a function"),
    ],
)
def test_what_cannot_be_loaded_is_refused(path, message):
    with pytest.raises(ValueError, match=message):
        script.run(script.Config(gradient=path))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"loss": "softmax_cross_entropy"}, "--loss without a gradient"),
        ({"l2": 0.1}, "--l2 without a gradient"),
        ({"l2": 0.0}, "--l2 without a gradient"),
        (
            {"loss": "weston_watkins_hinge", "l2": 1.0},
            "--loss and --l2 without a gradient",
        ),
    ],
)
def test_options_of_a_gradient_without_one_are_refused(options, named):
    with pytest.raises(ValueError, match=f"^{named}; expected --gradient="):
        script.run(script.Config(**options))


def command(folder, *flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.audit", *flags],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shell_sees_a_wrong_gradient_as_status_1(my_gradients):
    done = command(my_gradients, "--gradient=my_gradients:wrong")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith("diagnosis: penalty missing\n")


def test_the_shell_sees_bad_input_as_one_line_and_status_2(my_gradients):
    done = command(my_gradients, "--gradient=my_broken:f")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot import my_broken: ModuleNotFound")
    assert done.stderr.count("\n") == 1
    assert (
        "Traceback" in command(my_gradients, "--gradient=my_broken:f", "--debug").stderr
    )
