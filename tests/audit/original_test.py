"""Every line of the original derivation, its verdict, the tables of the document."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import audit, losses, params
from linclf_jax.audit.original import derivation, verdict
from linclf_jax.audit.original import statements as st

DOCUMENT = Path(__file__).parents[2] / "docs" / "derivation.md"
HOLDING = {"S1", "S1a", "S2 cases", "S3", "S3a", "S3b", "S4 at y", "S5c", "S5i", "S6"}
LINES = {line.name: line for line in derivation.STATEMENTS}


@pytest.fixture(scope="module")
def rows():
    return audit.claims()


@pytest.fixture(scope="module")
def document():
    return DOCUMENT.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def errata(document):
    """The table of section 11: the cells of a row by its first."""
    section = document.split("## 11.")[1].split("## 12.")[0]
    actual = re.findall(r"^\| (.*) \| (.*) \| (.*) \|$", section, re.M)
    return {label: cells for label, *cells in actual}


@pytest.fixture(scope="module")
def worked():
    """What every line gives for exp(s) = (1, 2, 5), x = (1, -2) and y = 1."""
    with jax.enable_x64(True):
        example = st.Example(
            W=jnp.zeros((2, 3)),
            b=jnp.log(jnp.array([1.0, 2.0, 5.0])),
            x=jnp.array([[1.0, -2.0]]),
            labels=jnp.array([1]),
        )

        @jax.jit
        def evaluate(e):
            lines = {
                name: (line.as_printed(e), line.as_corrected(e), line.reference(e))
                for name, line in LINES.items()
                if name[:2] not in {"S1", "S2", "S3"} and name != "S5"
            }
            first = e.printed_factor * e.true_slope
            second = e.true_factor * e.printed_slope
            return {**lines, "first mistake": first, "second mistake": second}

        return jax.tree.map(lambda array: np.asarray(array)[0], evaluate(example))


def test_every_correction_holds_and_every_verdict_is_the_expected_one(rows):
    assert [row.name for row in rows if not row.confirmed] == []
    assert {row.name for row in rows if row.verdict == audit.HOLDS} == HOLDING
    assert {f"S{n}" for n in range(1, 8)} <= {row.name for row in rows}
    assert len({row.name for row in rows}) == len(rows) == len(LINES)
    wrong = [row.printed_error.relative for row in rows if row.verdict == audit.FAILS]
    assert min(wrong) > 0.1  # by far more than rounding
    assert max(row.corrected_error.relative for row in rows) < 1e-15


def test_float32_gives_the_same_verdicts_and_the_setting_is_left_alone(rows):
    with jax.enable_x64(False):
        assert audit.claims() == rows
        narrow = audit.claims(dtype="float32")
        assert not jax.config.jax_enable_x64
    assert all(row.confirmed for row in narrow)
    assert [row.verdict for row in narrow] == [row.verdict for row in rows]
    assert max(row.corrected_error.relative for row in narrow) > 1e-9  # is float32


def test_a_row_can_fail():
    changes = [
        ({"as_corrected": lambda e: e.printed_p}, audit.FAILS),  # a wrong correction
        ({"holds": True}, audit.FAILS),  # a wrong entry in the catalogue
        ({"as_printed": lambda e: e.residual}, audit.HOLDS),  # a line quoted wrongly
        ({"as_corrected": lambda e: e.residual * jnp.nan}, audit.FAILS),
        ({"as_corrected": lambda e: e.residual * (1 + 1e-12)}, audit.FAILS),
    ]
    lines = [LINES["S7"]._replace(**change) for change, _ in changes]
    rows = audit.claims(lines)
    assert [row.verdict for row in rows] == [expected for _, expected in changes]
    for row in rows:
        assert not row.confirmed
        assert "but expected" in audit.format_claims([row])


def test_arrays_of_different_shapes_are_not_broadcast():
    with pytest.raises(ValueError, match=r"found shape \(3,\), expected \(3, 1\)"):
        derivation.difference(np.zeros(3), np.zeros((3, 1)), "float64")


def test_autodiff_sees_the_library_s_own_loss_and_no_bias_by_sample():
    e = jax.tree.map(lambda v: v[0], derivation._random_examples(1, "float64"))

    @jax.jit
    def jacobians(e):
        def loss(W, b):
            scores = params.logits(params.Params(W, b), e.x)
            return losses.softmax_cross_entropy(scores, e.labels)

        def with_bias_by_sample(bias):
            scores = e.x @ e.W + bias[:, None]
            return losses.softmax_cross_entropy(scores, e.labels).sum()

        theirs = [st.derivative("loss", field)(e) for field in ("W", "b")]
        ours = jax.jacobian(loss, argnums=(0, 1))(e.W, e.b)
        return theirs, ours, jax.grad(with_bias_by_sample)(e.b)

    theirs, ours, by_sample = jacobians(e)
    for actual, expected in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(by_sample, 0, atol=1e-15)


def test_two_mistakes_cancel_and_neither_does_alone():
    rows = audit.cancellation()
    assert [(row.factor, row.slope, row.holds) for row in rows] == [
        ("right", "right", True),
        ("printed", "right", False),
        ("right", "printed", False),
        ("printed", "printed", True),
    ]
    assert min(row.error.relative for row in rows[1:3]) > 0.1
    assert audit.format_cancellation(rows).count("FAILS") == 2


def test_what_is_not_as_catalogued_is_named(monkeypatch, rows):
    """``tests/experiments/scripts_test.py`` sees the sentence of all that is."""
    factors = derivation.cancellation()
    monkeypatch.setattr(derivation, "cancellation", lambda: factors[:3] + factors[2:3])
    wrong = rows[0]._replace(expected=audit.FAILS)
    monkeypatch.setattr(derivation, "claims", lambda: (wrong, *rows[1:]))
    text, is_confirmed = verdict.confirm()
    assert not is_confirmed
    assert text.endswith("NOT CONFIRMED: S1, the cancellation")


def test_the_table_is_aligned_and_fits_the_screen(rows):
    lines = audit.format_claims(rows).splitlines()
    assert max(map(len, lines)) <= 120
    printed = zip(rows, lines[2::3], strict=True)
    assert len({text.index(row.printed) for row, text in printed}) == 1
    assert len({re.search("holds|FAILS", t).start() for t in lines[2:] if t}) == 1


# The errata of docs/derivation.md: what it prints is computed again from the lines.
def shown(values, digits=6):
    return "(" + ", ".join(f"{v + 0:.{digits}g}" for v in np.round(values, 12)) + ")"


def rounded(values):
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"


def without_x(values):
    """Divides the factor x = (1, -2) out of what holds it."""
    if values.ndim == 1:
        return values
    np.testing.assert_allclose(values[1], -2 * values[0], atol=1e-15)
    return values[0]


GRADIENTS = [
    "S4a, S6a",
    "S5d",
    "S5e, S5f, S5g",
    "S5g own",
    "S5h, S6g",
    "S5i, both; S6",
    "S6e, S6f",
    "S6f own",
    "S6h, S7",
]


@pytest.mark.parametrize("label", GRADIENTS)
def test_the_errata_are_what_the_lines_give(errata, worked, label):
    expected = [cell.split(", of sum")[0] for cell in errata[label]]
    for name in re.findall(r"S\w+(?: own)?", label):
        printed, corrected, reference = (shown(without_x(v)) for v in worked[name])
        assert [printed, corrected, reference] == [expected[0], *2 * expected[1:]]


def test_the_errata_of_the_loss(errata):
    minus_log = -np.log([0.125, 0.25, 0.625])
    assert errata["S4"] == [rounded(minus_log), f"{np.log(4):.3f}"]
    soft = np.array([0.1, 0.8, 0.1])
    values = -np.log(soft @ np.exp(-minus_log)), soft @ minus_log
    assert errata["S1 soft, $t = (0.1, 0.8, 0.1)$"] == [f"{v:.3f}" for v in values]
    s = np.array([100, 101, 102], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(np.exp(s) / np.exp(s).sum()).all()
    probs = np.exp(s - 102) / np.exp(s - 102).sum()
    assert errata["S1 large, S3 large, $s = (100, 101, 102)$ in float32"] == [
        "NaN",
        f"{-np.log(probs[1]):.3f}; {rounded(probs)}",
    ]


def test_the_errata_of_each_mistake_alone(errata, worked):
    right = shown(without_x(worked["S6"][2]))
    for mistake in ("first mistake", "second mistake"):
        assert errata[f"S5i, {mistake} alone"] == [shown(worked[mistake]), right]


def test_the_document_numbers_its_equations_in_order(document):
    assert re.findall(r"\\tag\{(\d+)\}", document) == [str(n) for n in range(1, 41)]


def test_the_document_gives_every_line_its_verdict(document, rows):
    actual = dict(
        re.findall(r"^\| (S\d[^|]*?) \|.*\| \*\*(\w[^*|]*)\*\*", document, re.M)
    )
    assert actual == {row.name: row.verdict for row in rows}
