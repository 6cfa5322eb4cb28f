"""What a person should know before trusting the numbers of a run, in plain text."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from linclf_jax.runs import probe_record


def warnings(selected: Mapping[str, Any]) -> list[str]:
    """Returns the warnings of a choice, and those of what it was tested on.

    Args:
        selected: ``selected.json``, or a cell of ``table.json``.
    """
    if "entries" not in selected:
        return [*selected["warnings"], *duplicates(selected["test"])]
    entries = (
        f"{probe_record.name(entry)}: {sentence}"
        for entry in selected["entries"]
        for sentence in duplicates(*(run["test"] for run in entry["runs"]))
    )
    return [*selected["warnings"], *entries]


def duplicates(*tests: Mapping[str, Any]) -> Iterator[str]:
    """Yields how many test rows trained or chose too, and the accuracy without them.

    Args:
        tests: Measurements of one or several classifiers on the same rows, of several
            the mean is told. Runs from before duplicates were counted say nothing.

    >>> without = {"size": 40, "accuracy": 0.875, "accuracy_interval": [0.739, 0.945]}
    >>> counted = {"rows": 2, "another_label": 1, "without": without}
    >>> (found,) = duplicates({"size": 42, "duplicates": counted})
    >>> print(*found.split("; "), sep=chr(10))
    2 of 42 test rows are byte-equal to a row of training or validation
    1 of them with another label
    without them the test accuracy is 0.8750 (95 % interval 0.739 to 0.945, 40 rows)
    """
    found = tests[0].get("duplicates")
    if not found or not found["rows"]:
        return
    where = (
        f"{found['rows']} of {tests[0]['size']} test rows are byte-equal to a row of "
        f"training or validation{another_label(found['another_label'])}"
    )
    if found["without"] is None:
        yield f"{where}; no other test rows are left"
        return
    low, high = found["without"]["accuracy_interval"]
    sure = f"95 % interval {low:.3f} to {high:.3f}"
    if len(tests) > 1:
        sure = f"mean of {len(tests)}"
    mean = np.mean([test["duplicates"]["without"]["accuracy"] for test in tests])
    yield (
        f"{where}; without them the test accuracy is {mean:.4f} ({sure}, "
        f"{found['without']['size']} rows)"
    )


def another_label(count: int) -> str:
    """A clause on rows whose equals all have another label; empty for none.

    Args:
        count: Of these.
    """
    return f"; {count} of them with another label" if count else ""
