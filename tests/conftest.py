"""Settings under which every test runs: float64 allowed, silent mistakes are errors."""

import ctypes
import os
import shutil
import sys
from pathlib import Path

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# The same few examples in every run, however slow the machine is.
hypothesis.settings.register_profile(
    "suite", derandomize=True, max_examples=25, deadline=None, database=None
)
hypothesis.settings.load_profile("suite")

PROGRAMS = Path(__file__).parents[1] / ".pytest_cache" / "programs"
MAX_BYTES_ON_DISK = 2**28
MAX_BYTES_IN_MEMORY = 2**30
MORE_BYTES_IN_MEMORY = 2**29  # than what stays when compiled programs are forgotten
_stays = [0]


def pytest_configure(config):
    """Shares compiled programs among the workers, their subprocesses and later runs."""
    is_worker = hasattr(config, "workerinput")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        if not is_worker:
            _bound_folder(PROGRAMS)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(PROGRAMS)
    # A subprocess reads the environment; this process has imported JAX already.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    jax.config.update(
        "jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"]
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # An entry that another process is writing, or was killed while it wrote, cannot be
    # read; JAX then compiles.
    os.environ["PYTHONWARNINGS"] = "ignore:Error reading persistent compilation cache"


def _bound_folder(folder):
    """Empties the folder when programs that no test runs any more have filled it."""
    if folder.is_dir() and sum(p.stat().st_size for p in folder.iterdir()) > (
        MAX_BYTES_ON_DISK
    ):
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _bound_memory():
    """Forgets compiled programs, about a megabyte each, when they have added up.

    What stays is no smaller a test later: to forget again would compile all anew.
    """
    yield
    limit = max(MAX_BYTES_IN_MEMORY, _stays[0] + MORE_BYTES_IN_MEMORY)
    if sys.platform == "linux" and _resident_bytes() > limit:
        jax.clear_caches()
        # glibc keeps what is freed until it is told to give it back.
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
        _stays[0] = _resident_bytes()


def _resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
