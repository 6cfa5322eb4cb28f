"""The auditor passes what is right, names what is wrong, and refuses bad cases.

``tests/slow/audit_test.py`` puts every known fault and many right gradients to it.
"""

import functools
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linclf_jax import audit
from linclf_jax.audit import cases, diagnosis, faults, outcomes, reference
from tests.audit.written_gradients import (
    HINGES,
    LOSSES,
    SIGMOID,
    SOFTMAX,
    by_library,
    by_numpy,
    by_numpy_of_targets,
    planted,
)

every_loss = pytest.mark.parametrize("loss", LOSSES)


@pytest.mark.parametrize(
    ("write", "loss"), [(by_library, SOFTMAX), *((by_numpy, loss) for loss in LOSSES)]
)
def test_right_gradients_pass_and_settings_are_left_alone(write, loss):
    with jax.enable_x64(False):
        result = audit.audit_gradient(write(loss), loss=loss)
        assert not jax.config.jax_enable_x64
    assert result.passed, str(result)
    assert (result.diagnosis, result.notes) == ("", ())
    assert len(result.rows) == 4 * 24
    assert {row.dtype for row in result.rows} == {"float32", "float64"}
    assert {row.part for row in result.rows} == {"W", "b"}
    wide = [row.autodiff_error for row in result.rows if row.dtype == "float64"]
    assert max(wide) < 1e-12  # float64 in earnest


@pytest.mark.parametrize("write", [by_library(SIGMOID), by_numpy_of_targets])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_right_gradients_of_targets_pass(write, l2):
    result = audit.audit_gradient(write, loss=SIGMOID, l2=l2, targets=True)
    assert result.passed, str(result)
    assert (result.notes, len(result.rows)) == ((), 4 * 24)


def without_mask(params, x, targets, l2):
    return by_numpy_of_targets(params, x, np.maximum(targets, 0), l2)


def mean_over_known(params, x, targets, l2):
    dW, db = by_numpy_of_targets(params, x, targets, 0.0)
    scale = np.asarray(targets).shape[0] / (np.asarray(targets) >= 0).sum()
    return dW * scale + l2 * np.asarray(params.W), db * scale


def summed_without_penalty(params, x, targets, l2):
    return [len(x) * g for g in by_numpy_of_targets(params, x, targets, 0.0)]


def by_softmax(params, x, targets, l2):
    W, b, x, targets = map(np.asarray, (*params, x, targets))
    s = x @ W + b
    p = np.exp(s - s.max(axis=1, keepdims=True))
    r = np.where(targets < 0, 0, p / p.sum(axis=1, keepdims=True) - targets)
    return (x.T @ r / len(x) + l2 * W).astype(x.dtype), r.mean(axis=0).astype(x.dtype)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("unknown labels counted as 0", without_mask),
        ("mean over all known labels", mean_over_known),
        ("1/N and penalty both missing", summed_without_penalty),
        ("softmax for sigmoid", by_softmax),
    ],
)
def test_a_fault_beside_a_mask_is_named(name, wrong):
    wrong = functools.partial(audit.audit_gradient, wrong, loss=SIGMOID)
    assert wrong(targets=True).diagnosis == name
    one = cases._with_targets(np.random.default_rng(0), mine())
    result = wrong(cases=[one])
    assert not result.passed
    assert name in result.diagnosis


def test_targets_are_of_the_sigmoid_alone():
    with pytest.raises(ValueError, match="'softmax_cross_entropy'; expected 'sigmoid_"):
        audit.audit_gradient(by_numpy(SOFTMAX), targets=True)


