"""The exercise of a course: which features and which loss, for a linear classifier.

    python -m experiments.course --dataset=fashion_mnist

Features of images x losses x l2 x learning rate are the trials of one sweep. Each trial
keeps its best validation epoch; for each pair of features and loss the best trial by
validation accuracy is selected (``--select_per=features,loss``), and what was selected
is tested, once. The best pair of the table is the one that is best on validation data,
whatever the test says.

It takes a few minutes on two cores, features included. On the test images pixels with
softmax cross-entropy come to 0.846 (95 % interval 0.838 to 0.853), oriented gradients
to 0.882 (0.876 to 0.889), the hinges to within 0.003 of these.

All flags are those of ``experiments.sweep``; ``--folds=5`` takes the mean of five folds
in place of the one validation split. Without ``--features`` all are computed that the
images of a known data set have.
"""

from linclf_jax.cli import compilation_cache, console, main
from linclf_jax.config import flat
from linclf_jax.config.data import DataConfig
from linclf_jax.config.parts import SelectionConfig, TrainingConfig
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.sweep import SearchConfig, SweepConfig
from linclf_jax.data import images
from linclf_jax.studies import pipeline, run_files, sweep

COLOUR = ("cifar10",)
GREY_FEATURES = ("rgb", "hog")
LOSSES = ("softmax_cross_entropy", "weston_watkins_hinge", "crammer_singer_hinge")
DEFAULTS = SweepConfig(
    data=DataConfig(dataset="fashion_mnist"),
    training=TrainingConfig(
        features=(),
        loss=LOSSES,
        batch_size=(256,),
        epochs=(30,),
        learning_rate=(1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0),
        keep="best",
    ),
    penalty=Penalty("l2", (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)),
    # All trials of a pair: a wider batch would be filled up with copies.
    search=SearchConfig(trials_per_batch=49),
    selection=SelectionConfig(metric="val_accuracy"),
    select_per=("features", "loss"),
)


def run(config: SweepConfig) -> None:
    """Does the exercise that the flags describe."""
    compilation_cache.enable_cache(config.runtime.compilation_cache)
    if not config.training.features:
        is_colour = config.data.dataset in COLOUR
        features = images.NAMES if is_colour else GREY_FEATURES
        config = flat.build(config, {"features": tuple(features)})
    study = sweep.prepare(config, "course")
    print(console.summary(pipeline.run(study, run_files.out_dir(study.plan))))


SCRIPT = main.Script(run, DEFAULTS)

if __name__ == "__main__":
    main.launch(SCRIPT)
