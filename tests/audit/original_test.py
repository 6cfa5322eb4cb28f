import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import audit, losses, params
from linclf_jax.audit.original import derivation
from linclf_jax.audit.original import statements as st

DOCUMENT = Path(__file__).parents[2] / "docs" / "derivation.md"

# exp(s) = (1, 2, 5), so that p = (1/8, 1/4, 5/8); x = (1, -2); y = 1.
WORKED = st.Example(
    W=jnp.zeros((2, 3)),
    b=jnp.log(jnp.array([1.0, 2.0, 5.0])),
    x=jnp.array([[1.0, -2.0]]),
    labels=jnp.array([1]),
)
HOLDING = {"S1", "S1a", "S2 cases", "S3", "S3a", "S3b", "S4 at y", "S5c", "S5i", "S6"}


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
    found = re.findall(r"^\| (.*) \| (.*) \| (.*) \|$", section, re.M)
    return {label: cells for label, *cells in found}


def line(name):
    return next(s for s in derivation.STATEMENTS if s.name == name)


def test_every_correction_holds_and_every_verdict_is_the_expected_one(rows):
    assert [row.name for row in rows if not row.confirmed] == []
    assert {row.name for row in rows if row.verdict == audit.HOLDS} == HOLDING
    assert {f"S{n}" for n in range(1, 8)} <= {row.name for row in rows}
    assert len({row.name for row in rows}) == len(rows) == len(derivation.STATEMENTS)


def test_wrong_lines_are_wrong_by_far_more_than_rounding(rows):
    wrong = [row.printed_error.relative for row in rows if row.verdict == audit.FAILS]
    right = [row.corrected_error.relative for row in rows]
    assert min(wrong) > 0.1
    assert max(right) < 1e-15


def test_float32_gives_the_same_verdicts(rows):
    narrow = audit.claims(dtype="float32")
    assert all(row.confirmed for row in narrow)
    assert [row.verdict for row in narrow] == [row.verdict for row in rows]
    assert max(row.corrected_error.relative for row in narrow) > 1e-9  # is float32


def test_float64_does_not_need_or_touch_the_process_setting():
    with jax.enable_x64(False):
        (row,) = audit.claims([line("S6")], seeds=1)
        assert not jax.config.jax_enable_x64
    assert 0 < row.corrected_error.relative < 1e-15


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"as_corrected": st.printed_probs}, audit.FAILS),  # a wrong correction
        ({"holds": True}, audit.FAILS),  # a wrong entry in the catalogue
        ({"as_printed": st.residual}, audit.HOLDS),  # a line quoted wrongly
        ({"as_corrected": lambda e: st.residual(e) * jnp.nan}, audit.FAILS),
        ({"as_corrected": lambda e: st.residual(e) * (1 + 1e-12)}, audit.FAILS),
    ],
)
def test_a_row_can_fail(change, verdict):
    (row,) = audit.claims([line("S7")._replace(**change)], seeds=2)
    assert row.verdict == verdict
    assert not row.confirmed
    assert "but expected" in audit.format_claims([row])


def test_arrays_of_different_shapes_are_not_broadcast():
    with pytest.raises(ValueError, match=r"found shape \(3,\), expected \(3, 1\)"):
        derivation.difference(np.zeros(3), np.zeros((3, 1)))


def test_autodiff_sees_the_library_s_own_loss():
    e = derivation._random_examples(1, "float64")
    e = jax.tree.map(lambda value: value[0], e)

    def loss(W, b):
        scores = params.logits(params.Params(W, b), e.x)
        return losses.softmax_cross_entropy(scores, e.labels)

    np.testing.assert_allclose(st.loss(e), loss(e.W, e.b), rtol=1e-14)
    for field, position in (("W", 0), ("b", 1)):
        expected = jax.jacobian(loss, argnums=position)(e.W, e.b)
        found = st.autodiff(st.loss, field)(e)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_two_mistakes_cancel_and_neither_does_alone():
    rows = audit.cancellation(seeds=3)
    assert [(row.factor, row.slope, row.holds) for row in rows] == [
        ("right", "right", True),
        ("printed", "right", False),
        ("right", "printed", False),
        ("printed", "printed", True),
    ]
    assert min(row.error.relative for row in rows[1:3]) > 0.1
    assert audit.format_cancellation(rows).count("FAILS") == 2


def test_a_bias_by_sample_taken_at_its_word_has_no_gradient():
    e = jax.tree.map(lambda v: v[0], derivation._random_examples(1, "float64"))

    def loss(bias_by_sample):
        scores = e.x @ e.W + bias_by_sample[:, None]
        return losses.softmax_cross_entropy(scores, e.labels).sum()

    np.testing.assert_allclose(jax.grad(loss)(e.b), 0, atol=1e-15)


def test_the_table_is_aligned_and_fits_the_screen(rows):
    lines = audit.format_claims(rows).splitlines()
    assert max(map(len, lines)) <= 120
    printed = zip(rows, lines[2::3], strict=True)
    assert len({text.index(row.printed) for row, text in printed}) == 1
    assert len({re.search("holds|FAILS", t).start() for t in lines[2:] if t}) == 1


# The errata of docs/derivation.md: what it prints is computed again from the lines.
def at_worked_example(name, which):
    """A line at the worked example, with the factor x divided out."""
    values = np.asarray(getattr(line(name), which)(WORKED))[0]
    if values.ndim == 2 and name != "S6d":
        np.testing.assert_allclose(values[1], -2 * values[0], atol=1e-15)
        values = values[0]
    return values


def shown(values, digits=6):
    return "(" + ", ".join(f"{v + 0:.{digits}g}" for v in np.round(values, 12)) + ")"


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
def test_the_errata_are_what_the_lines_give(errata, label):
    printed, right = (cell.split(", of sum")[0] for cell in errata[label])
    for name in re.findall(r"S\w+(?: own)?", label):
        assert printed == shown(at_worked_example(name, "as_printed"))
        assert right == shown(at_worked_example(name, "reference"))
        assert right == shown(at_worked_example(name, "as_corrected"))


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


def test_the_errata_of_each_mistake_alone(errata):
    right = shown(at_worked_example("S6", "reference"))
    first = at_product(st.printed_factor, st.true_slope)
    second = at_product(st.true_factor, st.printed_slope)
    assert errata["S5i, first mistake alone"] == [shown(first), right]
    assert errata["S5i, second mistake alone"] == [shown(second), right]


def rounded(values):
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"


def at_product(factor, slope):
    return np.asarray(factor(WORKED) * slope(WORKED))[0]


def test_the_document_numbers_its_equations_in_order(document):
    assert re.findall(r"\\tag\{(\d+)\}", document) == [str(n) for n in range(1, 35)]


def test_the_document_gives_every_line_its_verdict(document, rows):
    found = dict(
        re.findall(r"^\| (S\d[^|]*?) \|.*\| \*\*(\w[^*|]*)\*\*", document, re.M)
    )
    assert found == {row.name: row.verdict for row in rows}