# Faults written again, as someone would write them in NumPy, with the name they should
# get: formulas of the terms q of a gradient.
def written(formula):
    def gradient(params, x, labels, l2):
        W, b, x, labels = map(np.asarray, (*params, x, labels))
        p = np.exp(x @ W + b - (x @ W + b).max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        t = (labels[:, None] == np.arange(b.size)).astype(x.dtype)
        total_W, total_b = x.T @ (p - t), (p - t).sum(axis=0)
        right = {"dW": total_W / len(x) + l2 * W, "db": total_b / len(x)}
        sums = {"total_W": total_W, "total_b": total_b}
        terms = {"W": W, "b": b, "x": x, "l2": l2, "p": p, "t": t, "n": len(x)}
        return formula(SimpleNamespace(**terms, **sums, **right))

    return gradient


def with_residual(r):
    """A right gradient but for its residual."""
    return lambda q: (q.x.T @ r(q) / q.n + q.l2 * q.W, r(q).sum(axis=0) / q.n)


def softmax_of_softmax(q):
    again = np.exp(q.p) / np.exp(q.p).sum(axis=1, keepdims=True)
    inner = (q.p * (again - q.t)).sum(axis=1, keepdims=True)
    return q.p * (again - q.t - inner)


NEITHER = "1/N and penalty both missing"
ORIGINAL = "the original as it stands: S6, S7, no 1/N, no penalty"
DIAGONAL = "chain rule on the diagonal alone: only the true class learns, S4a"
WRITTEN = {
    "bias gradient = P, S7": lambda q: (q.dW, q.p.sum(axis=0) / q.n),
    "1/N missing from the data term": lambda q: (q.total_W + q.l2 * q.W, q.total_b),
    "1/N missing from the bias gradient": lambda q: (q.dW, q.total_b),
    NEITHER: lambda q: (q.total_W, q.total_b),
    ORIGINAL: lambda q: (q.total_W, q.p.sum(axis=0)),
    "dW transposed": lambda q: (q.dW.T, q.db),
    "penalty doubled: l2 ||W||^2 without the half": (
        lambda q: (q.dW + q.l2 * q.W, q.db)
    ),
    "penalty missing": lambda q: (q.total_W / q.n, q.db),
    "penalty divided by N": lambda q: ((q.total_W + q.l2 * q.W) / q.n, q.db),
    "bias penalised": lambda q: (q.dW, q.db + q.l2 * q.b),
    "bias gradient of shape (1, C)": lambda q: (q.dW, q.db[None]),
    "x not transposed in dW": (lambda q: (q.x @ (q.p - q.t) / q.n + q.l2 * q.W, q.db)),
    "mean over the classes as well: 1/C": with_residual(
        lambda q: (q.p - q.t) / q.p.shape[1]
    ),
    DIAGONAL: with_residual(lambda q: -q.t * (1 - q.p)),
    "true class missing": with_residual(lambda q: np.where(q.t == 1, 0, q.p)),
    "sign: the data term alone, target minus prediction": with_residual(
        lambda q: q.t - q.p
    ),
    "targets never subtracted": with_residual(lambda q: q.p),
    "one-hot from the prediction": with_residual(
        lambda q: q.p - (q.p == q.p.max(axis=1, keepdims=True))
    ),
    "an extra factor p (1 - p)": with_residual(lambda q: (q.p - q.t) * q.p * (1 - q.p)),
    "softmax applied twice": with_residual(softmax_of_softmax),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_known_fault_is_named_however_it_is_written(name):
    result = audit.audit_gradient(written(WRITTEN[name]))
    assert not result.passed
    assert result.diagnosis == name


@pytest.mark.parametrize(
    ("name", "without_penalty"),
    [(NEITHER, "1/N missing from the data term"), (ORIGINAL, ORIGINAL)],
)
def test_a_missing_penalty_is_not_held_against_a_loss_without_one(
    name, without_penalty
):
    result = audit.audit_gradient(written(WRITTEN[name]), l2=0)
    assert result.diagnosis == without_penalty


@pytest.mark.parametrize(
    ("labels_of", "rows_of"),
    [
        (lambda labels: np.minimum(labels, 4), lambda x: x),
        (lambda labels: labels % 11, lambda x: x),
        (lambda labels: labels, lambda x: x[:128]),
        (lambda labels: labels, lambda x: x[:100]),
    ],
)
def test_a_fault_that_only_a_larger_problem_shows_is_caught(labels_of, rows_of):
    """Right but for classes or rows that small problems do not have."""

    def gradient(params, x, labels, l2):
        x, labels = rows_of(np.asarray(x)), rows_of(labels_of(np.asarray(labels)))
        return by_numpy(SOFTMAX)(params, x, labels, l2)

    failed = [row for row in audit.audit_gradient(gradient).rows if not row.passed]
    assert {row.case for row in failed} == {"many rows and classes"}


def changed(change):
    """A right gradient of softmax cross-entropy, with its result changed."""

    def wrong(params, x, labels, l2):
        dW, db = by_numpy(SOFTMAX)(params, x, labels, l2)
        return change(dW, db, l2 * params.W)

    return wrong


def in_float32_only(gradient):
    def narrow(params, x, labels, l2):
        if x.dtype != np.float32:
            raise TypeError(f"expected float32, found {x.dtype}")
        return gradient(params, x, labels, l2)

    return narrow


def casting_to_float32(gradient, back):
    def narrow(params, x, labels, l2):
        wide = np.asarray(x).dtype if back else np.float32
        W, b, x = (np.asarray(array, np.float32) for array in (*params, x))
        params = params._replace(W=W, b=b)
        return [np.asarray(g, wide) for g in gradient(params, x, labels, l2)]

    return narrow


def unit_length(dW, db, _):
    norm = np.hypot(np.linalg.norm(dW), np.linalg.norm(db))
    return dW / norm, db / norm


def zero_coordinate(dW, db, _):
    dW.flat[0] = 0
    return dW, db


ONLY_W = "dW: no catalogued fault reproduces it; db: right"
ONLY_B = "dW: right; db: no catalogued fault reproduces it"
# What is not catalogued, and what the diagnosis says of it.
UNKNOWN = {
    "the right gradient times 1.01": lambda dW, db, _: (1.01 * dW, 1.01 * db),
    "the right gradient times 0": lambda dW, db, _: (0 * dW, 0 * db),
    "dW: penalty missing; db: sign: the whole gradient": (
        lambda dW, db, penalty: (dW - penalty, -db)
    ),
    f"{ONLY_W} (scaled)": lambda dW, db, _: (1.001 * dW, db),
    f"{ONLY_W} (features reversed)": lambda dW, db, _: (dW[::-1], db),
    f"{ONLY_W} (one coordinate zero)": zero_coordinate,
    f"{ONLY_W} (penalty with 1.1 l2)": lambda dW, db, pen: (dW + pen / 10, db),
    f"{ONLY_W} (first feature dropped)": lambda dW, db, _: (dW[1:], db),
    f"{ONLY_B} (a small constant)": lambda dW, db, _: (dW, db + db.dtype.type(1e-4)),
    f"{diagnosis.NONE} (clipped)": (
        lambda dW, db, _: (dW.clip(-0.05, 0.05), db.clip(-0.05, 0.05))
    ),
    f"{diagnosis.NONE} (length 1)": unit_length,
    f"{diagnosis.NONE} (classes reversed)": lambda dW, db, _: (dW[:, ::-1], db[::-1]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_fault_is_caught_and_not_named(name):
    wrong = changed(UNKNOWN[name])
    for gradient in (wrong, in_float32_only(wrong)):
        result = audit.audit_gradient(gradient)
        assert not result.passed
        assert result.diagnosis == name.partition(" (")[0]


@pytest.mark.parametrize("l2", [1e-9, 1e-3])
def test_a_wrong_penalty_is_caught_however_small(l2):
    names = {0.0: "penalty missing", 0.5: "penalty halved", 2.0: "penalty doubled"}
    for factor, name in names.items():
        wrong = changed(lambda dW, db, pen, f=factor: (dW + (f - 1) * pen, db))
        for gradient in (wrong, in_float32_only(wrong)):
            result = audit.audit_gradient(gradient, l2=l2)
            assert not result.passed
            assert result.diagnosis.startswith(name)


@every_loss
def test_a_gradient_that_computes_in_float32_passes_with_a_note(loss):
    right = by_numpy(loss)
    judged = "judged by float32 rounding"
    notes = {
        "it takes no float64: audited in float32 alone": in_float32_only(right),
        f"it returns float32 for float64: {judged}": casting_to_float32(right, False),
        f"it computes in float32 on the way: {judged}": casting_to_float32(right, True),
    }
    for note, gradient in notes.items():
        result = audit.audit_gradient(gradient, loss=loss)
        assert result.passed, str(result)
        assert result.notes == (note,)
        assert note in str(result)


def test_a_float32_error_in_float64_is_not_excused():
    wrong = changed(lambda dW, db, _: (dW, db * (1 + 1e-7)))
    assert not audit.audit_gradient(wrong).passed


class Stateful:
    """Returns the gradient of the call before."""

    def __init__(self):
        self.last = (np.zeros((5, 5)), np.zeros(5))

    def __call__(self, params, x, labels, l2):
        result, self.last = self.last, by_numpy(SOFTMAX)(params, x, labels, l2)
        return result


PAIR = "expected the pair (dW, db)"
FLOAT = "expected float32 or float64"
BROKEN = {
    "raised KeyError: 'W'": lambda *_: {}["W"],
    f"returned dict; {PAIR}": lambda *a: a[0]._asdict(),
    f"returned NoneType; {PAIR}": lambda *_: None,
    f"returned tuple; {PAIR}": lambda *a: (*a[0], 0.0),
    f"dW is int64; {FLOAT}": lambda *a: (np.zeros(a[0].W.shape, int), a[0].b),
    f"dW is bfloat16; {FLOAT}": (
        lambda *a: (np.asarray(a[0].W).astype(jnp.bfloat16), a[0].b)
    ),
    "it gives another result when it is called again": Stateful(),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_what_is_no_gradient_at_all_fails_and_says_why(reason):
    result = audit.audit_gradient(BROKEN[reason])
    assert not result.passed
    assert reason in result.diagnosis
    assert "FAILED" in str(result)


def test_a_row_locates_nan_shapes_and_the_worst_coordinate():
    def unreadable(dW, db, _):
        dW[-1, -1] = np.nan
        return dW, db[:, None]

    row_W, row_b = audit.audit_gradient(changed(unreadable)).rows[:2]
    assert row_W.remark == "1 of 25 entries not finite, first at [4, 4]"
    assert row_b.remark == "shape (5, 1); expected (5,)"
    assert row_W.ratio == row_b.ratio == np.inf

    def off_by_1(dW, db, _):
        db[2] += 1
        return dW, db

    row_W, row_b = audit.audit_gradient(changed(off_by_1)).rows[:2]
    assert row_W.passed
    assert not row_b.passed
    assert row_b.remark.startswith("db[2] is ")
    np.testing.assert_allclose([row_b.autodiff_error, row_b.differences_error], 1, 1e-6)


@every_loss
def test_autodiff_central_differences_and_the_hand_gradient_agree(loss):
    for case in cases.standard(seed=5):
        problem = reference.problem(case, loss)
        by_hand = reference.gradient(problem.terms)
        allowed = reference.rounding(problem.terms, "float64")
        error = reference.differences_error(problem.terms)
        for hand, autodiff, differences, rounding in zip(
            by_hand, problem.autodiff, problem.differences, allowed, strict=True
        ):
            assert autodiff.dtype == np.float64
            assert np.all(abs(hand - autodiff) <= rounding), case.name
            assert np.all(abs(differences - autodiff) <= error + rounding), case.name


def test_the_cases_are_adversarial():
    some = {case.name: case for case in cases.standard()}
    shapes = {(len(c.x), *c.params.W.shape) for c in some.values()}
    assert {(5, 5, 5), (1, 3, 4), (7, 3, 1), (7, 3, 2), (7, 1, 4)} <= shapes
    assert (130, 9, 12) in shapes
    assert {c.l2 for c in some.values()} == {0.0, 0.025, 0.1}
    assert all(c.params.b.all() for c in some.values())
    assert not some["W = 0"].params.W.any()
    assert 0 < abs(some["tiny W"].params.W).max() < 1e-5
    assert len(np.unique(some["duplicate rows"].x, axis=0)) == 3
    assert 3 not in some["an empty class"].labels
    assert np.ptp(some["constant columns"].x[:, :2], axis=0).max() == 0
    for case in some.values():
        for array in (*case.params, case.x):
            np.testing.assert_array_equal(array, array.astype(np.float32))
    again = cases.standard()[0]
    np.testing.assert_array_equal(some[again.name].x, again.x)


def test_no_case_is_near_a_kink(monkeypatch):
    def near(seeds):
        drawn = (case for seed in seeds for case in cases.standard(seed=seed))
        return [case.name for case in drawn if is_near(case)]

    is_near = cases._near_a_kink
    assert near(range(20)) == []
    monkeypatch.setattr(cases, "_near_a_kink", lambda _: False)
    assert near(range(20)) != []  # which is not by chance


def test_the_table_fits_the_screen():
    name = "bias gradient = P, S7"
    wrong = planted(faults.catalogue(SOFTMAX)[name], SOFTMAX)
    lines = str(audit.audit_gradient(wrong)).splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[-1] == f"diagnosis: {name}"
    assert len(lines) == 3 + 24 + 4
    assert all("!" in text for text in lines[3:27])


def mine(**changes):
    """A case of one's own: N = 7, D = 3, C = 5."""
    case = cases._draw(np.random.default_rng(2), "mine", 7, 3, 5, 0.1)
    return cases._with(case, **changes)


def with_entry(array, value):
    array = array.copy()
    array.flat[4] = value
    return array


X, LABELS, (W, B) = mine().x, mine().labels, mine().params


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "no loss is named 'hinge'"),
        ({"l2": -1.0}, "l2 is -1.0; expected a finite number, at least 0"),
        ({"l2": float("nan")}, "l2 is nan"),
        ({"l2": float("inf")}, "l2 is inf"),
        ({"l2": 1e30}, r"l2 is 1e\+30; .* at most 1e\+06"),
        ({"cases": ()}, "found no cases"),
        ({"cases": [mine(), mine(l2=0.0)]}, "2 cases are named 'mine'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        audit.audit_gradient(by_numpy(SOFTMAX), **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": with_entry(LABELS, 13)},
            r"labels: 1 of 7 entries are invalid, the first is labels\[4\] = 13; "
            r"expected integers in 0\.\.4",
        ),
        ({"labels": LABELS[:6]}, "x has 7 rows but labels has 6 entries"),
        ({"x": with_entry(X, np.nan)}, r"x: 1 of 21 .* x\[1, 1\] = nan"),
        ({"x": with_entry(X, 1e7)}, r"x\[1, 1\] = 10000000.0; .* size at most 1e\+06"),
        ({"x": X[:, :2]}, r"W has shape \(3, 5\); expected \(2, C\)"),
        ({"W": with_entry(W, np.inf)}, r"W: 1 of 15 .* W\[0, 4\] = inf"),
        ({"b": with_entry(B, np.nan)}, r"b: 1 of 5 .* b\[4\] = nan"),
        ({"b": B[None]}, r"b has shape \(1, 5\); expected \(5,\)"),
        ({"l2": 2e6}, "l2 is 2000000.0"),
    ],
)
def test_a_bad_case_is_refused_and_named(changes, message):
    def never(*_):
        raise AssertionError("called on a case that should have been refused")

    with pytest.raises(ValueError, match=f"case 'mine': .*({message})"):
        audit.audit_gradient(never, cases=[mine(**changes)])


@pytest.mark.parametrize("loss", HINGES)
def test_a_case_at_a_kink_is_refused(loss):
    scores_apart_by_1 = np.array([1.0, 0, 0, 0, 0])
    kink = mine(W=np.zeros((3, 5)), b=scores_apart_by_1, labels=np.zeros(7, int))
    with pytest.raises(ValueError, match="case 'mine': autodiff and central differ"):
        audit.audit_gradient(by_numpy(loss), loss=loss, cases=[kink])
    assert audit.audit_gradient(by_numpy(SOFTMAX), cases=[kink]).passed


@every_loss
def test_cases_of_one_s_own_may_be_any_arrays_and_any_float64(loss):
    case = mine(x=np.random.default_rng(4).normal(size=(7, 3)), l2=np.float32(0.3))
    jax_case = case._replace(
        params=tuple(map(jnp.asarray, case.params)),
        x=jnp.asarray(case.x),
        labels=case.labels.tolist(),
    )
    whole = mine(x=np.arange(21).reshape(7, 3))
    for some in (case, jax_case, whole):
        assert audit.audit_gradient(by_numpy(loss), loss=loss, cases=[some]).passed


def test_the_diagnosis_tells_how_far_off_a_nearly_right_gradient_is():
    def diagnosed(change, case):
        result = audit.audit_gradient(changed(change), cases=[case])
        wide = [row.ratio for row in result.rows if row.dtype == "float64"]
        return result.diagnosis, max(wide)

    def last_digits(dW, db, _):
        return dW, db + 100 * np.finfo(db.dtype).eps

    actual, worst = diagnosed(last_digits, mine())
    assert 1 < worst < 8
    off = f"off by up to {worst:.3g} times float64 rounding"
    assert actual == f"the right gradient, but {off}"

    def last_coordinate(dW, db, _):
        return dW, db * np.array([1, 1, 1, 1, 1.5], db.dtype)

    # The last class has almost no probability, and so almost no rounding.
    b = np.array([0.0, 0.0, 0.0, 0.0, -40.0])
    actual, worst = diagnosed(last_coordinate, mine(b=b, labels=np.arange(7) % 4))
    assert worst > 1000
    off = f"smaller ones are off by up to {worst:.3g} times float64 rounding"
    assert actual == f"the right gradient in its largest entries; {off}"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mine", "--gradient is 'mine'; expected package.module:function"),
        (":right", "expected package.module:function"),
        ("no_such_module:f", "cannot load no_such_module:f: ModuleNotFoundError"),
        ("broken:f", "cannot load broken:f: ModuleNotFoundError: No module named 'not"),
        ("exits:f", "cannot load exits:f: SystemExit"),
        ("mine:absent", "cannot load mine:absent: AttributeError: .* 'absent'"),
        ("mine:number", "mine:number is of type int; expected a function"),
    ],
)
def test_a_gradient_is_loaded_by_its_name(path, message, tmp_path, monkeypatch):
    modules = {
        "mine": "number = 3\nright = print\n",
        "broken": "import nothing_of_that_name\n",
        "exits": "raise SystemExit(0)\n",
    }
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert outcomes.load("mine:right") is print
    with pytest.raises(ValueError, match=message):
        outcomes.load(path)
    monkeypatch.delitem(sys.modules, "mine")
