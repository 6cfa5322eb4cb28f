"""Search spaces that flags alone cannot say: several grids, as JSON.

    {"grids": [
      {"optimizer": "adam", "learning_rate": "log:1e-4:1e-1:10", "epochs": [30, 60]},
      {"optimizer": "lars", "learning_rate": [1, 3, 10]}
    ]}

Each grid overrides flags of the search, and its trials follow those of the grid before
it. A value is one, or a list; for a hyper-parameter also the text of its flag.
"""

import json
import math
from pathlib import Path
from typing import Any

from linclf_jax.runs import formats
from linclf_jax.training import search_space
from linclf_jax.training.settings import Hparams

FLAG = "--grid_file"
# The static choices that flags sweep, from the slowest to the fastest to change.
GROUPS = {
    "features": str,
    "loss": str,
    "optimizer": str,
    "schedule": str,
    "batch_size": int,
    "epochs": int,
    "preprocessing": str,
}
KINDS = {**GROUPS, **dict.fromkeys((*Hparams._fields, "C"), float)}
_TYPES = {str: (str,), int: (int,), float: (int, float)}  # of an item
_EXPECTED = {
    str: "a name or a list of them",
    int: "an integer or a list of them",
    float: "a number, a list of them, or a text such as log:1e-3:1:10",
}


def read(value: str) -> str:
    """Returns the JSON of ``--grid_file`` on one line, from a path or as it is.

    A run directory whose flags hold the text needs no other file to be replayed.

    Args:
        value: A path, or JSON text: what starts with a brace.

    Raises:
        ValueError: It is no grid file; with the path, and the grid and name in it.
            Or it cannot be read.
    """
    if value.lstrip().startswith("{"):
        data, where = value.encode(), FLAG
    else:
        where = f"{FLAG} {value}"
        try:
            data = Path(value).read_bytes()
        except OSError as error:
            raise ValueError(f"{where}: {error.strerror}") from error
    grids, _ = _decode(data, where)
    return json.dumps({"grids": grids}, separators=(",", ":"))


def overrides(text: str) -> tuple[dict[str, Any], ...]:
    """Returns for each grid of JSON the flags that it overrides, as values of fields.

    Raises:
        ValueError: It is no grid file; with the grid and name.

    >>> overrides('{"grids": [{"optimizer": "lars", "l2": [0, 1]}]}')
    ({'optimizer': ('lars',), 'l2': (0.0, 1.0)},)
    """
    _, values = _decode(text.encode(), FLAG)
    return values


def _decode(data: bytes, where: str) -> tuple[list[Any], tuple[dict[str, Any], ...]]:
    """Returns the grids as they stand, and as values of fields."""
    try:
        value = formats.decode_json(data)
        json.loads(data, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {error}") from error
    grids = value.get("grids") if isinstance(value, dict) else None
    if not (isinstance(grids, list) and grids and len(value) == 1):
        raise ValueError(
            f'{where}: found {_brief(value)}; expected {{"grids": [...]}} alone, with '
            "at least one grid"
        )
    numbered = enumerate(grids, start=1)
    return grids, tuple(_overrides(grid, f"{where}, grid {i}") for i, grid in numbered)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"found {name!r} twice in one object; expected it once")
    return dict(pairs)


def _overrides(grid: Any, where: str) -> dict[str, Any]:
    if not isinstance(grid, dict):
        raise ValueError(
            f"{where}: found {_brief(grid)}; expected an object such as "
            '{"optimizer": "adam"}'
        )
    for name in grid:
        if name not in KINDS:
            raise ValueError(
                f"{where}: nothing to search over is named {name!r}; expected one of "
                f"{', '.join(KINDS)}"
            )
    return {name: _values(name, grid[name], f"{where}: {name}") for name in grid}


def _values(name: str, value: Any, where: str) -> search_space.Axis | tuple:
    kind = KINDS[name]
    items = value if isinstance(value, list) else [value]
    try:
        if kind is float and isinstance(value, str):
            return search_space.parse(value)
        # By type, not isinstance: true is no integer here.
        if not items or any(type(item) not in _TYPES[kind] for item in items):
            raise ValueError(f"found {_brief(value)}; expected {_EXPECTED[kind]}")
        values = tuple(map(kind, items))
        if kind is float and not all(map(math.isfinite, values)):
            raise ValueError(f"found {_brief(value)}; expected finite numbers")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error
    return values


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
