"""The exercise of a course: which features and which loss, for a linear classifier.

    python -m experiments.course --dataset=fashion_mnist

Features of images x losses x l2 x learning rate are the lanes of one sweep. Each lane
keeps its best validation epoch; for each pair of features and loss the best lane by
validation accuracy is chosen, and what was chosen is tested, once. The best pair of the
table is the one that is best on validation data, whatever the test says.

It takes a few minutes on two cores, features included. On the test images pixels with
softmax cross-entropy come to 0.846 (95 % interval 0.838 to 0.853), oriented gradients
to 0.882 (0.876 to 0.889), the hinges to within 0.003 of these.

All flags are those of ``experiments.sweep``; ``--folds=5`` takes the mean of five folds
in place of the one validation split.
"""

import dataclasses

from experiments import sweep
from linclf_jax.cli import compilation_cache, console
from linclf_jax.cli import main as launch
from linclf_jax.cli import options as shared_flags
from linclf_jax.cli.options import Config
from linclf_jax.data import images
from linclf_jax.losses import LOSSES
from linclf_jax.studies import outcome

COLOUR = ("cifar10",)
GREY_FEATURES = ("rgb", "hog")
DEFAULTS = Config(
    dataset="fashion_mnist",
    features=(),
    loss=tuple(LOSSES),
    batch_size=(256,),
    epochs=(30,),
    learning_rate=(1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0),
    l2=(0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    keep="best",
    select_by="val_accuracy",
    table=("features", "loss"),
    tile_width=49,  # all lanes of a pair: a wider tile would be filled up with copies
)


def run(config: Config) -> outcome.Outcome:
    """Trains all lanes, chooses for each cell of the table, tests, writes the folder.

    Args:
        config: All flags; without ``features``, all that the images of a known data set
            have.

    Raises:
        ValueError: As ``sweep.run`` does.
        interrupt.Interrupted: A signal stopped it; the same command goes on.
    """
    if not config.features:
        known = images.NAMES if config.dataset in COLOUR else GREY_FEATURES
        config = dataclasses.replace(config, features=known)
    return sweep.run(config, experiment="course")


def main() -> None:
    """Does the exercise that the flags describe."""
    config = shared_flags.from_flags()
    compilation_cache.enable_cache(config.compilation_cache)
    print(console.summary(*run(config)))


if __name__ == "__main__":
    shared_flags.define(DEFAULTS)
    launch.launch(main)
