"""Names of classes in a file of their own, for labels that are integers."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linclf_jax.data import checks
from linclf_jax.data.checks import BadFileError

_MAX_SIZE = 2**26  # bytes
_EXPECTED = "a name a line, or .json with a list of names or an object {integer: name}"


def read(path: str | Path) -> Mapping[int, str]:
    """Returns the name of each integer.

    Args:
        path: A text in UTF-8 with a name a line, the first of which is the name of 0;
            or ``.json``, a list of names or an object from integers to names.

    Raises:
        BadFileError: The file is bad, a name is missing, or two are equal.
    """
    with checks.reading(path, _EXPECTED):
        if Path(path).stat().st_size > _MAX_SIZE:
            raise BadFileError(f"{path} is too large; expected {_EXPECTED}")
        text = Path(path).read_text(encoding="utf-8-sig")
        if Path(path).suffix.lower() == ".json":
            content = json.loads(text, object_pairs_hook=_unrepeated)
        else:
            content = [line.strip() for line in text.rstrip().splitlines()]
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        names = {int(key): name for key, name in pairs}
    if isinstance(content, dict):
        for key in content:
            if str(int(key)) != key:
                raise BadFileError(
                    f"{path} names {key!r}; expected integers, this one as {int(key)}"
                )
    for key, name in names.items():
        if not isinstance(name, str) or not name:
            raise BadFileError(f"{path} names {key} {name!r}; expected {_EXPECTED}")
    repeated = [name for name, count in Counter(names.values()).items() if count > 1]
    if not names:
        raise BadFileError(f"{path} has no names; expected {_EXPECTED}")
    if repeated:
        raise BadFileError(
            f"{path} has {len(names)} names, {len(repeated)} of them more than once, "
            f"such as {repeated[0]!r}; expected a name of its own for each class"
        )
    return names


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses two values of one key, of which Python would take the last."""
    counts = Counter(key for key, _ in pairs)
    repeated = [key for key, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(f"{repeated[0]!r} is there more than once")
    return dict(pairs)
