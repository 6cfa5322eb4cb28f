"""Settings under which every test runs: float64 allowed, silent mistakes are errors."""

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """Thousands of small programs would add up to gigabytes in each worker."""
    yield
    jax.clear_caches()
