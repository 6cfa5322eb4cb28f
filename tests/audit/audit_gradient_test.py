import functools
import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linclf_jax import audit, gradients, losses
from linclf_jax.audit import cases, diagnosis, faults, reference
from linclf_jax.audit.cases import Case, HostParams

LOSSES = tuple(losses.LOSSES)
SOFTMAX, SUM_HINGE, MAX_HINGE = LOSSES

# Of many small programs that run a few times each, most of the time is compilation.
jit_quickly = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


# Right gradients, each written in another way.
def by_library(loss):
    return functools.partial(_by_library, loss=loss)


@functools.partial(jit_quickly, static_argnames="loss")
def _by_library(params, x, labels, l2, loss):
    return gradients.objective_gradient(params, x, labels, loss=loss, l2=l2)


def by_numpy(loss):
    def gradient(params, x, labels, l2):
        W, b, x, labels = map(np.asarray, (*params, x, labels))
        rows = np.arange(len(x))
        s = x @ W + b
        if loss == SOFTMAX:
            r = np.exp(s - s.max(axis=1, keepdims=True))
            r /= r.sum(axis=1, keepdims=True)
            r[rows, labels] -= 1
        else:
            gaps = s - s[rows, labels][:, None] + 1
            gaps[rows, labels] = 0
            r = (gaps > 0).astype(x.dtype)
            if loss == MAX_HINGE:
                r *= np.arange(s.shape[1]) == gaps.argmax(axis=1)[:, None]
            r[rows, labels] = -r.sum(axis=1)
        return x.T @ r / len(x) + l2 * W, r.mean(axis=0)

    return gradient


def by_loop(loss):
    """One example after the other, accumulated; softmax through log-sum-exp."""
    by_row = by_numpy(loss)

    def gradient(params, x, labels, l2):
        W, x, labels = map(np.asarray, (params.W, x, labels))
        dW, db = l2 * W, np.zeros(W.shape[1], W.dtype)
        for i in range(len(x)):
            one_W, one_b = by_row(params, x[i : i + 1], labels[i : i + 1], 0.0)
            dW, db = dW + one_W / len(x), db + one_b / len(x)
        return [dW.astype(x.dtype), db.astype(x.dtype)]

    return gradient


@functools.cache
def by_autodiff_of_optax(loss):
    value = {
        SOFTMAX: optax.softmax_cross_entropy_with_integer_labels,
        SUM_HINGE: lambda s, y: _gaps(s, y).clip(0).sum(axis=1),
        MAX_HINGE: lambda s, y: _gaps(s, y).max(axis=1).clip(0),
    }[loss]

    def objective(params, x, labels, l2):
        scores = x @ params.W + params.b[None, :]
        return value(scores, labels).mean() + l2 / 2 * (params.W**2).sum()

    return jit_quickly(jax.grad(objective))


def _gaps(s, y):
    true = y[:, None] == jnp.arange(s.shape[1])[None, :]
    chosen = jnp.where(true, s, 0).sum(axis=1, keepdims=True)
    return jnp.where(true, -jnp.inf, s - chosen + 1)


RIGHT = {
    "library": by_library,
    "numpy": by_numpy,
    "loop": by_loop,
    "autodiff": by_autodiff_of_optax,
}


def planted(fault, loss):
    """A catalogued fault as a researcher's function, in the dtype that it is given."""

    def gradient(params, x, labels, l2):
        W, b, x, labels = map(np.asarray, (*params, x, labels))
        case = Case("", HostParams(W, b), x, labels, l2)
        with np.errstate(all="ignore"):
            return tuple(g.astype(x.dtype) for g in fault(reference.pieces(case, loss)))

    return gradient


def changed(change, gradient=None):
    """A right gradient of softmax cross-entropy, with its result changed."""
    gradient = gradient or by_numpy(SOFTMAX)

    def wrong(params, x, labels, l2):
        dW, db = gradient(params, x, labels, l2)
        return change(dW, db, l2 * params.W)

    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("l2", [0.0, 1e-6, 0.1, 10.0])
