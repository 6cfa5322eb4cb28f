"""The auditor at length: every known fault of every loss, and no false alarm."""

import functools
import itertools

import numpy as np
import pytest

from linclf_jax import audit
from linclf_jax.audit import cases, diagnosis, faults, reference
from linclf_jax.audit.cases import HostParams
from tests.audit.written_gradients import (
    HINGES,
    LOSSES,
    RIGHT,
    SIGMOID,
    SOFTMAX,
    by_numpy,
    planted,
)


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
    assert count >= 334  # of each loss
    assert closest > 0.01  # a tolerance that nothing comes near would catch nothing


@pytest.mark.parametrize("name", RIGHT)
def test_no_false_alarm_on_larger_problems(name):
    rng = np.random.default_rng(3)
    some = [cases._draw(rng, str(n), n, d, c, 0.01) for n, d, c in [(300, 40, 10)]]
    assert audit.audit_gradient(RIGHT[name](SOFTMAX), cases=some).passed


@pytest.mark.parametrize("loss", LOSSES)
def test_every_catalogued_fault_is_caught_and_named(loss):
    catalogue = faults.catalogue(loss)
    actual = {
        name: audit.audit_gradient(planted(fault, loss), loss=loss)
        for name, fault in catalogue.items()
    }
    assert {name: result.diagnosis for name, result in actual.items()} == {
        name: name for name in catalogue
    }
    assert not any(result.passed for result in actual.values())
    assert len(catalogue) >= 40


def test_every_fault_of_targets_is_caught_and_named():
    catalogue = faults.catalogue(SIGMOID, targets=True)
    audited = functools.partial(audit.audit_gradient, loss=SIGMOID, targets=True)
    actual = {
        name: audited(planted(fault, SIGMOID)).diagnosis
        for name, fault in catalogue.items()
    }
    assert actual == {name: name for name in catalogue}
    assert "unknown labels counted as -1" in catalogue


@pytest.mark.parametrize("loss", LOSSES)
def test_no_two_faults_are_the_same_on_all_cases(loss):
    some = cases.standard()
    catalogue = {"right": reference.gradient, **faults.catalogue(loss)}
    nothing = diagnosis.Outcome(None, "float64")
    evidence = [diagnosis.join(reference.terms(case, loss), nothing) for case in some]
    terms = [item.terms for item in evidence]
    results = {name: diagnosis._run(f, terms) for name, f in catalogue.items()}
    for (a, actual), (b, other) in itertools.combinations(results.items(), 2):
        shown = [
            item._replace(
                outcome=diagnosis.Outcome(g, "float64", "" if g else "raised ")
            )
            for item, g in zip(evidence, actual, strict=True)
        ]
        assert max(diagnosis._distance(other, shown)) > 1e3, (a, b)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_false_alarm_at_the_ends_of_what_is_allowed(loss):
    rng, count = np.random.default_rng(11), 0
    assert audit.audit_gradient(by_numpy(loss), loss=loss, l2=1e6).passed
    for _ in range(100):
        scales = 10.0 ** rng.uniform(-12, 5, size=4)
        base = cases._draw(rng, "any scale", 7, 3, 5, min(scales[3], 1e6))
        W, b, x = (s * v for s, v in zip(scales, (*base.params, base.x), strict=False))
        case = base._replace(params=HostParams(W, b), x=x)
        if loss not in HINGES or not cases._near_a_kink(case):
            result = audit.audit_gradient(by_numpy(loss), loss=loss, cases=[case])
            assert result.passed, f"{scales}\n{result}"
            count += 1
    assert count > 30
