"""How much memory there is and is in use, and how many batches fit at once.

A CPU's devices share the host's memory: what Linux reports of this process, and what
the control groups around it, a container's or a batch job's, leave of their limits. A
GPU has its own, which JAX reports. All sizes are bytes.

Devices are those of ``jax.devices()``, whose type has no name for a checker of types.
What a batch takes is what its compiled program says. That can be too low, so that a
program still runs out of memory: then the scheduler tries fewer at once.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import jax

MARGIN = 10  # percent of what is left that a run does not plan with
ASSUMED = 4 * 2**30  # of a host that does not say

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_ROOT = Path("/")
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Plan(NamedTuple):
    """How many batches at once, and what is then in use at the peak."""

    at_once: int
    predicted: int  # what is resident included


def plan(
    *, budget: int, resident: int, per_batch: int, num_batches: int, most: int
) -> Plan:
    """Returns the plan with as many batches at once as fit the budget.

    Args:
        budget: What may be in use, ``resident`` included.
        resident: In use already: the process, its programs, its data.
        per_batch: What one more batch takes.
        num_batches: Of the study.
        most: Batches at once beyond which no speed is gained.

    Raises:
        ValueError: Not even one batch fits.

    >>> plan(budget=1000, resident=100, per_batch=250, num_batches=8, most=16)
    Plan(at_once=3, predicted=850)
    """
    fitting = (budget - resident) // max(1, per_batch)
    at_once = max(1, min(fitting, num_batches, most))
    predicted = resident + at_once * per_batch
    if predicted > budget:
        sizes = (size / 2**20 for size in (per_batch, resident, predicted, budget))
        batch, in_use, whole, limit = (f"{size:,.1f} MiB" for size in sizes)
        raise ValueError(
            f"one batch of trials takes {batch} beside {in_use} in use, {whole} in "
            f"all; expected at most the memory budget of {limit}: make "
            "--trials_per_batch smaller or --memory_budget larger"
        )
    return Plan(at_once, predicted)


def program_bytes(analysis: Any) -> int:
    """Returns what a compiled program takes while it runs, by ``memory_analysis()``.

    None, from a platform that does not say, counts as 0.
    """
    if analysis is None:
        return 0
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        + analysis.generated_code_size_in_bytes
        # Outputs that lie where arguments lay were counted twice.
        - analysis.alias_size_in_bytes
    )


def is_exhausted(error: BaseException) -> bool:
    """Returns whether an exception of a program means that the memory was too small."""
    signs = ("RESOURCE_EXHAUSTED", "CUDA_ERROR_OUT_OF_MEMORY")
    by_jax = isinstance(error, jax.errors.JaxRuntimeError)
    return isinstance(error, MemoryError) or (
        by_jax and any(sign in str(error) for sign in signs)
    )


def parse_size(text: str) -> int:
    """Returns the bytes that a size means.

    That is a number with a unit, of 1000 (``1.5GB``) or 1024 (``8GiB``), or without.

    >>> parse_size("512MiB"), parse_size("1.5GB"), parse_size("200000")
    (536870912, 1500000000, 200000)
    """
    size = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([A-Za-z]*)", text.strip())
    number, unit = size.groups() if size else ("0", "")
    # Decimal, because 0.1 * 10**9 in binary may fall a byte short.
    count = int(Decimal(number) * _UNITS.get(unit.lower(), 0))
    if count < 1:
        raise ValueError(
            f"--memory_budget is {text!r}; expected at least one byte, as 8GiB, "
            "512MiB, 1.5GB or a number of bytes"
        )
    return count


def format_size(size: int) -> str:
    """Returns a size as a person reads it.

    >>> format_size(3_435_973_837), format_size(512)
    ('3.2 GiB', '512 B')
    """
    if size < 2**10:
        return f"{size} B"
    value = size / 2**10
    for unit in ("KiB", "MiB", "GiB"):
        if value < 1023.95:  # one that rounds to 1024.0 is 1.0 of the next
            return f"{value:.1f} {unit}"
        value /= 2**10
    return f"{value:.1f} TiB"


def available(devices: Sequence[Any]) -> int:
    """Returns what a run may take in addition to what is in use, less a margin.

    Of several GPUs the fullest counts, here and below.
    """
    gpus = _gpu_stats(devices)
    limited = [s for s in gpus if "bytes_limit" in s and "bytes_in_use" in s]
    if limited:
        left = min(s["bytes_limit"] - s["bytes_in_use"] for s in limited)
    else:
        left = host_available()
    return max(0, left) * (100 - MARGIN) // 100


def limit(devices: Sequence[Any]) -> int:
    """Returns what a run could take on these devices if nothing else were in use."""
    gpus = [s["bytes_limit"] for s in _gpu_stats(devices) if "bytes_limit" in s]
    return min([host_limit(), *gpus])


def resident(devices: Sequence[Any]) -> int:
    """Returns how much memory is in use now, 0 where the system does not say."""
    return _in_use(devices, "bytes_in_use", "VmRSS")


def peak(devices: Sequence[Any]) -> int:
    """Returns the most memory that was in use at any moment.

    That is since ``forget_peak`` on Linux, and since the process began for a GPU and on
    other systems; 0 where the system does not say.
    """
    return _in_use(devices, "peak_bytes_in_use", "VmHWM")


def forget_peak() -> None:
    """Lets ``peak`` of the host begin anew; without effect where Linux is not."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")  # resets VmHWM alone, see proc(5)