def test_right_gradients_pass(name, loss, l2):
    result = audit.audit_gradient(RIGHT[name](loss), loss=loss, l2=l2)
    assert result.passed, str(result)
    assert result.diagnosis == ""
    assert result.notes == ()
    dtypes = {row.dtype for row in result.rows}
    assert (dtypes, len(result.rows)) == ({"float32", "float64"}, 4 * 24)
    assert {row.part for row in result.rows} == {"W", "b"}


@pytest.mark.parametrize("loss", LOSSES)
def test_no_false_alarm_on_a_thousand_random_cases(loss):
    functions = {name: make(loss) for name, make in RIGHT.items()}
    rng, count, closest = np.random.default_rng(7), 0, 0.0
    for seed, name in zip(range(1, 16), 4 * list(functions), strict=False):
        some = cases.standard(l2=float(10 ** rng.uniform(-6, 1)), seed=seed)
        result = audit.audit_gradient(functions[name], loss=loss, cases=some)
        assert result.passed, f"seed {seed}, {name}\n{result}"
        closest = max(closest, *(row.ratio for row in result.rows))
        count += len(some)
    assert count >= 334  # of each of the three losses
    assert closest > 0.01  # a tolerance that nothing comes near would catch nothing


@pytest.mark.parametrize("name", RIGHT)
def test_no_false_alarm_on_larger_problems(name):
    rng = np.random.default_rng(3)
    some = [cases._draw(rng, str(n), n, d, c, 0.01) for n, d, c in [(300, 40, 10)]]
    assert audit.audit_gradient(RIGHT[name](SOFTMAX), cases=some).passed


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_every_catalogued_fault_is_caught_and_named(loss):
    catalogue = faults.catalogue(loss)
    found = {
        name: audit.audit_gradient(planted(fault, loss), loss=loss)
        for name, fault in catalogue.items()
    }
    assert {name: result.diagnosis for name, result in found.items()} == {
        name: name for name in catalogue
    }
    assert not any(result.passed for result in found.values())
    assert len(catalogue) >= 40


@pytest.mark.parametrize("loss", LOSSES)
def test_no_two_faults_are_the_same_on_all_cases(loss):
    some = cases.standard()
    catalogue = {"right": reference.gradient, **faults.catalogue(loss)}
    evidence = [
        diagnosis.Evidence(
            (c := reference.pieces(case, loss)),
            diagnosis.Outcome(None, "float64"),
            reference.rounding(c._replace(loss=SOFTMAX), "float64"),
        )
        for case in some
    ]
    pieces = [item.pieces for item in evidence]
    results = {name: diagnosis._run(f, pieces) for name, f in catalogue.items()}
    for (a, found), (b, other) in itertools.combinations(results.items(), 2):
        shown = [
            item._replace(
                outcome=diagnosis.Outcome(g, "float64", "" if g else "raised ")
            )
            for item, g in zip(evidence, found, strict=True)
        ]
        assert diagnosis._distance(other, shown, ("W", "b")) > 1e3, (a, b)


