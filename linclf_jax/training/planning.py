"""How many batches of trials are trained at once: as many as fit the memory.

Pure arithmetic. What a batch takes is what its compiled program says; what there is,
and what is in use, the caller has measured. A prediction can be too low, so that a
program still runs out of memory: then ``fewer`` batches are tried.
"""

from typing import Any, NamedTuple

import jax


class Plan(NamedTuple):
    """How many batches at once, and why. Sizes are bytes."""

    at_once: int
    predicted_bytes: int  # in use at the peak, what is resident included
    budget_bytes: int


def plan(
    *, budget: int, resident: int, per_batch: int, num_batches: int, most: int
) -> Plan:
    """Returns the plan with as many batches at once as fit the budget.

    Args:
        budget: Bytes that may be in use, ``resident`` included.
        resident: Bytes in use already: the process, its programs, its data.
        per_batch: Bytes that one more batch takes.
        num_batches: Of the sweep.
        most: Tiles at once beyond which no speed is gained.

    Raises:
        ValueError: Not even one batch fits.

    >>> plan(budget=1000, resident=100, per_batch=250, num_batches=8, most=16)
    Plan(at_once=3, predicted_bytes=850, budget_bytes=1000)
    """
    fitting = (budget - resident) // max(1, per_batch)
    at_once = max(1, min(fitting, num_batches, most))
    predicted = resident + at_once * per_batch
    if predicted > budget:
        raise ValueError(
            f"one batch of trials takes {_mib(per_batch)} beside {_mib(resident)} in "
            f"use, {_mib(predicted)} in all; expected at most the memory budget of "
            f"{_mib(budget)}: make --trials_per_batch smaller or --memory_budget larger"
        )
    return Plan(at_once, predicted, budget)


def program_bytes(memory_analysis: Any) -> int:
    """Returns the bytes that a compiled program takes while it runs.

    Args:
        memory_analysis: Of ``compiled.memory_analysis()``; None, from a platform that
            does not tell, counts as 0.
    """
    if memory_analysis is None:
        return 0
    return (
        memory_analysis.argument_size_in_bytes
        + memory_analysis.output_size_in_bytes
        + memory_analysis.temp_size_in_bytes
        + memory_analysis.generated_code_size_in_bytes
        # Outputs that lie where arguments lay were counted twice.
        - memory_analysis.alias_size_in_bytes
    )


def fewer(at_once: int) -> int:
    """Returns how many batches to try when so many were too many: half, at least 1.

    Args:
        at_once: At least 1.
    """
    return max(1, at_once // 2)


def is_exhausted(error: BaseException) -> bool:
    """Returns whether an exception means that the memory was too small.

    Args:
        error: What a program raised when it was compiled, called or waited for.
    """
    if isinstance(error, MemoryError):
        return True
    told = str(error)
    return isinstance(error, jax.errors.JaxRuntimeError) and any(
        sign in told for sign in ("RESOURCE_EXHAUSTED", "CUDA_ERROR_OUT_OF_MEMORY")
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
