"""Pickles of NumPy arrays in plain containers, and nothing else.

A pickle is a program. This one is looked through before it runs: only instructions that
build plain values are let in, and instead of NumPy's own functions it finds stand-ins,
which write down what an array is said to be. The array is made afterwards, from bytes
that are as many as it needs. Pickles of Python 2 and 3, of NumPy 1 and 2 are read.
"""

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.data import door
from linclf_jax.data.door import BadFileError

_EXPECTED = "a pickle of NumPy arrays and plain containers"
# Those that make or gather values, and the two that call one of the stand-ins.
_INSTRUCTIONS = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "MEMOIZE"),
    *("PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2"),
    *("LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BYTEARRAY8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    *("DICT", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
_REMEMBER = ("PUT", "BINPUT", "LONG_BINPUT")


class _Dtype:
    """What ``numpy.dtype`` is told in a pickle."""

    def __init__(self, text: Any, *_: Any) -> None:
        self.text = _text(text)
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])

    def real(self) -> np.dtype:
        """Returns the type of numbers that is meant; no other kind is."""
        found = np.dtype(self.text)
        if found.kind not in tuple("iuf") or self.order not in "<>=|":
            raise ValueError(f"found an array of {self.text}, expected numbers")
        return found.newbyteorder(">" if self.order == ">" else "=")


class _Array:
    """What ``numpy.ndarray`` is told in a pickle."""

    shape: tuple[int, ...] = ()
    dtype: _Dtype
    fortran = False
    content: bytes

    def __setstate__(self, state: Any) -> None:
        _, shape, self.dtype, fortran, content = state
        self.shape, self.fortran = tuple(shape), bool(fortran)
        # Python 2 wrote bytes as text, one character each.
        text = isinstance(content, str)
        self.content = content.encode("latin-1") if text else bytes(content)

    def real(self) -> np.ndarray:
        """Returns the array, if its bytes are as many as it says."""
        dtype = self.dtype.real()
        if any(not isinstance(n, int) or n < 0 for n in self.shape):
            raise ValueError(f"found shape {self.shape}")
        expected = math.prod(self.shape) * dtype.itemsize
        if len(self.content) != expected:
            raise ValueError(f"found {len(self.content)} bytes, expected {expected}")
        order = "F" if self.fortran else "C"
        return np.frombuffer(self.content, dtype).reshape(self.shape, order=order)


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise ValueError("found another class than that of arrays")
    return _Array()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", content))
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1":  # how Python 3 writes bytes for Python 2
        raise ValueError(f"found encoding {encoding}, expected latin1")
    return text.encode("latin-1")


_STAND_INS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in of what a pickle asks for; nothing else is found.

        Args:
            module: Where the pickle wants it from.
            name: What it is called there.
        """
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _STAND_INS[module, name]


def loads(content: bytes, path: str | Path) -> Any:
    """Returns what a pickle holds: arrays, numbers, texts, lists, tuples and dicts.

    Args:
        content: The pickle.
        path: Its file, for messages.

    Raises:
        BadFileError: It is damaged, asks for anything else, or has bytes after its end.
    """
    with door.reading(path, _EXPECTED):
        _look_through(content, path)
        stream = io.BytesIO(content)
        found = _Unpickler(stream, encoding="latin1").load()
        return _real(found)


def _look_through(content: bytes, path: str | Path) -> None:
    end = -1
    for instruction, argument, place in pickletools.genops(content):
        name, end = instruction.name, place or 0
        if name not in _INSTRUCTIONS:
            raise BadFileError(
                f"{path} holds the instruction {name}; expected {_EXPECTED}"
            )
        # A memo is allocated up to its highest number.
        if name in _REMEMBER and int(argument or 0) > len(content):
            raise BadFileError(
                f"{path} remembers {argument} things; expected {_EXPECTED}"
            )
    if end != len(content) - 1:
        raise BadFileError(f"{path} goes on after the end of its pickle, at {end}")


def _real(found: Any) -> Any:
    """Returns containers with arrays in place of their stand-ins, two levels deep."""
    if isinstance(found, _Array):
        return found.real()
    if isinstance(found, dict):
        return {
            _text(key): value.real() if isinstance(value, _Array) else value
            for key, value in found.items()
        }
    return found


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
