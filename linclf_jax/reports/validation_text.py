"""What a validation score is worth: how sure it is, and how much of it is luck.

Functions take what ``selected.json`` holds and return plain text.
"""

from collections.abc import Mapping
from typing import Any

NOTHING = 5e-5  # of an accuracy, which is shown with four digits


def flattery(selected: Mapping[str, Any]) -> str:
    """How much of the best validation accuracy is luck; empty where that is unknown.

    Args:
        selected: ``selected.json``; nothing is known where there was no choice.

    >>> flattery({"optimism": {"settings": 45, "accuracy": 0.00312}})
    'the best of 45 settings is expected to flatter itself by 0.0031 in accuracy'
    >>> flattery({"optimism": {"settings": 45, "accuracy": -0.0002}})
    'the best of 45 settings is not expected to flatter itself in accuracy'
    """
    found = selected.get("optimism")
    if found is None:
        return ""
    # An estimate: where there is next to nothing to find it falls on either side of 0.
    if found["accuracy"] < NOTHING:
        return (
            f"the best of {found['settings']:,} settings is not expected to flatter "
            "itself in accuracy"
        )
    return (
        f"the best of {found['settings']:,} settings is expected to flatter itself by "
        f"{found['accuracy']:.4f} in accuracy"
    )


def interval(selected: Mapping[str, Any]) -> str:
    """The interval of a validation accuracy; empty where that is unknown.

    Args:
        selected: ``selected.json``.

    >>> interval({"validation": {"accuracy_interval": [0.25, 0.5]}})
    '95 % interval 0.2500 to 0.5000'
    """
    found = selected.get("validation")
    if found is None:
        return ""
    low, high = found["accuracy_interval"]
    return f"95 % interval {low:.4f} to {high:.4f}"


def judged(selected: Mapping[str, Any], candidates: int, what: str) -> str:
    """How sure a validation accuracy is, and what choosing did to it.

    Args:
        selected: ``selected.json``.
        candidates: how many were compared.
        what: these are, in the plural.

    Returns:
        Clauses that go on a sentence; empty where nothing was compared or is known.
    """
    clauses = [interval(selected)]
    if candidates > 1:
        effect = "so expect less"
        if optimism := selected.get("optimism"):
            effect = f"which flatters the best by about {optimism['accuracy']:.4f}"
            if optimism["accuracy"] < NOTHING:
                effect = "which is not expected to flatter the best"
        clauses.append(f"it served to choose among {candidates:,} {what}, {effect}")
    return "".join(f"; {clause}" for clause in clauses if clause)