# Faults written again, as someone would write them in NumPy, with the name they should
# get: formulas of q, which holds W, b, x, l2, the probabilities p, the targets t and n.
def written(formula):
    def gradient(params, x, labels, l2):
        W, b, x, labels = map(np.asarray, (*params, x, labels))
        p = np.exp(x @ W + b - (x @ W + b).max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        t = (labels[:, None] == np.arange(b.size)).astype(x.dtype)
        return formula(SimpleNamespace(W=W, b=b, x=x, l2=l2, p=p, t=t, n=len(x)))

    return gradient


def data_and_penalty(q):
    return q.x.T @ (q.p - q.t) / q.n + q.l2 * q.W


def right_b(q):
    return (q.p - q.t).mean(axis=0)


def with_residual(r):
    """A right gradient but for its residual."""
    return lambda q: (q.x.T @ r(q) / q.n + q.l2 * q.W, r(q).sum(axis=0) / q.n)


def predicted(q):
    return (q.p == q.p.max(axis=1, keepdims=True)).astype(q.p.dtype)


def softmax_of_softmax(q):
    again = np.exp(q.p) / np.exp(q.p).sum(axis=1, keepdims=True)
    jacobian = np.einsum("ij,jk->ijk", q.p, np.eye(q.b.size)) - np.einsum(
        "ij,ik->ijk", q.p, q.p
    )
    return np.einsum("ij,ijk->ik", again - q.t, jacobian)


WRITTEN = {
    "bias gradient = P, S7": lambda q: (data_and_penalty(q), q.p.sum(axis=0) / q.n),
    "1/N missing from the data term": lambda q: (
        np.einsum("nd,nc->dc", q.x, q.p - q.t) + q.l2 * q.W,
        (q.p - q.t).sum(axis=0),
    ),
    "1/N missing from the bias gradient": lambda q: (
        data_and_penalty(q),
        (q.p - q.t).sum(axis=0),
    ),
    "1/N and penalty both missing": lambda q: (
        q.x.T @ (q.p - q.t),
        (q.p - q.t).sum(axis=0),
    ),
    "the original as it stands: S6, S7, no 1/N, no penalty": lambda q: (
        q.x.T @ (q.p - q.t),
        q.p.sum(axis=0),
    ),
    "dW transposed": lambda q: (
        (q.p - q.t).T @ q.x / q.n + q.l2 * q.W.T,
        right_b(q),
    ),
    "penalty doubled: l2 ||W||^2 without the half": lambda q: (
        q.x.T @ (q.p - q.t) / q.n + 2 * q.l2 * q.W,
        right_b(q),
    ),
    "penalty missing": lambda q: (q.x.T @ (q.p - q.t) / q.n, right_b(q)),
    "penalty divided by N": lambda q: (
        (q.x.T @ (q.p - q.t) + q.l2 * q.W) / q.n,
        right_b(q),
    ),
    "bias penalised": lambda q: (data_and_penalty(q), right_b(q) + q.l2 * q.b),
    "bias gradient of shape (1, C)": lambda q: (
        data_and_penalty(q),
        (q.p - q.t).mean(axis=0, keepdims=True),
    ),
    "x not transposed in dW": lambda q: (
        q.x @ (q.p - q.t) / q.n + q.l2 * q.W,
        right_b(q),
    ),
    "mean over the classes as well: 1/C": with_residual(
        lambda q: (q.p - q.t) / q.p.shape[1]
    ),
    "chain rule on the diagonal alone: only the true class learns, S4a": with_residual(
        lambda q: -q.t * (1 - q.p)
    ),
    "true class missing": with_residual(lambda q: np.where(q.t == 1, 0, q.p)),
    "sign: the data term alone, target minus prediction": with_residual(
        lambda q: q.t - q.p
    ),
    "targets never subtracted": with_residual(lambda q: q.p),
    "one-hot from the prediction": with_residual(lambda q: q.p - predicted(q)),
    "an extra factor p (1 - p)": with_residual(lambda q: (q.p - q.t) * q.p * (1 - q.p)),
    "softmax applied twice": with_residual(softmax_of_softmax),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_fault_written_another_way_is_named(name):
    result = audit.audit_gradient(written(WRITTEN[name]))
    assert not result.passed
    assert result.diagnosis == name


@pytest.mark.parametrize(
    ("name", "without_penalty"),
    [
        ("1/N and penalty both missing", "1/N missing from the data term"),
        ("the original as it stands: S6, S7, no 1/N, no penalty",) * 2,
    ],
)
def test_a_missing_penalty_is_not_held_against_a_loss_without_one(
    name, without_penalty
):
    result = audit.audit_gradient(written(WRITTEN[name]), l2=0)
    assert result.diagnosis == without_penalty


# Right but for classes or rows that small problems do not have.
@pytest.mark.parametrize(
    ("labels_of", "rows_of"),
    [
        (lambda labels: np.minimum(labels, 4), lambda x: x),
        (lambda labels: labels % 11, lambda x: x),
        (lambda labels: labels, lambda x: x[:128]),
        (lambda labels: labels, lambda x: x[:100]),
    ],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_fault_that_only_a_larger_problem_shows_is_caught(labels_of, rows_of, loss):
    def gradient(params, x, labels, l2):
        x, labels = rows_of(np.asarray(x)), rows_of(labels_of(np.asarray(labels)))
        return by_numpy(loss)(params, x, labels, l2)

    result = audit.audit_gradient(gradient, loss=loss)
    assert not result.passed
    failed = {row.case for row in result.rows if not row.passed}
    assert failed == {"many rows and classes"}


# Not catalogued. The second entry is what the diagnosis says; None is that none fits.
UNKNOWN = {
    "scaled by 1.01": (
        lambda dW, db, _: (1.01 * dW, 1.01 * db),
        "the right gradient times 1.01",
    ),
    "dW scaled by 1.001": (
        lambda dW, db, _: (1.001 * dW, db),
        "dW: no catalogued fault reproduces it; db: right",
    ),
    "clipped at 0.05": (
        lambda dW, db, _: (dW.clip(-0.05, 0.05), db.clip(-0.05, 0.05)),
        None,
    ),
    "normalised to length 1": (
        lambda dW, db, _: (
            dW / np.hypot(np.linalg.norm(dW), np.linalg.norm(db)),
            db / np.hypot(np.linalg.norm(dW), np.linalg.norm(db)),
        ),
        None,
    ),
    "classes reversed": (lambda dW, db, _: (dW[:, ::-1], db[::-1]), None),
    "features reversed": (
        lambda dW, db, _: (dW[::-1], db),
        "dW: no catalogued fault reproduces it; db: right",
    ),
    "one coordinate of W zero": (
        lambda dW, db, _: (
            dW * (np.arange(dW.size) > 0).reshape(dW.shape),
            db,
        ),
        "dW: no catalogued fault reproduces it; db: right",
    ),
    "a small constant added to db": (
        lambda dW, db, _: (dW, db + db.dtype.type(1e-4)),
        "dW: right; db: no catalogued fault reproduces it",
    ),
    "penalty with 1.1 l2": (
        lambda dW, db, penalty: (dW + penalty / 10, db),
        "dW: no catalogued fault reproduces it; db: right",
    ),
    "first feature dropped": (
        lambda dW, db, _: (dW[1:], db),
        "dW: no catalogued fault reproduces it; db: right",
    ),
    "two catalogued faults": (
        lambda dW, db, penalty: (dW - penalty, -db),
        "dW: penalty missing; db: sign: the whole gradient",
    ),
    "all zero": (
        lambda dW, db, _: (0 * dW, 0 * db),
        "the right gradient times 0",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("dtype", ["both", "float32"])
def test_a_fault_outside_the_catalogue_is_caught_and_not_named(name, dtype):
    change, expected = UNKNOWN[name]
    gradient = changed(change)
    if dtype == "float32":
        gradient = in_float32_only(gradient)
    result = audit.audit_gradient(gradient)
    assert not result.passed
    assert result.diagnosis == (expected or diagnosis.NONE)


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("l2", [1e-9, 1e-6, 1e-3])
def test_a_wrong_penalty_is_caught_however_small(factor, l2):
    wrong = changed(lambda dW, db, penalty: (dW + (factor - 1) * penalty, db))
    names = {0.0: "penalty missing", 0.5: "penalty halved", 2.0: "penalty doubled"}
    for gradient in (wrong, in_float32_only(wrong)):
        result = audit.audit_gradient(gradient, l2=l2)
        assert not result.passed
        assert result.diagnosis.startswith(names[factor])


def in_float32_only(gradient):
    def narrow(params, x, labels, l2):
        if x.dtype != np.float32:
            raise TypeError(f"expected float32, found {x.dtype}")
        return gradient(params, x, labels, l2)

    return narrow


def casting_to_float32(gradient, back):
    def narrow(params, x, labels, l2):
        wide = np.asarray(x).dtype if back else np.float32
        params = params._replace(
            W=np.asarray(params.W, np.float32), b=np.asarray(params.b, np.float32)
        )
        x = np.asarray(x, np.float32)
        return [np.asarray(g, wide) for g in gradient(params, x, labels, l2)]

    return narrow


@pytest.mark.parametrize("loss", LOSSES)
def test_a_gradient_that_computes_in_float32_passes_with_a_note(loss):
    right = by_numpy(loss)
    for gradient, note in [
        (in_float32_only(right), "it takes no float64: audited in float32 alone"),
        (
            casting_to_float32(right, back=False),
            "it returns float32 for float64: judged by float32 rounding",
        ),
        (
            casting_to_float32(right, back=True),
            "it computes in float32 on the way: judged by float32 rounding",
        ),
    ]:
        result = audit.audit_gradient(gradient, loss=loss)
        assert result.passed, str(result)
        assert result.notes == (note,)
        assert note in str(result)


def test_a_float32_error_in_float64_is_not_excused():
    wrong = changed(lambda dW, db, _: (dW, db * (1 + 1e-7)))
    assert not audit.audit_gradient(wrong).passed


class Counter:
    """Returns the gradient of the call before."""

    def __init__(self):
        self.last = (np.zeros((5, 5)), np.zeros(5))

    def __call__(self, params, x, labels, l2):
        found, self.last = self.last, by_numpy(SOFTMAX)(params, x, labels, l2)
        return found


BROKEN = {
    "raises": (lambda *_: {}["W"], "raised KeyError: 'W'"),
    "a dict": (
        lambda *a: a[0]._asdict(),
        "returned dict; expected the pair (dW, db)",
    ),
    "dW alone": (lambda *a: a[0].W, "expected the pair (dW, db)"),
    "None": (lambda *_: None, "returned NoneType; expected the pair (dW, db)"),
    "three things": (lambda *a: (*a[0], 0.0), "expected the pair (dW, db)"),
    "integers": (
        lambda *a: (np.zeros(a[0].W.shape, int), a[0].b),
        "dW is int64; expected float32 or float64",
    ),
    "half precision": (
        lambda *a: (jnp.asarray(a[0].W, jnp.bfloat16), a[0].b),
        "dW is bfloat16; expected float32 or float64",
    ),
    "state": (Counter(), "it gives another result when it is called again"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_gradient_at_all_fails_and_says_why(name):
    gradient, expected = BROKEN[name]
    result = audit.audit_gradient(gradient)
    assert not result.passed
    assert expected in result.diagnosis
    assert "FAILED" in str(result)


def test_nan_and_shapes_are_located():
    def wrong(dW, db, _):
        dW[-1, -1] = np.nan
        return dW, db[:, None]

    row_W, row_b = audit.audit_gradient(changed(wrong)).rows[:2]
    assert row_W.remark == "1 of 25 entries not finite, first at [4, 4]"
    assert row_b.remark == "shape (5, 1); expected (5,)"
    assert row_W.ratio == row_b.ratio == np.inf


def test_a_row_tells_the_worst_coordinate_and_both_witnesses():
    def wrong(dW, db, _):
        db[2] += 1
        return dW, db

    result = audit.audit_gradient(changed(wrong))
    row_W, row_b = result.rows[:2]
    assert row_W.passed
    assert not row_b.passed
    assert row_b.remark.startswith("db[2] is ")
    np.testing.assert_allclose([row_b.autodiff_error, row_b.differences_error], 1, 1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_autodiff_central_differences_and_the_hand_gradient_agree(loss):
    for case in cases.standard(seed=5):
        pieces = reference.pieces(case, loss)
        by_hand = reference.gradient(pieces)
        by_autodiff = reference.autodiff(case, loss)
        differences = reference.central_differences(case, loss)
        allowed = reference.rounding(pieces, "float64")
        error = reference.differences_error(pieces)
        for i in range(2):
            assert by_autodiff[i].dtype == np.float64
            assert np.all(abs(by_hand[i] - by_autodiff[i]) <= allowed[i]), case.name
            assert np.all(abs(differences[i] - by_autodiff[i]) <= error + allowed[i])


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
    assert near(range(40)) == []
    monkeypatch.setattr(cases, "_near_a_kink", lambda _: False)
    assert near(range(40)) != []  # which is not by chance


def test_the_process_settings_are_left_alone():
    with jax.enable_x64(False):
        result = audit.audit_gradient(by_library(SOFTMAX))
        assert not jax.config.jax_enable_x64
    assert result.passed
    assert {row.dtype for row in result.rows} == {"float32", "float64"}
    wide = [row.autodiff_error for row in result.rows if row.dtype == "float64"]
    assert max(wide) < 1e-12  # float64 in earnest


def test_the_table_fits_the_screen():
    wrong = planted(faults.catalogue(SOFTMAX)["bias gradient = P, S7"], SOFTMAX)
    lines = str(audit.audit_gradient(wrong)).splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[-1] == "diagnosis: bias gradient = P, S7"
    assert len(lines) == 3 + 24 + 4
    assert all("!" in text for text in lines[3:27])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "no loss is named 'hinge'"),
        ({"l2": -1.0}, "l2 is -1.0; expected a finite number, at least 0"),
        ({"l2": float("nan")}, "l2 is nan"),
        ({"l2": float("inf")}, "l2 is inf"),
        ({"l2": 1e30}, r"l2 is 1e\+30; .* at most 1e\+06"),
        ({"cases": ()}, "found no cases"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        audit.audit_gradient(by_numpy(SOFTMAX), **options)


def mine(**changes):
    """A case of one's own: N = 7, D = 3, C = 5."""
    case = cases._draw(np.random.default_rng(2), "mine", 7, 3, 5, 0.1)
    params = case.params._replace(
        **{name: changes.pop(name) for name in ("W", "b") if name in changes}
    )
    return case._replace(params=params, **changes)


def with_entry(array, value):
    array = array.copy()
    array.flat[4] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": with_entry(mine().labels, 13)},
            r"labels: 1 of 7 entries are invalid, the first is labels\[4\] = 13; "
            r"expected integers in 0\.\.4",
        ),
        ({"labels": with_entry(mine().labels, -1)}, r"labels\[4\] = -1"),
        ({"labels": mine().labels[:6]}, "x has 7 rows but labels has 6 entries"),
        ({"labels": mine().labels.astype(float)}, "labels has dtype float64"),
        ({"x": np.zeros((0, 3))}, r"x has shape \(0, 3\) and holds no data"),
        ({"x": with_entry(mine().x, np.nan)}, r"x: 1 of 21 .* x\[1, 1\] = nan"),
        ({"x": with_entry(mine().x, 1e7)}, r"x\[1, 1\] = 10000000.0"),
        ({"x": mine().x[:, :2]}, r"W has shape \(3, 5\); expected \(2, C\)"),
        ({"W": mine().params.W.T}, r"W has shape \(5, 3\); expected \(3, C\)"),
        ({"W": with_entry(mine().params.W, np.inf)}, r"W: 1 of 15 .* W\[0, 4\] = inf"),
        ({"b": with_entry(mine().params.b, np.nan)}, r"b: 1 of 5 .* b\[4\] = nan"),
        ({"b": mine().params.b[:4]}, r"b has shape \(4,\); expected \(5,\)"),
        ({"b": mine().params.b[None]}, r"b has shape \(1, 5\); expected \(5,\)"),
        ({"l2": -1.0}, "l2 is -1.0"),
        ({"l2": 2e6}, "l2 is 2000000.0"),
        ({"l2": np.nan}, "l2 is nan"),
    ],
)
def test_a_bad_case_is_refused_and_named(changes, message):
    def never(*_):
        raise AssertionError("called on a case that should have been refused")

    with pytest.raises(ValueError, match=f"case 'mine': .*({message})"):
        audit.audit_gradient(never, cases=[mine(**changes)])


def test_two_cases_of_one_name_are_refused():
    with pytest.raises(ValueError, match="2 cases are named 'mine'"):
        audit.audit_gradient(by_numpy(SOFTMAX), cases=[mine(), mine(l2=0.0)])


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_a_case_at_a_kink_is_refused(loss):
    scores_apart_by_1 = np.array([1.0, 0, 0, 0, 0])
    kink = mine(W=np.zeros((3, 5)), b=scores_apart_by_1, labels=np.zeros(7, int))
    with pytest.raises(ValueError, match="case 'mine': autodiff and central differ"):
        audit.audit_gradient(by_numpy(loss), loss=loss, cases=[kink])
    assert audit.audit_gradient(by_numpy(SOFTMAX), cases=[kink]).passed


@pytest.mark.parametrize("loss", LOSSES)
def test_cases_of_one_s_own_may_be_any_arrays_and_any_float64(loss):
    case = mine(x=np.random.default_rng(4).normal(size=(7, 3)), l2=np.float32(0.3))
    jax_case = case._replace(
        params=tuple(map(jnp.asarray, case.params)),
        x=jnp.asarray(case.x),
        labels=case.labels.tolist(),
    )
    for some in (case, jax_case):
        assert audit.audit_gradient(by_numpy(loss), loss=loss, cases=[some]).passed
    whole = mine(x=np.arange(21).reshape(7, 3))
    assert audit.audit_gradient(by_numpy(loss), loss=loss, cases=[whole]).passed


@pytest.mark.parametrize("loss", LOSSES)
def test_no_false_alarm_at_the_ends_of_what_is_allowed(loss):
    rng, count = np.random.default_rng(11), 0
    assert audit.audit_gradient(by_numpy(loss), loss=loss, l2=1e6).passed
    for _ in range(100):
        scales = 10.0 ** rng.uniform(-12, 5, size=4)
        base = cases._draw(rng, "any scale", 7, 3, 5, min(scales[3], 1e6))
        W, b, x = (s * v for s, v in zip(scales, (*base.params, base.x), strict=False))
        case = base._replace(params=HostParams(W, b), x=x)
        if loss == SOFTMAX or not cases._near_a_kink(case):
            result = audit.audit_gradient(by_numpy(loss), loss=loss, cases=[case])
            assert result.passed, f"{scales}\n{result}"
            count += 1
    assert count > 30


def test_the_diagnosis_tells_how_far_off_a_nearly_right_gradient_is():
    def diagnosed(change, case):
        result = audit.audit_gradient(changed(change), cases=[case])
        wide = [row.ratio for row in result.rows if row.dtype == "float64"]
        return result.diagnosis, max(wide)

    def last_digits(dW, db, _):
        return dW, db + 100 * np.finfo(db.dtype).eps

    found, worst = diagnosed(last_digits, mine())
    assert 1 < worst < 8
    off = f"off by up to {worst:.3g} times float64 rounding"
    assert found == f"the right gradient, but {off}"

    def last_coordinate(dW, db, _):
        return dW, db * np.array([1, 1, 1, 1, 1.5], db.dtype)

    # The last class has almost no probability, and so almost no rounding.
    b = np.array([0.0, 0.0, 0.0, 0.0, -40.0])
    found, worst = diagnosed(last_coordinate, mine(b=b, labels=np.arange(7) % 4))
    assert worst > 1000
    off = f"smaller ones are off by up to {worst:.3g} times float64 rounding"
    assert found == f"the right gradient in its largest entries; {off}"
