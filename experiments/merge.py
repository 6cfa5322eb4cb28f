"""Joins the shards of a sweep into the run folder that one process would have made.

    python -m experiments.sweep --num_shards=2 --shard_index=0 --out_dir=runs/part-0
    python -m experiments.sweep --num_shards=2 --shard_index=1 --out_dir=runs/part-1
    python -m experiments.merge runs/part-0 runs/part-1 --out_dir=runs/whole

Shards train a share of the lanes each, in jobs that need not know of one another. The
choice is made here, among all lanes, and the test split is looked at here, once.
"""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from linclf_jax.cli import compilation_cache, console
from linclf_jax.cli import main as launch
from linclf_jax.cli import options as shared_flags
from linclf_jax.config import penalty
from linclf_jax.runs import checkpoint, configuration, directory, lock
from linclf_jax.scheduler import signals
from linclf_jax.scheduler.scheduler import Engine
from linclf_jax.scheduler.worker import Stopped
from linclf_jax.studies import folders, outcome
from linclf_jax.studies import problem as problem_lib
from linclf_jax.studies.outcome import Outcome

_OUT_DIR = flags.DEFINE_string("out_dir", None, "The run folder to make.")


def run(shards: Sequence[Path], out_dir: Path) -> Outcome:
    """Checks that the shards are all of one sweep, joins them, chooses and tests.

    Args:
        shards: Run folders of all shards, in any order; they are left as they are.
        out_dir: The folder to make.

    Raises:
        ValueError: A shard is missing, there twice, unfinished, damaged, or of another
            configuration; ``out_dir`` holds something else.
        interrupt.Interrupted: A signal stopped it; the same command goes on.
    """
    for folder in shards:
        if shards.count(folder) > 1:
            raise ValueError(f"{folder} is there twice; expected each shard once")
    for folder in shards:
        if not (folder / directory.CONFIG).is_file():
            raise ValueError(f"{folder} is no run folder: it has no {directory.CONFIG}")
    configs = {folder: directory.read(folder / "config.json") for folder in shards}
    validate(configs)
    for folder in shards:
        directory.verify(folder)
    config = shared_flags.read(shards[0] / "flags.txt")
    config = dataclasses.replace(config, num_shards=1, shard_index=0)
    problem = problem_lib.prepare(config)
    experiment = configs[shards[0]]["experiment"]
    with signals.Stop() as stop, lock.locked(out_dir):
        folders.open_run(out_dir, config, problem.dataset, experiment)
        _check_same(configs, directory.read(out_dir / "config.json"))
        (out_dir / checkpoint.FOLDER).mkdir(exist_ok=True)
        for folder in shards:
            for piece in sorted((folder / checkpoint.FOLDER).iterdir()):
                shutil.copyfile(piece, out_dir / checkpoint.FOLDER / piece.name)
        lanes = [lane.trial for lane in problem.lanes]
        with Engine(out_dir, problem, stop, folders.tell) as engine:
            try:
                return outcome.finish(
                    out_dir,
                    problem,
                    lanes,
                    experiment,
                    train_alone=engine.alone,
                    before_seal=lambda _: None,
                    tell=folders.tell,
                )
            except Stopped:
                name, done = stop.requested() or "a signal", len(lanes)
                raise signals.Interrupted(name, done, done, out_dir) from None


def validate(configs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Checks that folders are the shards of one sweep, each of them once.

    Args:
        configs: What the ``config.json`` of each folder holds.

    Raises:
        ValueError: With the folders, what was found and what was expected.
    """
    if not configs:
        raise ValueError("expected the run folders of all shards")
    counts = {folder: c["flags"].get("num_shards", 1) for folder, c in configs.items()}
    first, count = next(iter(counts.items()))
    if set(counts.values()) != {count} or count < 2:
        found = ", ".join(f"{folder}: {n}" for folder, n in counts.items())
        raise ValueError(f"found numbers of shards {found}; expected one, above 1")
    by_index: dict[int, Path] = {}
    for folder, config in configs.items():
        index = config["flags"]["shard_index"]
        if index in by_index:
            raise ValueError(f"{by_index[index]} and {folder} are both shard {index}")
        by_index[index] = folder
    missing = sorted(set(range(count)) - set(by_index))
    if missing:
        raise ValueError(
            f"found {len(by_index)} shards of {count}; missing shards are "
            f"{', '.join(map(str, missing))}"
        )
    _check_same(configs, configs[first])


def _check_same(
    configs: Mapping[Path, Mapping[str, Any]], like: Mapping[str, Any]
) -> None:
    """Refuses shards that differ in more than which shard they are."""
    for folder, config in configs.items():
        flags_here = {**config["flags"]}
        flags_here |= {k: like["flags"].get(k) for k in ("num_shards", "shard_index")}
        differences = configuration.differences(like, {**config, "flags": flags_here})
        if differences:
            raise ValueError(
                f"{folder} is of another configuration, it differs in "
                f"{len(differences)}: {'; '.join(differences)}"
            )


def main(*folders: str) -> None:
    """Joins the folders that the command line names."""
    if _OUT_DIR.value is None:
        raise ValueError("expected --out_dir, the run folder to make")
    compilation_cache.enable_cache(None)
    out_dir = Path(_OUT_DIR.value)
    outcome = run([Path(folder) for folder in folders], out_dir)
    config = shared_flags.read(out_dir / "flags.txt")
    print(console.summary(*outcome, also=penalty.columns(config)))


if __name__ == "__main__":
    launch.launch(main, "RUN_FOLDER...")
