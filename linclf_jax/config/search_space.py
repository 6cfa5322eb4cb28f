"""The candidates that the flags of a sweep make, or a refusal that names a flag.

The search has ``num_classes`` C, and ``num_rows`` rows of training, all folds together.
"""

import itertools
from collections.abc import Mapping, Sequence

from linclf_jax import losses
from linclf_jax.config import flat, grid_file, sweep
from linclf_jax.config import penalty as penalty_config
from linclf_jax.config.parts import TrainingConfig
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.training import optimizers, search_space, trials
from linclf_jax.training.search_space import Axis, Candidate, Range
from linclf_jax.training.settings import Hparams, Static


def candidates(
    config: SweepConfig, *, num_classes: int, num_rows: int
) -> tuple[Candidate, ...]:
    """Returns those of the grid, the sample or the grid file, in a stable order.

    ``--sample`` draws as many from each grid of a grid file.

    Raises:
        ValueError: A flag is bad, or two do not go together; with its name, what was
            found and what is allowed, and the grid of a grid file.
    """
    text, grids = config.search.grid_file, {}
    overrides = ({},) if text is None else grid_file.overrides(text)
    for number, changes in enumerate(overrides, 1):
        name = f"{grid_file.FLAG}, grid {number}"
        try:
            grid = _grid(flat.build(config, changes), num_classes, num_rows)
        except ValueError as error:
            if text is None:
                raise
            raise ValueError(f"{name}: {error}") from error
        grids[name] = grid
    _validate_disjoint(grids)
    every = tuple(itertools.chain.from_iterable(grids.values()))
    epochs = {candidate.static.epochs for candidate in every}
    if config.search.halving is not None and len(epochs) > 1:
        raise ValueError(
            f"--halving ranks trials that end together; expected one value of "
            f"--epochs, found {', '.join(map(str, sorted(epochs)))}"
        )
    names = {candidate.static.loss for candidate in every}
    if len(names) > 1 and config.selection.metric == "val_loss":
        raise ValueError(
            "--metric is val_loss; expected val_accuracy, since values of several "
            f"losses do not compare: {', '.join(sorted(names))}"
        )
    return every


def statics(
    training: TrainingConfig, *, num_classes: int, num_rows: int
) -> tuple[Static, ...]:
    """Returns the product of the static choices, the first of ``GROUPS`` outermost."""
    groups = {name: getattr(training, name) for name in grid_file.GROUPS}
    if training.batch_size is None:
        groups["batch_size"] = (min(Static.batch_size, num_rows),)
    return tuple(
        Static(
            num_classes=num_classes,
            gradient=training.gradient,
            precision=training.precision,
            keep=training.keep,
            shuffle=training.shuffle or Static.shuffle,
            **dict(zip(groups, choices, strict=True)),
        )
        for choices in itertools.product(*groups.values())
    )


def axes(
    training: TrainingConfig, penalty: Penalty, *, num_classes: int, num_rows: int
) -> dict[str, Axis]:
    """Returns the axis of each hyper-parameter, in the order of ``Hparams``."""
    l2 = penalty_config.to_l2(
        penalty,
        num_rows=num_rows,
        num_classes=num_classes,
        separate=losses.SEPARATE in training.loss,
    )
    return {
        name: l2 if name == "l2" else getattr(training, name)
        for name in Hparams._fields
    }


def _grid(
    config: SweepConfig, num_classes: int, num_rows: int
) -> tuple[Candidate, ...]:
    size = {"num_classes": num_classes, "num_rows": num_rows}
    training, search = config.training, config.search
    sweep.validate_training(training)
    _validate_penalty(config.penalty, training, num_classes)
    _validate_range(config.penalty, is_sampled=search.sample is not None)
    choices = statics(training, **size)
    for static in choices:
        trials.validate_static(static, num_rows=num_rows)
    listed = axes(training, config.penalty, **size)
    if search.sample is None:
        return search_space.grid(choices, listed)
    return search_space.sample(
        choices, listed, count=search.sample, seed=search.sample_seed
    )


def _validate_disjoint(grids: Mapping[str, Sequence[Candidate]]) -> None:
    origins: dict[tuple, str] = {}
    for name, members in grids.items():
        for candidate in members:
            earlier = origins.setdefault(search_space.identity(candidate), name)
            if earlier != name:
                used = optimizers.uses(candidate.static)
                values = (f"{n} {getattr(candidate.hparams, n):g}" for n in used)
                raise ValueError(
                    f"{name}: {candidate.static.optimizer} with {', '.join(values)} is "
                    f"in {earlier} already; expected each candidate once"
                )


def _validate_penalty(
    penalty: Penalty, training: TrainingConfig, num_classes: int
) -> None:
    if penalty.unit == "l2":
        return
    others = [name for name in training.loss if name not in losses.LOGISTIC]
    if others:
        raise ValueError(
            f"--C is of logistic regression, which --loss={others[0]} is not; expected "
            "--l2 in its place"
        )
    if num_classes == 2 and {*training.loss} == losses.LOGISTIC:
        raise ValueError(
            "--C is another l2 for each of --loss=softmax_cross_entropy and "
            "sigmoid_cross_entropy, for there are two classes; expected one of them, "
            "or --l2 in its place"
        )


def _validate_range(penalty: Penalty, *, is_sampled: bool) -> None:
    is_even = isinstance(penalty.axis, Range) and penalty.axis.kind == "lin"
    if penalty.unit != "l2" and is_sampled and is_even:
        raise ValueError(
            f"--C is {search_space.text(penalty.axis)} to draw from, which is even in "
            "1 / l2; expected numbers or log:LOW:HIGH:COUNT with --sample"
        )
