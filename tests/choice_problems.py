"""Ten problems on which a choice of penalty may be easy, hard, or a tie."""

import numpy as np
from sklearn import datasets as bundled

from linclf_jax.config import flat
from linclf_jax.studies import pipeline
from linclf_jax.training.search_space import Range
from tests import small_studies

GRID = {"l2": Range("log", 1e-6, 1.0, 25)}


def drawn(rows, features, classes, *, apart, decay=0.5, seed=0):
    """Classes around means ``apart`` standard deviations from the origin."""
    rng = np.random.default_rng(seed)
    scales = (1.0 + np.arange(features)) ** -decay
    labels = np.arange(rows) % classes
    means = apart * rng.normal(size=(classes, features))
    return (means[labels] + rng.normal(size=(rows, features))) * scales, labels


def few_of_one():
    """The last class has a tenth of the rows of another."""
    x, labels = drawn(300, 40, 3, apart=0.6)
    keep = (labels != 2) | (np.arange(300) % 10 == 2)
    return x[keep], labels[keep]


# By name: the rows, then flags.
PROBLEMS = {
    "digits": (lambda: bundled.load_digits(return_X_y=True), {}),
    "iris": (lambda: bundled.load_iris(return_X_y=True), {}),
    "wine": (lambda: bundled.load_wine(return_X_y=True), {"metric": "val_accuracy"}),
    "breast_cancer": (lambda: bundled.load_breast_cancer(return_X_y=True), {}),
    "separable": (lambda: drawn(300, 40, 3, apart=8.0), {"metric": "val_accuracy"}),
    "noisy": (lambda: drawn(300, 40, 3, apart=0.4), {"metric": "val_loss"}),
    "wide": (lambda: drawn(90, 200, 3, apart=0.5), {}),
    "few of one class": (few_of_one, {"metric": "val_loss"}),
    "C": (lambda: drawn(300, 40, 3, apart=0.4), {"C": Range("log", 1e-4, 1e4, 25)}),
    "one standard error": (
        lambda: drawn(300, 40, 3, apart=0.4),
        {"rule": "one_standard_error", "metric": "val_loss"},
    ),
}


def run(name, folder, kind="probe", **flags):
    """Returns a study of a problem, made in memory from files in a folder."""
    make, own = PROBLEMS[name]
    x, labels = make()
    test = np.random.default_rng(1).random(len(labels)) < 0.25
    for role, rows in (("train", ~test), ("test", test)):
        for what, array in (("features", np.float32(x)), ("labels", labels)):
            file = folder / f"{role}_{what}.npy"
            np.save(file, array[rows])
            flags[f"{role}_{what}"] = str(file)
    grid = {} if "C" in own else GRID
    data = {} if kind == "probe" else {"dataset": "features"}
    config = flat.build(small_studies.CONFIGS[kind](), data | grid | own | flags)
    prepare = small_studies.PREPARE.get(kind, small_studies.probe.prepare)
    return pipeline.run(prepare(config))
