"""Pickles of NumPy arrays in plain containers, and nothing else.

A pickle is a program. Before it runs, its instructions are checked: only those that
build plain values are accepted. Instead of NumPy's own functions it gets stand-ins,
which record what an array is declared to be; the array is made afterwards, from as many
bytes as it declares. Pickles of Python 2 and 3, of NumPy 1 and 2 are read.
"""

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from linclf_jax.data import checks
from linclf_jax.data.checks import BadFileError

_EXPECTED = "a pickle of NumPy arrays and plain containers"
# Those that make or gather values, and the two that call one of the stand-ins.
_INSTRUCTIONS = """
    PROTO FRAME STOP MARK POP POP_MARK MEMOIZE
    PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2
    LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING BYTEARRAY8
    BINBYTES SHORT_BINBYTES BINBYTES8
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    EMPTY_LIST APPEND APPENDS LIST EMPTY_DICT SETITEM SETITEMS
    DICT EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    GLOBAL STACK_GLOBAL REDUCE BUILD
"""
_MEMOIZING = ("PUT", "BINPUT", "LONG_BINPUT")


def loads(content: bytes, path: str | Path) -> Any:
    """Returns the value of a pickle: arrays, numbers, texts, lists, tuples and dicts.

    Refused is one that is damaged, asks for anything else, or goes on after its end.
    """
    with checks.reading(path, _EXPECTED):
        _check_instructions(content, path)
        value = _Unpickler(io.BytesIO(content), encoding="latin1").load()
        if isinstance(value, dict):
            return {_to_text(key): _to_array(item) for key, item in value.items()}
        return _to_array(value)


def _check_instructions(content: bytes, path: str | Path) -> None:
    end, accepted = -1, {*_INSTRUCTIONS.split()}
    for instruction, argument, position in pickletools.genops(content):
        name, end = instruction.name, position or 0
        if name not in accepted:
            raise BadFileError(
                f"{path} holds the instruction {name}; expected {_EXPECTED}"
            )
        # Python allocates a memo up to its highest number.
        if name in _MEMOIZING and int(argument or 0) > len(content):
            raise BadFileError(
                f"{path} remembers {argument} things; expected {_EXPECTED}"
            )
    if end != len(content) - 1:
        raise BadFileError(f"{path} goes on after the end of its pickle, at {end}")


class _Dtype:
    """Records the arguments of ``numpy.dtype`` in a pickle."""

    def __init__(self, text: Any, *_: Any) -> None:
        self.text = _to_text(text)
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = _to_text(state[1])

    def to_numpy(self) -> np.dtype:
        dtype = np.dtype(self.text)
        if dtype.kind not in tuple("iuf") or self.order not in "<>=|":
            raise ValueError(f"found an array of {self.text}, expected numbers")
        return dtype.newbyteorder(">" if self.order == ">" else "=")


class _Array:
    """Records the state of a ``numpy.ndarray`` in a pickle."""

    shape: tuple[int, ...] = ()
    dtype: _Dtype
    fortran = False
    content: bytes

    def __setstate__(self, state: Any) -> None:
        _, shape, self.dtype, fortran, content = state
        self.shape, self.fortran = tuple(shape), bool(fortran)
        # Python 2 wrote bytes as text, one character each.
        is_text = isinstance(content, str)
        self.content = content.encode("latin-1") if is_text else bytes(content)

    def to_numpy(self) -> np.ndarray:
        dtype = self.dtype.to_numpy()
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
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in for a global of a pickle; all others are refused."""
        stand_in = _STAND_INS.get(f"{module}.{name}")
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return stand_in


def _to_array(value: Any) -> Any:
    return value.to_numpy() if isinstance(value, _Array) else value


def _to_text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
