"""Compiled programs that outlive the process: a second start compiles nothing.

A cache entry is code that will be executed. So the cache lies in a folder that nobody
but its owner can write to, and one that somebody else owns is refused.
"""

import logging
from pathlib import Path

import jax

from linclf_jax.data import private_folder

NONE = "none"
# Below JAX's default of a second, which is as long as a whole program of a sweep
# compiles.
MIN_COMPILE_SECONDS = 0.05

logger = logging.getLogger(__name__)


def enable_cache(folder: str | None) -> Path | None:
    """Keeps compiled programs in a private folder, which it returns, if there is one.

    Without a name it is the one that ``JAX_COMPILATION_CACHE_DIR`` has set up, or the
    user's own; where that cannot be written there is none. The name ``none`` means no
    cache.

    Raises:
        ValueError: The folder is somebody else's, a symbolic link or a file, or the one
            that was named cannot be made or written.
    """
    if folder == NONE:
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    named = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if folder is None and named:
        return Path(named)
    try:
        path = Path(folder) if folder else default_folder()
        private_folder.make(path)
    except ValueError as error:
        raise ValueError(
            f"--compilation_cache: {error}, because what lies there is executed, or "
            f"{NONE}"
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        if folder:
            raise ValueError(
                f"--compilation_cache={folder} cannot be used ({error}); expected a "
                f"folder that can be made and written, or {NONE}"
            ) from error
        logger.info("no compilation cache, programs are compiled anew: %s", error)
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    return path


def default_folder() -> Path:
    """Returns where the user's compiled programs are kept.

    Raises:
        RuntimeError: The user has no home folder.
    """
    return private_folder.in_user_cache("xla")
