"""Plants each fault of ``planted_faults.txt`` and sees the tests catch it.

    python -m tests.slow.planted_faults
    python -m tests.slow.planted_faults --only='^(losses|exact/.*).py'

works in a copy of the tree, where the same tests must pass before. Exit status 1 when a
fault was missed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_suffix(".txt")
COPIED = ("linclf_jax", "experiments", "tests", "docs", "pyproject.toml", "README.md")
PASSED, FAILED = 0, 1  # exit statuses of pytest


class Fault(NamedTuple):
    """A text of a module, what to put in its place, and the tests that must fail."""

    module: str  # below linclf_jax/
    tests: str  # below tests/, with a space between
    old: str
    new: str


def read(text: str) -> list[Fault]:
    """Returns the faults of a list."""
    faults = []
    for paragraph in text.split("\n\n"):
        head, _, body = paragraph.partition("\n")
        pairs = re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", f"{body}\n", re.MULTILINE)
        for pair in pairs:
            old, new = (re.sub(r"^. ?", "", part[:-1], flags=re.M) for part in pair)
            faults.append(Fault(*head.split(": "), old, new))
    return faults


def plant(text: str, fault: Fault) -> str:
    """Returns the text of a module with the fault in it."""
    if text.count(fault.old) != 1:
        raise ValueError(
            f"{fault.module} holds {fault.old!r} {text.count(fault.old)} times; "
            f"expected once: {LIST.name} is to follow the code"
        )
    return text.replace(fault.old, fault.new)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="pattern of the modules' names")
    only = re.compile(parser.parse_args().only)
    faults = [f for f in read(LIST.read_text("utf-8")) if only.search(f.module)]
    tests = sorted({name for fault in faults for name in fault.tests.split()})
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
        if run_tests(tree, *tests) != PASSED:
            raise SystemExit("the tests fail without a fault")
        caught = [is_caught(tree, fault) for fault in faults]
    print(f"{sum(caught)} of {len(faults)} faults are caught")
    return 0 if all(caught) else 1


def is_caught(tree: Path, fault: Fault) -> bool:
    """Returns whether the tests catch a fault, and prints it."""
    path = tree / "linclf_jax" / fault.module
    text = path.read_text("utf-8")
    path.write_text(plant(text, fault), "utf-8")
    status = run_tests(tree, *fault.tests.split())
    path.write_text(text, "utf-8")
    # Of any other status no test has failed: a module cannot be imported, for instance.
    caught = status == FAILED
    verdict = "caught" if caught else f"MISSED (pytest returned {status})"
    print(f"{verdict}: {fault.module}: {fault.old!r} -> {fault.new!r}", flush=True)
    return caught


def run_tests(tree: Path, *names: str) -> int:
    """Returns the exit status of pytest for files or tests below ``tests/``."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *(f"tests/{name}" for name in names)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