def host_available(root: Path = _ROOT) -> int:
    """Returns what the host, and each control group, still leave.

    Args:
        root: Of the file system that holds ``proc`` and ``sys``.
    """
    reported = _fields(root / "proc/meminfo").get("MemAvailable")
    host = reported or max(_installed() - _most_since_start(), 0) or ASSUMED
    left = (each for group, names in _groups(root) for each in _left(group, *names))
    return max(0, min([host, *left]))


def host_limit(root: Path = _ROOT) -> int:
    """Returns what the host, and each control group, have in all, used or not."""
    total = _fields(root / "proc/meminfo").get("MemTotal")
    limits = (_read(group / names[0]).strip() for group, names in _groups(root))
    own = [int(limit) for limit in limits if limit.isdigit()]
    return min([total or _installed() or ASSUMED, *own])


def _in_use(devices: Sequence[Any], name: str, host_name: str) -> int:
    gpus = _gpu_stats(devices)
    if gpus:
        return max(stats.get(name, 0) for stats in gpus)
    return _fields(_STATUS).get(host_name, 0) or _most_since_start()


def _gpu_stats(devices: Sequence[Any]) -> list[dict[str, int]]:
    """Returns what JAX reports of devices that have memory of their own, if it does."""
    stats = [d.memory_stats() for d in devices if d.platform != "cpu"]
    return [s for s in stats if s]


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yields each control group around this process, and the names of its files."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, names = "", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = "memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
            names = limit, usage, "total_inactive_file"
        else:
            continue
        # In a container the path is the host's, and the folder at the top its own.
        inside = Path(path.lstrip("/"))
        for group in (inside, *inside.parents):
            yield root / "sys/fs/cgroup" / mount / group, names


def _left(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    most, used = _read(group / limit).strip(), _read(group / usage).strip()
    if most.isdigit() and used.isdigit():  # "max" is no limit
        stat = dict(pair.split() for pair in _read(group / "memory.stat").splitlines())
        # Pages of files that were read once are given up before anything fails.
        yield int(most) - int(used) + int(stat.get(reclaimable, 0))


def _fields(path: Path) -> dict[str, int]:
    """Returns the sizes in a file of lines such as ``VmRSS:  2164 kB``, in bytes."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", _read(path), re.MULTILINE)
    return {name: int(size) * 2**10 for name, size in lines}


def _most_since_start() -> int:
    """Returns the process's high-water mark by POSIX, which Windows is not."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 2**10  # macOS counts bytes


def _installed() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
