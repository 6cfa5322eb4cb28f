"""What ``config.json`` says: which run it is, and where it was made.

``experiment`` (a name), ``flags`` and ``data`` (mappings, with the fingerprint of the
data) say which run it is; ``environment`` says what runs the code. Where the first
three and ``BEARING`` of the last are equal, results promise to be equal too; the rest
is there for whoever looks for a difference later.
"""

import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import linclf_jax
from linclf_jax.runs import formats

SECTIONS = ("experiment", "flags", "data", "environment")
_PACKAGES = ("jax", "jaxlib", "optax", "numpy")
# Of the environment: what the bits of a result may depend on. The commit is none of it,
# for most commits change no result, nor is Python, which computes none.
# Of the data: what a file says of itself that is opened after all fits, and may change
# until then. What it was is in ``selected.json``.
UNOPENED = "test"
BEARING = ("linclf_jax", *_PACKAGES, "devices.backend", "devices.kinds", "x64")


def checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration as JSON will hold it.

    Args:
        config: One entry for each of ``SECTIONS``.

    Returns:
        The same in dicts, lists and Python scalars.

    Raises:
        ValueError: Other sections, or values that JSON cannot hold.
    """
    if set(config) != set(SECTIONS):
        raise ValueError(
            f"found sections {sorted(config)} in the configuration, expected "
            f"{sorted(SECTIONS)}"
        )
    return formats.plain(config, "config")


def differences(there: Any, here: Mapping[str, Any]) -> list[str]:
    """Returns in what two configurations name different runs.

    Args:
        there: What a ``config.json`` holds.
        here: The configuration of this run, ``checked``.

    Returns:
        One text for each difference: key, value there, value here. Environments are
        compared in ``BEARING`` alone, data in all but ``UNOPENED``.

    >>> there = {"experiment": "sweep", "flags": {"l2": 0.1}}
    >>> there |= {"data": {}, "environment": {"jax": "0.10.2", "python": "3.12.1"}}
    >>> differences(there, {**there, "flags": {"l2": 0.2}})
    ['flags.l2 is 0.1 there and 0.2 here']
    """
    if not isinstance(there, Mapping):
        return [f"the configuration there is {there!r}"]
    old, new = (dict(_compared(config)) for config in (there, here))
    return [
        f"{key} is {old.get(key, 'absent')} there and {new.get(key, 'absent')} here"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]


def unopened(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration as it was, with the test rows that are there now.

    Args:
        there: What a ``config.json`` holds.
        here: The configuration of this run, without differences.
    """
    now = {k: here["data"][k] for k in (UNOPENED,) if k in here["data"]}
    return {**there, "data": {**there["data"], **now}}


def environment() -> dict[str, Any]:
    """Returns what runs the code: versions, machine, devices, precision, commit.

    Returns:
        ``git`` is ``{"commit": ..., "dirty": ...}`` where the package lies in a git
        checkout that tracks it, else None; dirty means a Python file is changed or new.
    """
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "linclf_jax": linclf_jax.__version__,
        **{name: metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "devices": {
            "backend": jax.default_backend(),
            "kinds": sorted({device.device_kind for device in devices}),
            "count": len(devices),
        },
        "x64": jax.config.read("jax_enable_x64"),
        "git": git_state(Path(__file__).parent),
    }


def _compared(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields what names a run: dotted keys, and values as JSON text."""
    bearing = {f"environment.{name}" for name in BEARING}
    for key, text in _flat(config):
        is_compared = key in bearing or not key.startswith("environment.")
        if is_compared and key != f"data.{UNOPENED}":
            yield key, text


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields dotted keys and values as JSON text, which tells 1 from 1.0 and true."""
    stack = [(name, config.get(name)) for name in reversed(SECTIONS)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict) and value:
            stack += [(f"{key}.{name}", value[name]) for name in reversed(value)]
        else:
            yield key, json.dumps(value)


def git_state(folder: Path) -> dict[str, Any] | None:
    """Returns commit and dirtiness of the checkout that tracks a folder, or None.

    Args:
        folder: One with Python files.

    Returns:
        ``{"commit": ..., "dirty": ...}``; None outside a checkout, in one that does not
        track the folder, and where there is no git.
    """
    # An installed package may lie in somebody else's checkout, which does not track it.
    if not _git(folder, "ls-files", "--", "*.py"):
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(folder, "status", "--porcelain", "-uall", "--", ":/*.py")
    return {"commit": commit, "dirty": changes != ""}


def _git(folder: Path, *arguments: str) -> str | None:
    """Returns what git prints, None where there is no git or it fails."""
    # Without optional locks, asking never stands in the way of a commit.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
