"""The bytes of JSON, JSON rows, ``.npz`` and ``.safetensors``, both ways.

The same values give the same bytes, on every run and platform: no time stamps, no
order of a hash table, no compressor's version. Bytes that are no such file raise
ValueError, and so does every damage to an ``.npz`` that would change what it holds. A
changed digit in JSON or number in ``.safetensors`` shows in the manifest of the folder
alone.
"""

import contextlib
import io
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy


def plain(value: Any, where: str = "value") -> Any:
    """Returns a value as strict JSON can say it.

    Args:
        value: Mappings with string keys, sequences, arrays, strings, numbers (NumPy's
            too), booleans, None. NaN and infinities become None.
        where: What messages call it.

    Raises:
        ValueError: Something else, with the keys that lead to it.

    >>> plain({"l2": np.float64(0.5), "steps": (1, 2), "loss": float("nan")})
    {'l2': 0.5, 'steps': [1, 2], 'loss': None}
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise ValueError(f"{where}: found key {odd[0]!r}, expected a string")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    kind = type(value).__name__
    raise ValueError(f"{where}: found {kind} {value!r}, expected what JSON can hold")


def encode_json(value: Any) -> bytes:
    """Returns what ``plain`` takes as strict JSON; keys keep their order."""
    return (json.dumps(plain(value), allow_nan=False, indent=2) + "\n").encode()


def decode_json(data: bytes) -> Any:
    """Returns the value; ValueError with line and column where it is no strict JSON."""
    return _parse(data, first_line=1)


def encode_rows(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Returns mappings that ``plain`` takes as one strict JSON object a line."""
    lines = (
        json.dumps(plain(row, f"row {number}"), allow_nan=False) + "\n"
        for number, row in enumerate(rows)
    )
    return "".join(lines).encode()


def decode_rows(data: bytes) -> list[dict[str, Any]]:
    """Returns the rows; ValueError with the line that is damaged or cut short."""
    *lines, rest = data.split(b"\n")
    if rest:
        raise ValueError(f"line {len(lines) + 1}: cut short, it has no end")
    rows = []
    for number, line in enumerate(lines, start=1):
        row = _parse(line, first_line=number)
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: found {row!r}, expected an object")
        rows.append(row)
    return rows


def encode_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns numbers, booleans or text as an uncompressed ``.npz``, ordered by name.

    Raises:
        ValueError: An array of a type that ``.npy`` cannot name, such as bfloat16, or
            could only pickle.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            array = np.asarray(arrays[name], order="C")
            if array.dtype.kind not in "biufcSU":
                raise ValueError(f"array {name!r} is {array.dtype}, which .npz lacks")
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            # A bare name would be stamped with the time and the system.
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def decode_arrays(
    source: bytes | IO[bytes], names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Returns arrays of an ``.npz``, never unpickling; ValueError if damaged.

    Args:
        source: All of a file, or the file, open for reading.
        names: Of the arrays to read, where they are there; the others, which may be
            large, are not touched. All of them if None.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with _damage_as_value_error(), zipfile.ZipFile(file) as archive:
        there = [name.removesuffix(".npy") for name in archive.namelist()]
        # zipfile does not compare: a damaged directory may end before its last entry.
        file.seek(-12, io.SEEK_END)
        announced = int.from_bytes(file.read(2), "little")
        if len(there) != announced:
            raise ValueError(f"found {len(there)} arrays, expected {announced}")
        for member in archive.namelist():
            archive.open(member).close()  # compares its name with that at its data
        wanted = there if names is None else [n for n in names if n in there]
        return {name: _member(archive, f"{name}.npy") for name in wanted}


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    # Read to the end before parsing: only then is the checksum compared.
    data = io.BytesIO(archive.read(name))
    return np.lib.format.read_array(data, allow_pickle=False)


@contextlib.contextmanager
def _damage_as_value_error() -> Iterator[None]:
    try:
        yield
    # zipfile documents no closed set; of flipped bits came BadZipFile, EOFError,
    # NotImplementedError, RuntimeError and ValueError.
    except Exception as error:
        raise ValueError(f"no .npz or a damaged one ({error!r})") from error


def encode_tensors(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> bytes:
    """Returns a ``.safetensors`` file with tensors and strings of metadata."""
    data = safetensors_numpy.save(
        {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    )
    # Added here: the library orders the metadata anew in every call.
    header, body = _split_header(data)
    if metadata:
        header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def decode_tensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns tensors and metadata of a ``.safetensors`` file; ValueError if damaged.

    A flipped bit in the numbers is not seen: the format has no checksum.
    """
    try:
        tensors = safetensors_numpy.load(data)
    except (safetensors.SafetensorError, KeyError) as error:
        raise ValueError(f"no .safetensors or a damaged one ({error})") from error
    return tensors, _split_header(data)[0].get("__metadata__", {})


def _split_header(data: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def _parse(data: bytes, first_line: int) -> Any:
    try:
        return json.loads(data.decode(), parse_constant=_refuse)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise ValueError(f"line {line}, column {error.colno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        raise ValueError(f"line {line}: no UTF-8, {error.reason}") from error
    except ValueError as error:
        raise ValueError(f"after line {first_line - 1}: {error}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"found {constant}, which strict JSON lacks")
