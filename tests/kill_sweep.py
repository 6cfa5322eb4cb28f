"""Kills a sweep with ``kill -9`` at random moments, again and again, until it is done.

    python -m tests.kill_sweep --kills=50
    python -m tests.kill_sweep --kills=50 --halving

The command is the same each time. When it has got through, the files must be the bytes
of a run that nobody disturbed; then a new directory is begun, until all kills are used.
Every other kill waits for a file of the run to change, so that the moments between two
writes, and the last second of a run, are hit too.
"""

import argparse
import collections
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import sweeps

FLAGS = (
    "--dataset=iris",
    "--optimizer=momentum,adam",
    "--learning_rate=0.01,0.1,1e30",
    "--l2=0,0.01",
    "--seeds=0,1",
    "--epochs=600",
    "--batch_size=8",
    "--trials_per_batch=2",
    "--concurrent_batches=2",
    "--checkpoint_every=0",
)
# What a kill may wait for: a file of the run that is not there yet, or is made again.
ANY = "flags.txt"  # which every start writes first
STATES = "pieces/*.state-*.npz"
EVENTS = (
    STATES,
    "pieces/r??-??????.npz",
    "results.jsonl",
    "history.npz",
    "selected.safetensors",
    "selected.json",
    "*.png",
    "report.html",
    "manifest.json",
)
PATIENCE = 300.0  # seconds until a run that does nothing is a failure


def command(folder: Path, cache: Path, *more: str) -> list[str]:
    """Returns the command line of the sweep."""
    script = (sys.executable, "-m", "experiments.sweep")
    paths = (f"--out_dir={folder}", f"--compilation_cache={cache}")
    return [*script, *FLAGS, *more, *paths]


def versions(folder: Path, pattern: str) -> set[tuple[str, int, int]]:
    """Returns which files are there, and as what: each write makes another one."""
    there = set()
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            there.add((path.name, status.st_ino, status.st_mtime_ns))
    return there


def wait_for(
    process: subprocess.Popen, folder: Path, pattern: str, count: int = 1
) -> bool:
    """Waits until files were written; returns False when the process ended before."""
    known, seen = versions(folder, pattern), 0
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        now = versions(folder, pattern)
        seen += len(now - known)
        known |= now
        if seen >= count:
            return True
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing is written to {folder / pattern}")
        time.sleep(0.001)
    return False


def run(
    base: Path,
    *more: str,
    kills: int,
    seed: int = 0,
    tell: Callable[[str], object] = print,
) -> collections.Counter[str]:
    """Kills sweeps and finishes them, and compares each with one left in peace.

    The base is a folder for run directories and the compilation cache; ``tell`` takes a
    line about each run. Returns how many kills there were by what they waited for.
    """
    draw, cache, peaceful = random.Random(seed), base / "cache", base / "peaceful"
    process = start(command(peaceful, cache, *more))
    began = wait_for(process, peaceful, STATES) and time.monotonic()
    finish(process)
    assert began, f"{peaceful}: no state was written"
    seconds = time.monotonic() - began
    expected = sweeps.contents(peaceful)
    counts: collections.Counter[str] = collections.Counter()
    number = 0
    while counts.total() < kills:
        folder, starts, number = base / f"run-{number}", 0, number + 1
        while not (folder / "manifest.json").exists():
            starts += 1
            process = start(command(folder, cache, *more))
            left = kills - counts.total()
            # Any moment of the whole run, or one close behind a write.
            event = draw.choice(EVENTS) if left % 2 else ANY
            nth = draw.randint(1, 3) if "*" in event else 1
            delay = draw.uniform(0, 0.05 if left % 2 else seconds)
            if left and wait_for(process, folder, event, nth):
                time.sleep(delay)
                process.kill()
            counts[event] += finish(process)
        compare(folder, expected)
        # A run that was killed behind its last write has left nothing but that.
        again = start(command(folder, cache, *more))
        _, printed = again.communicate(timeout=PATIENCE)
        assert again.returncode == 2, printed
        assert "is complete" in printed, printed
        assert not (folder / "pieces").exists()
        tell(f"{folder.name}: {starts} starts, {counts.total()} kills, same bytes")
    return counts


def start(command: list[str]) -> subprocess.Popen:
    """Starts the sweep."""
    return subprocess.Popen(
        command,
        cwd=sweeps.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> bool:
    """Waits for the end; returns whether it was a kill, and takes no other failure."""
    _, printed = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, -9), printed
    return process.returncode == -9


def compare(folder: Path, expected: dict[str, bytes]) -> None:
    """Checks a finished run: no file was damaged, none differs from ``expected``."""
    damaged = [*folder.glob("**/*.damaged")]
    assert not damaged, damaged
    wrong = [
        name for name, data in sweeps.contents(folder).items() if data != expected[name]
    ]
    assert not wrong, f"{folder}: {wrong} differ"


def main() -> None:
    """Kills as often as the command line says and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--halving", action="store_true", help="with --halving=3")
    parsed = parser.parse_args()
    more = ("--halving=3",) if parsed.halving else ()
    with tempfile.TemporaryDirectory(prefix="kill_sweep-") as base:
        counts = run(Path(base), *more, kills=parsed.kills, seed=parsed.seed)
    print(f"{counts.total()} kills, every run came out with the same bytes")
    for event, count in sorted((+counts).items()):
        print(f"{count:4} {'at any moment' if event == ANY else f'behind {event}'}")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
