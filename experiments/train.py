"""Trains one linear classifier: the sweep's flags, each with a single value.

    python -m experiments.train --optimizer=adam --learning_rate=0.1 --l2=1e-3

It is a sweep of one lane: the same program at the same ``--tile_width``, filled up with
copies whose results are dropped. So the lane's row has the same bits as in the sweep
that it comes from; with ``--tile_width=1`` it takes a fraction of the time.
"""

import dataclasses

from experiments import console, sweep
from experiments import flags as shared_flags
from experiments.flags import Config
from linclf_jax.runs import directory


def run(config: Config) -> sweep.Outcome:
    """Trains the one lane that ``config`` describes and writes its run folder.

    Raises:
        ValueError: A flag has several values; or as ``sweep.run`` does.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, tuple) and len(value) != 1:
            raise ValueError(
                f"--{field.name} has {len(value)} values; expected one, or use "
                "experiments.sweep"
            )
    return sweep.run(config, experiment="train")


def curves(outcome: sweep.Outcome) -> str:
    """Returns the learning curve, ten epochs of it and the last, as a table."""
    history = directory.read_arrays(outcome.folder / "history.npz")
    names = ("train_loss", "val_loss", "val_accuracy")
    epochs = history["val_loss"].shape[1]
    shown = sorted({*range(0, epochs, max(1, epochs // 10)), epochs - 1})
    rows = [
        {"epoch": epoch + 1, **{name: float(history[name][0, epoch]) for name in names}}
        for epoch in shown
    ]
    return console.table(rows, ["epoch", *names])


def main() -> None:
    """Trains the classifier that the flags describe."""
    outcome = run(shared_flags.from_flags())
    print(curves(outcome))
    print()
    print(console.summary(*outcome))


if __name__ == "__main__":
    shared_flags.define(Config())
    shared_flags.launch(main)
