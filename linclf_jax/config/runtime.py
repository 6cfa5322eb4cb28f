"""Where and how a study runs. None of it changes a result."""

import dataclasses
import math

from linclf_jax.config.fields import flag


@dataclasses.dataclass(frozen=True)
class RuntimeConfig:
    """Of every study."""

    out_dir: str | None = flag(None, "The run directory; a new one in runs/ if unset.")
    checkpoint_every: float = flag(
        60.0, "Seconds between checkpoints of unfinished fits."
    )
    compilation_cache: str | None = flag(
        None,
        "A folder for compiled programs; none for no cache; a private one in the "
        "user's own cache if unset.",
    )


@dataclasses.dataclass(frozen=True)
class SchedulerConfig:
    """Of trials that are trained, in batches of one program each."""

    memory_budget: str | None = flag(
        None,
        "Most memory that training may take, such as 8GiB; by what is free if unset.",
    )
    devices: str = flag("1", "How many devices train at once, or all.")
    concurrent_batches: int | None = flag(
        None, "Programs that train side by side on a device; planned if unset."
    )
    tensorboard: bool = flag(False, "Write TensorBoard's event files too.")


NOT_COMPARED = (RuntimeConfig, SchedulerConfig)


def validate(runtime: RuntimeConfig, scheduler: SchedulerConfig | None = None) -> None:
    """Checks all but the memory, which the scheduler reads.

    Raises:
        ValueError: With the flag's name, what was found and what is allowed.
    """
    if not 0 <= runtime.checkpoint_every < math.inf:
        raise ValueError(
            f"--checkpoint_every is {runtime.checkpoint_every}; expected seconds, at "
            "least 0 and finite"
        )
    if scheduler is None:
        return
    count = scheduler.concurrent_batches
    if count is not None and count < 1:
        raise ValueError(f"--concurrent_batches is {count}; expected at least 1")
    is_number = scheduler.devices.isdecimal() and int(scheduler.devices) >= 1
    if not (is_number or scheduler.devices == "all"):
        raise ValueError(
            f"--devices is {scheduler.devices!r}; expected a number of at least 1, or "
            "all"
        )
