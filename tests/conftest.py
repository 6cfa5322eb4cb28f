"""Settings under which every test runs: float64 allowed, silent mistakes are errors."""

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
