"""Input that no entry point takes: refused before anything is compiled, and why."""

import numpy as np
import pytest

from linclf_jax.exact import (
    certificate,
    columns,
    leave_one_out,
    newton,
    objective,
    path,
)
from linclf_jax.params import Params
from linclf_jax.selection import cross_validation
from tests.exact import problems

DATA = problems.random()
PARAMS = Params(np.zeros((2, 8, 3)), np.zeros((2, 3)))
TURNED = Params(np.zeros((2, 3, 8)), np.zeros((2, 3)))
COMMON = {"x": DATA.x, "labels": DATA.labels, "l2": [0.1, 0.2]}


def follow(l2, **arguments):
    return path.follow(l2s=l2, **({"weights": DATA.weights} | arguments))


SOLVERS = {"solve": newton.solve, "follow": follow}
CHECKS = {"certify": certificate.certify, "leave_one_out": leave_one_out.approximate}
ALL = SOLVERS | CHECKS


def changed(array, index, value):
    """Returns a copy in which one entry is another."""
    array = np.array(array)
    array[index] = value
    return array


OF_ALL = [
    ({"x": np.zeros(60)}, r"x has shape \(60,\); expected \(N, D\)"),
    ({"x": changed(DATA.x, (17, 3), np.nan)}, r"1 of 480 .* x\[17, 3\] = nan"),
    ({"x": changed(DATA.x, (17, 3), -np.inf)}, r"x\[17, 3\] = -inf"),
    ({"x": np.full((60, 8), "a")}, "x has dtype .*expected numbers"),
    ({"labels": DATA.labels[1:]}, "x has 60 rows but labels has 59 entries"),
    ({"labels": changed(DATA.labels, 2, -1)}, r"labels\[2\] = -1"),
    ({"labels": np.zeros(60)}, "labels has dtype float64; expected integers"),
    ({"labels": np.full((60, 3), 0.5)}, "no distribution, first row 0 with sum 1.5"),
    ({"labels": np.full((59, 2), 0.5)}, "x has 60 rows but labels has 59 entries"),
    ({"weights": np.ones(59)}, r"weights has shape \(59,\); expected \(60,\) or \("),
    ({"weights": np.ones((60, 2))}, r"weights has shape \(60, 2\)"),
    (
        {"weights": changed(np.ones((2, 60)), (1, 9), -0.5)},
        "weights: 1 are below 0, first -0.5 of row 9 in lane 1",
    ),
    ({"weights": changed(np.ones((2, 60)), 1, 0.0)}, "weights of lane 1 are all 0"),
    ({"l2": 0.1}, r"l2 has shape \(\); expected \(L,\)"),
    ({"l2": np.zeros((2, 1))}, r"l2 has shape \(2, 1\); expected \(L,\)"),
    ({"l2": np.zeros(0)}, r"l2 has shape \(0,\); expected \(L,\)"),
    ({"l2": [0.1, -1e-9]}, "l2 of lane 1 is -1e-09; expected"),
    ({"l2": [0.1, np.inf]}, "l2 of lane 1 is inf; expected"),
]
OF_SOLVERS = [
    ({"num_classes": 2}, r"labels\[2\] = 2; expected integers in 0\.\.1"),
    ({"tol": 0.0}, "tol is 0.0; expected"),
    ({"tol": np.nan}, "tol is nan; expected"),
    ({"max_newton": -1}, "max_newton is -1; expected at least 0"),
]
OF_CHECKS = [
    ({"params": Params(np.zeros((8, 3)), np.zeros(3))}, r"b has shape \(3,\); exp"),
    ({"params": TURNED}, r"W has shape \(2, 3, 8\); expected \(2, 8, 3\)"),
    ({"l2": [0.1]}, r"W has shape \(2, 8, 3\); expected \(1, 8, 3\)"),
]
OF_ONE = [
    ("solve", {"weights": np.ones((3, 60))}, r"weights has shape \(3, 60\)"),
    ("solve", {"init": TURNED}, r"W has shape \(2, 3, 8\); expected \(2, 8, 3\)"),
    (
        "solve",
        {"init": PARAMS._replace(b=np.zeros(3))},
        r"b has shape \(3,\); expected \(2, 3\)",
    ),
    ("follow", {"l2": [0.1, 0.2, 0.1]}, "l2s holds a value twice"),
    ("follow", {"l2": [0.1, np.nan]}, "l2s holds nan"),
    ("certify", {"labels": np.full(60, 3)}, r"labels: 60 of 60 .* 0\.\.2"),
    (
        "leave_one_out",
        {"max_bytes": 2**10},
        "Hessian of 18 unknowns, for 60 rows, 8 features and 3 classes, needs "
        r"0.0 GiB; expected at most the 0.0 GiB of max_bytes",
    ),
]
CASES = [
    *((name, *case) for name in ALL for case in OF_ALL),
    *((name, *case) for name in SOLVERS for case in OF_SOLVERS),
    *((name, *case) for name in CHECKS for case in OF_CHECKS),
    *OF_ONE,
]


def call(name, changes):
    params = {"params": PARAMS} if name in CHECKS else {}
    return ALL[name](**(COMMON | params | changes))


@pytest.mark.parametrize(("name", "changes", "message"), CASES)
def test_bad_input_is_refused_before_anything_is_compiled(
    monkeypatch, name, changes, message
):
    monkeypatch.setattr(columns, "measure", None)
    monkeypatch.setattr(objective, "evaluate", None)
    with pytest.raises(ValueError, match=message):
        call(name, changes)


@pytest.mark.parametrize("name", ALL)
def test_what_is_refused_differs_from_good_input_by_one_argument(name):
    call(name, {})


def test_a_hessian_that_does_not_fit_is_refused_before_it_is_made():
    with pytest.raises(ValueError, match=r"27000 unknowns.* 16\.. GiB.* 8\.0 GiB"):
        leave_one_out.require_memory(3000, 3000, 10)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (DATA.labels[:, None], r"shape \(60, 1\).*pass labels.ravel\(\)"),
        (DATA.labels[:, None].astype(float), r"shape \(60, 1\).*labels.ravel\(\)"),
        (np.array(["cat", "dog"] * 30), "begins with .*'cat'.*numpy.unique"),
        (np.array(["cat", "dog"] * 30, object)[:, None], "'cat'.*numpy.unique"),
    ],
)
def test_labels_of_another_kind_are_refused_with_what_to_do(labels, message):
    for name in ALL:
        with pytest.raises(ValueError, match=message):
            call(name, {"labels": labels})
    for function, options in (
        (cross_validation.cross_validate, {"folds": 3}),
        (cross_validation.leave_one_out, {}),
    ):
        with pytest.raises(ValueError, match=message):
            function(DATA.x, labels, [0.1, 0.2], **options)
