"""Joins the shards of a sweep into the run directory that one process would have made.

    python -m experiments.sweep --num_shards=2 --shard_index=0 --out_dir=runs/part-0
    python -m experiments.sweep --num_shards=2 --shard_index=1 --out_dir=runs/part-1
    python -m experiments.merge runs/part-0 runs/part-1 --out_dir=runs/whole

Shards train a share of the trials each, in jobs that need not know of one another. The
selection is made here, among all trials, and the test split is read here, once. It
prints what ``experiments.sweep`` does.
"""

from pathlib import Path

from linclf_jax.cli import compilation_cache, console, main
from linclf_jax.config.parts import RuntimeConfig
from linclf_jax.studies import merge, pipeline


def run(config: RuntimeConfig, *shards: str) -> None:
    """Joins the directories that the command line names."""
    if config.out_dir is None:
        raise ValueError("expected --out_dir, the run directory to make")
    compilation_cache.enable_cache(config.compilation_cache)
    study = merge.prepare([Path(shard) for shard in shards])
    print(console.summary(pipeline.run(study, config.out_dir)))


SCRIPT = main.Script(run, RuntimeConfig(), "RUN_DIRECTORY...")

if __name__ == "__main__":
    main.launch(SCRIPT)
