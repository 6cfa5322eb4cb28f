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

SECTIONS = ("experiment", "flags", "data", "environment")
_PACKAGES = ("jax", "jaxlib", "optax", "numpy")
# Of the environment: what the bits of a result may depend on. The commit is none of it,
# for most commits change no result, nor is Python, which computes none.
BEARING = ("linclf_jax", *_PACKAGES, "devices.backend", "devices.kinds", "x64")
# Of the data: what a file says of itself that is opened after all fits, and may change
# until then. What it was is in ``selected.json``.
UNOPENED = "test"


def differences(there: Any, here: Mapping[str, Any]) -> list[str]:
    """Returns in what two configurations name different runs.

    Environments are compared in ``BEARING`` alone, data in all but ``UNOPENED``.

    Args:
        there: What a ``config.json`` holds.
        here: The configuration of this run, as JSON holds it.

    >>> there = {"experiment": "sweep", "flags": {"l2": 0.1}}
    >>> there |= {"data": {}, "environment": {"jax": "0.10.2", "python": "3.12.1"}}
    >>> differences(there, {**there, "flags": {"l2": 0.2}})
    ['flags.l2 is 0.1 there and 0.2 here']
    """
    if not isinstance(there, Mapping):
        return [f"the configuration there is {there!r}"]
    old, new = (
        {key: text for key, text in _flat(config) if _is_compared(key)}
        for config in ({k: c.get(k) for k in SECTIONS} for c in (there, here))
    )
    return [
        f"{key} is {old.get(key, 'absent')} there and {new.get(key, 'absent')} here"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]


def _is_compared(key: str) -> bool:
    section, _, name = key.partition(".")
    return name in BEARING if section == "environment" else key != f"data.{UNOPENED}"


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields dotted keys and values as JSON text, which tells 1 from 1.0 and true."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value)


def environment() -> dict[str, Any]:
    """Returns what runs the code: versions, machine, devices, precision, commit."""
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


def git_state(folder: Path) -> dict[str, Any] | None:
    """Returns ``commit`` and ``dirty``, whether a Python file is changed or new.

    None outside a checkout, in one that does not track the Python files of the folder,
    and where there is no git.
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
