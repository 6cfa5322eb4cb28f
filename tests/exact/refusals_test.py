"""Input that no entry point takes: refused before anything is compiled, and why."""

import numpy as np
import pytest

from linclf_jax.exact import (
    axes,
    certificate,
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
COMMON = {"x": DATA.x, "labels": DATA.labels}
SOLVERS = {
    "solve": (newton.solve, {"l2": [0.1, 0.2]}),
    "follow": (path.follow, {"l2s": [0.1, 0.2], "weights": DATA.weights}),
}
CHECKS = {
    "certify": (certificate.certify, {"params": PARAMS, "l2": [0.1, 0.2]}),
    "leave_one_out": (
        leave_one_out.approximate,
        {"params": PARAMS, "l2": [0.1, 0.2]},
    ),
}
ALL = SOLVERS | CHECKS


def changed(array, index, value):
    """Returns a copy in which one entry is another."""
    array = np.array(array)
    array[index] = value
    return array


# What they have in common: features, labels and weights.
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
]
PENALTIES = [
    (0.1, r"has shape \(\); expected \(L,\)"),
    (np.zeros((2, 1)), r"has shape \(2, 1\); expected \(L,\)"),
    (np.zeros(0), r"has shape \(0,\); expected \(L,\)"),
    ([0.1, -1e-9], "of lane 1 is -1e-09; expected"),
    ([0.1, np.inf], "of lane 1 is inf; expected"),
]
OF_SOLVERS = [
    ({"num_classes": 2}, r"labels\[2\] = 2; expected integers in 0\.\.1"),
    ({"tol": 0.0}, "tol is 0.0; expected"),
    ({"tol": -1e-6}, "tol is -1e-06; expected"),
    ({"tol": np.nan}, "tol is nan; expected"),
    ({"max_newton": -1}, "max_newton is -1; expected at least 0"),
]
OF_ONE = [
    ("solve", {"weights": np.ones((3, 60))}, r"weights has shape \(3, 60\)"),
    (
        "solve",
        {"init": Params(np.zeros((2, 3, 8)), np.zeros((2, 3)))},
        r"W has shape \(2, 3, 8\); expected \(2, 8, 3\)",
    ),
    (
        "solve",
        {"init": Params(np.zeros((2, 8, 3)), np.zeros(3))},
        r"b has shape \(3,\); expected \(2, 3\)",
    ),
    ("follow", {"l2s": [0.1, 0.2, 0.1]}, "l2s holds a value twice"),
    ("follow", {"l2s": [0.1, np.nan]}, "l2s holds nan"),
    ("certify", {"labels": np.full(60, 3)}, r"labels: 60 of 60 .* 0\.\.2"),
    (
        "leave_one_out",
        {"max_bytes": 2**10},
        "Hessian of 18 unknowns, for 60 rows, 8 features and 3 classes, needs "
        r"0.0 GiB; expected at most the 0.0 GiB of max_bytes",
    ),
]
OF_CHECKS = [
    ({"params": Params(np.zeros((8, 3)), np.zeros(3))}, r"b has shape \(3,\); exp"),
    (
        {"params": Params(np.zeros((2, 3, 8)), np.zeros((2, 3)))},
        r"W has shape \(2, 3, 8\); expected \(2, 8, 3\)",
    ),
    ({"l2": [0.1]}, r"W has shape \(2, 8, 3\); expected \(1, 8, 3\)"),
]
CASES = [
    *((name, *case) for name in ALL for case in OF_ALL),
    *(
        (name, {"l2s" if name == "follow" else "l2": l2}, f"l2 {message}")
        for name in ALL
        for l2, message in PENALTIES
    ),
    *((name, *case) for name in SOLVERS for case in OF_SOLVERS),
    *((name, *case) for name in CHECKS for case in OF_CHECKS),
    *OF_ONE,
]


@pytest.mark.parametrize(("name", "change", "message"), CASES)
def test_bad_input_is_refused_before_anything_is_compiled(
    monkeypatch, name, change, message
):
    monkeypatch.setattr(axes, "principal", None)
    monkeypatch.setattr(objective, "evaluate", None)
    function, arguments = ALL[name]
    with pytest.raises(ValueError, match=message):
        function(**(COMMON | arguments | change))


@pytest.mark.parametrize("name", ALL)
def test_what_is_refused_differs_from_good_input_by_one_argument(name):
    function, arguments = ALL[name]
    function(**(COMMON | arguments))


def test_a_hessian_that_does_not_fit_is_refused_before_it_is_made():
    x, params = (
        np.zeros((3000, 3000)),
        Params(np.zeros((1, 3000, 10)), np.zeros((1, 10))),
    )
    with pytest.raises(ValueError, match=r"27000 unknowns.* 16\.. GiB.* 8\.0 GiB"):
        leave_one_out.approximate(params, x, np.arange(3000) % 10, [0.1])


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
    l2 = [0.1, 0.2]
    for call in (
        lambda: newton.solve(DATA.x, labels, l2),
        lambda: certificate.certify(PARAMS, DATA.x, labels, l2),
        lambda: leave_one_out.approximate(PARAMS, DATA.x, labels, l2),
        lambda: path.path(DATA.x, labels, l2),
        lambda: cross_validation.cross_validate(DATA.x, labels, l2, 3),
        lambda: cross_validation.leave_one_out(DATA.x, labels, l2),
    ):
        with pytest.raises(ValueError, match=message):
            call()
