"""How closely two results must agree: the one table of tolerances.

Pass a row as keyword arguments: ``np.testing.assert_allclose(a, b, **CLOSED_FORM)``.
"""

import numpy as np

# Two float64 evaluations of one closed form, on numbers of order one.
CLOSED_FORM = {"rtol": 1e-12, "atol": 1e-14}


def rounded(dtype, num_terms: int, *, size: float = 1.0) -> dict[str, float]:
    """Returns what rounding in ``dtype`` may do to a sum of ``num_terms`` numbers.

    Four ulp for each number, growing with the square root of the count; ``size`` is
    that of the largest term, against which a sum near zero is measured.
    """
    unit = 4 * float(np.finfo(dtype).eps) * np.sqrt(num_terms)
    return {"rtol": unit, "atol": unit * size}
