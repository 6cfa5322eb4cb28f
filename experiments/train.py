"""Trains one linear classifier: the sweep's flags, each with a single value.

    python -m experiments.train --optimizer=adam --learning_rate=0.1 --l2=1e-3

It is a sweep of one trial: the same program at the same ``--trials_per_batch``, filled
up with copies whose results are dropped. So the trial's row has the same bits as in the
sweep that it comes from; with ``--trials_per_batch=1`` it takes a fraction of the time.
It prints the learning curve and the test accuracy.

    python -m experiments.train --replay=runs/my-sweep --trial=174

fits that trial of any run again, alone, and says how far it is from its row: by no bit,
on the machine that made the run.
"""

import dataclasses
from pathlib import Path

from linclf_jax.cli import compilation_cache, console, main
from linclf_jax.config import flat
from linclf_jax.config import sweep as sweep_config
from linclf_jax.config.fields import flag, part
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.studies import pipeline, replay, run_files, sweep


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A sweep of one trial, or a trial of a run to fit again."""

    sweep: SweepConfig = part(SweepConfig())
    replay: str | None = flag(None, "A run directory, a trial of which to fit again.")
    trial: int | None = flag(None, "Which trial of --replay.")


def run(config: TrainConfig) -> None:
    """Trains the classifier that the flags describe, or fits a trial again."""
    compilation_cache.enable_cache(config.sweep.runtime.compilation_cache)
    if config.replay is not None and config.trial is not None:
        _require_no_others(config.sweep)
        print(console.replayed(replay.run(Path(config.replay), config.trial)))
        return
    if config.replay is not None or config.trial is not None:
        raise ValueError("expected --replay=RUN_DIRECTORY and --trial=NUMBER together")
    sweep_config.validate_single(config.sweep)
    study = sweep.prepare(config.sweep, "train")
    result = pipeline.run(study, run_files.out_dir(study.plan))
    print(f"{console.curves(result.history)}\n\n{console.summary(result)}")


def _require_no_others(config: SweepConfig) -> None:
    """Refuses flags that a replay would not heed."""
    flags = zip(flat.flags(config), flat.flags(SweepConfig()), strict=True)
    others = [
        f"--{given.name}"
        for given, default in flags
        if given.value != default.value and given.name != "compilation_cache"
    ]
    if others:
        raise ValueError(
            "--replay takes all flags from its run directory; expected no "
            f"{', '.join(others)} beside it"
        )


SCRIPT = main.Script(run, TrainConfig())

if __name__ == "__main__":
    main.launch(SCRIPT)
