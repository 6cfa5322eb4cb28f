"""Damages valid data files in many ways and reads them again.

    python -m tests.fuzz.fuzz_files --count=20000

Each reading must end in a ``ValueError`` that names the file, or in arrays that are
right: the original ones where the format has checksums, and what the bytes say where it
has none. It ends with the number of each, what the slowest reading took and how far
memory grew, and exit status 0; anything else is a traceback that names the mutation.
"""

import argparse
import random
import re
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from linclf_jax.data import formats
from tests.fuzz import valid_files
from tests.fuzz.valid_files import Arrays, ValidFile

_SLOWEST = 10.0  # seconds
_MEMORY = 2**20  # bytes; none of the files has as many
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)
_DIGITS = (b"0", b"-1", b"7", b"4294967296", b"9" * 30, b"9" * 5000)
_COMMANDS = (  # what would make an unpickler run a command
    b"cos\nsystem\n(S'touch CANARY'\ntR.",
    b"\x80\x02cposix\nsystem\nX\x0c\x00\x00\x00touch CANARY\x85R.",
    b'c__builtin__\neval\n(S\'open("CANARY", "w")\'\ntR.',
    b"(S'touch CANARY'\nios\nsystem\n.",
)


class Summary(NamedTuple):
    """How all readings ended."""

    refused: int
    read: int
    slowest: float  # seconds
    growth: int  # bytes of memory


def run(count: int, seed: int = 0) -> Summary:
    """Damages and reads ``count`` files, the formats in turn.

    Raises:
        AssertionError: A reading ended in another way than it may; with the format and
            the number of the mutation, which the seed makes again.
    """
    before, files = _peak(), valid_files.make()
    refused, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as parent:
        canary = Path(parent, "executed")
        for number in range(count):
            file = files[number % len(files)]
            folder = Path(parent, f"{number % len(files)}")
            folder.mkdir(exist_ok=True)
            content = mutate(file.content, random.Random(f"{seed} {number}"))
            content = content.replace(b"CANARY", str(canary).encode())
            start = time.monotonic()
            try:
                refused += not read(file, content, folder)
                slowest = max(slowest, time.monotonic() - start)
                _require(slowest < _SLOWEST, "slow")
                _require(not canary.exists(), "ran code")
            except BaseException as error:
                error.add_note(f"{file.name}, mutation {number} of seed {seed}")
                raise
    return Summary(refused, count - refused, slowest, _peak() - before)


def read(file: ValidFile, content: bytes, folder: Path) -> bool:
    """Returns whether a damaged file was read; if it was, then rightly."""
    path = folder / file.name
    path.write_bytes(content)
    try:
        with mock.patch.object(formats, "memory", return_value=_MEMORY):
            arrays = file.read(path)
    except ValueError as error:
        _require(str(folder) in str(error), f"no path in: {error}")
        return False
    _require(_is_right(file, content, arrays), "other arrays than the file says")
    return True


def _is_right(file: ValidFile, content: bytes, arrays: Arrays) -> bool:
    try:
        return file.is_right(content, arrays)
    except Exception:  # the second reader refuses what the first has read
        return False


def _require(holds: bool, message: str) -> None:
    if not holds:  # and not `assert`, which -O leaves out
        raise AssertionError(message)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Returns bytes with one to three faults."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_FAULTS)(data, rng)
    return bytes(data)


def _flip(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 8))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _truncate(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def _insert(data: bytearray, rng: random.Random) -> bytearray:
    index = rng.randrange(len(data) + 1)
    data[index:index] = rng.randbytes(rng.choice((1, 4, 64)))
    return data


def _swap(data: bytearray, rng: random.Random) -> bytearray:
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _extreme(data: bytearray, rng: random.Random) -> bytearray:
    """Sets a number to its ends, mostly near the beginning or the end of the file."""
    size = rng.choice((1, 2, 4, 8))
    near = min(len(data), 160)
    index = rng.choice((rng.randrange(near + 1), len(data) - rng.randrange(near + 1)))
    number = bytes([rng.choice(_EXTREMES)]) + bytes([rng.choice(_EXTREMES)]) * 7
    data[index : index + size] = rng.choice((number[:size], number[size - 1 :: -1]))
    return data


def _digits(data: bytearray, rng: random.Random) -> bytearray:
    if numbers := list(re.finditer(rb"\d+", data[:160])):
        number = rng.choice(numbers)
        data[number.start() : number.end()] = rng.choice(_DIGITS)
    return data


def _command(data: bytearray, rng: random.Random) -> bytearray:
    index = rng.choice((0, rng.randrange(len(data) + 1)))
    data[index:index] = rng.choice(_COMMANDS)
    return data


_FAULTS = (_flip, _flip, _truncate, _insert, _swap, _extreme, _digits, _command)


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Damages data files and reads them.")
    parser.add_argument("--count", type=int, default=20_000, help="damaged files")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    summary = run(**vars(parser.parse_args()))
    print(
        f"{summary.refused} damaged files refused, {summary.read} read rightly; the "
        f"slowest took {summary.slowest:.2f} s, memory grew by "
        f"{summary.growth / 2**20:.0f} MiB"
    )
