"""Gradients by name, and the verdict on all lines of the original derivation."""

import sys

import pytest

from linclf_jax import audit
from linclf_jax.audit import loading
from linclf_jax.audit.original import derivation, verdict

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
"""


@pytest.fixture
def my_gradients(tmp_path, monkeypatch):
    """A folder of modules with a researcher's modules in it."""
    (tmp_path / "my_gradients.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "my_exit.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_gradients", "my_broken", "my_exit"):
        sys.modules.pop(name, None)


def test_the_derivation_is_confirmed():
    confirmed = verdict.confirm()
    assert confirmed.is_confirmed
    assert confirmed.text.endswith(
        "38 lines: 10 hold, 28 fail as printed; "
        "every verdict and correction is confirmed"
    )
    assert max(map(len, confirmed.text.splitlines())) <= 120
    assert "printed * printed" in confirmed.text


def test_an_unconfirmed_line_is_named(monkeypatch):
    row = derivation.claims()[0]._replace(expected=audit.FAILS)
    monkeypatch.setattr(derivation, "claims", lambda: (row,))
    text, is_confirmed = verdict.confirm()
    assert not is_confirmed
    assert text.endswith("NOT CONFIRMED: S1")


def test_a_cancellation_that_does_not_cancel_is_not_confirmed(monkeypatch):
    factors = derivation.cancellation()
    monkeypatch.setattr(derivation, "claims", lambda: ())
    wrong = factors[:3] + factors[2:3]
    monkeypatch.setattr(derivation, "cancellation", lambda: wrong)
    text, is_confirmed = verdict.confirm()
    assert not is_confirmed
    assert text.endswith("NOT CONFIRMED: the cancellation")


@pytest.mark.usefixtures("my_gradients")
def test_a_gradient_is_found_by_its_name():
    assert audit.audit_gradient(loading.load("my_gradients:right")).passed


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
        loading.load(path)
