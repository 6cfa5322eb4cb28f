"""Damages valid data files in many ways and reads them again.

    python -m tests.fuzz.fuzz_files --count=20000

Each reading must end in a ``ValueError`` that names the file, or in arrays that are
right: the original ones where the format has checksums, and what the bytes say where it
has none. It ends with the number of each, what the slowest reading took and how far
memory grew, and exit status 0; anything else is a traceback that names the mutation.
"""

import dataclasses
import random
import re
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from linclf_jax.cli import main as launch
from linclf_jax.cli import options as shared_flags
from linclf_jax.config.fields import flag
from tests.fuzz import formats as fuzz_formats
from tests.fuzz.formats import Arrays, Format

_SLOWEST = 10.0  # seconds
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)
_CANARY = "executed"


@dataclasses.dataclass(frozen=True)
class Config:
    """How many files, and which."""

    count: int = flag(20_000, "How many damaged files, of all formats together.")
    seed: int = flag(0, "Of the damage.")


class Found(NamedTuple):
    """What came of all readings."""

    refused: int
    read: int
    slowest: float  # seconds
    growth: int  # bytes of memory


def run(config: Config) -> Found:
    """Damages and reads files, the formats in turn.

    Raises:
        AssertionError: A reading ended in another way than it may; with the format and
            the number of the mutation, which ``--seed`` makes again.
    """
    before, formats = _peak(), fuzz_formats.make()
    refused, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(config.count):
            case = formats[number % len(formats)]
            place = Path(folder, f"{number % len(formats)}")
            place.mkdir(exist_ok=True)
            canary = Path(folder, _CANARY)
            content = mutate(case.content, random.Random(f"{config.seed} {number}"))
            content = content.replace(b"CANARY", str(canary).encode())
            start = time.monotonic()
            try:
                refused += not read(case, content, place)
            except BaseException as error:
                error.add_note(f"{case.name}, mutation {number} of seed {config.seed}")
                raise
            slowest = max(slowest, time.monotonic() - start)
            _require(slowest < _SLOWEST, f"{case.name}, mutation {number} is slow")
            _require(not canary.exists(), f"{case.name}, mutation {number} ran code")
    return Found(refused, config.count - refused, slowest, _peak() - before)


def read(case: Format, content: bytes, folder: Path) -> bool:
    """Returns whether a damaged file was read; if it was, then rightly.

    Raises:
        AssertionError: The arrays are wrong, or the message does not name the file.
    """
    path = folder / case.name
    path.write_bytes(content)
    try:
        arrays = case.read(path)
    except ValueError as error:
        message = str(error)
    else:
        _require(_is_right(case, content, arrays), "other arrays than the file says")
        return True
    _require(str(folder) in message, f"no path in: {message}")
    return False


def _is_right(case: Format, content: bytes, arrays: Arrays) -> bool:
    try:
        return case.is_right(content, arrays)
    except Exception:  # the second reader refuses what the first has read
        return False


def _require(holds: bool, message: str) -> None:
    if not holds:  # and not `assert`, which -O leaves out
        raise AssertionError(message)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Returns bytes with one to three faults.

    Args:
        content: A valid file.
        rng: Draws the faults.
    """
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
    place = rng.randrange(len(data) + 1)
    data[place:place] = rng.randbytes(rng.choice((1, 4, 64)))
    return data


def _swap(data: bytearray, rng: random.Random) -> bytearray:
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _extreme(data: bytearray, rng: random.Random) -> bytearray:
    """Sets a number to its ends, mostly near the beginning or the end of the file."""
    size = rng.choice((1, 2, 4, 8))
    near = min(len(data), 160)
    place = rng.choice((rng.randrange(near + 1), len(data) - rng.randrange(near + 1)))
    number = bytes([rng.choice(_EXTREMES)]) + bytes([rng.choice(_EXTREMES)]) * 7
    data[place : place + size] = rng.choice((number[:size], number[size - 1 :: -1]))
    return data


def _digits(data: bytearray, rng: random.Random) -> bytearray:
    numbers = list(re.finditer(rb"\d+", data[:160]))
    if numbers:
        found = rng.choice(numbers)
        other = rng.choice((b"0", b"-1", b"7", b"4294967296", b"9" * 30, b"9" * 5000))
        data[found.start() : found.end()] = other
    return data


def _payload(data: bytearray, rng: random.Random) -> bytearray:
    """Puts in what would make an unpickler run a command."""
    place = rng.choice((0, rng.randrange(len(data) + 1)))
    data[place:place] = rng.choice(
        (
            b"cos\nsystem\n(S'touch CANARY'\ntR.",
            b"\x80\x02cposix\nsystem\nX\x0c\x00\x00\x00touch CANARY\x85R.",
            b'c__builtin__\neval\n(S\'open("CANARY", "w")\'\ntR.',
            b"(S'touch CANARY'\nios\nsystem\n.",
        )
    )
    return data


_FAULTS = (_flip, _flip, _truncate, _insert, _swap, _extreme, _digits, _payload)


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Damages as many files as the flags say."""
    found = run(Config(**shared_flags.values(Config)))
    print(
        f"{found.refused} damaged files refused, {found.read} read rightly; the "
        f"slowest took {found.slowest:.2f} s, memory grew by "
        f"{found.growth / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    shared_flags.define(Config())
    launch.launch(main)
