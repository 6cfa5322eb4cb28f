"""Paths for callers from Python: solutions in the order of their penalties."""

import numpy as np

from linclf_jax.exact import certificate, path
from linclf_jax.params import Params
from tests.exact import problems

L2S = (1e-3, 1.0, 1e-2)  # in no order
TOL = 1e-10


def test_a_path_is_in_the_order_of_its_penalties():
    x, labels, weights = problems.random()
    solved = path.path(x, labels, L2S, weights=weights, tol=TOL)
    assert solved.l2.tolist() == list(L2S)
    for index, l2 in enumerate(L2S):
        params = Params(*(array[index] for array in solved.params))
        proof = certificate.certify(params, x, labels, [l2] * 2, weights)
        assert np.all(proof.gap <= TOL * proof.objective)
        objective = solved.info.objective[index]
        np.testing.assert_allclose(objective, proof.objective, rtol=TOL)


def test_a_path_keeps_the_dtype():
    x, labels, weights = problems.random()
    solved = path.path(x.astype(np.float32), labels, [0.1], weights=weights)
    assert solved.params.W.dtype == np.float32
    assert solved.info.objective.dtype == np.float64
