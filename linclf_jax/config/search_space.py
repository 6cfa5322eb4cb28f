"""The candidates that the flags of a sweep make, or a refusal that names a flag."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

from linclf_jax import validation
from linclf_jax.config import flat, grid_file, runtime, selection
from linclf_jax.config import penalty as penalty_config
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.sweep import SearchConfig, SweepConfig
from linclf_jax.config.training import TrainingConfig
from linclf_jax.data import images, preprocessing
from linclf_jax.selection import choose
from linclf_jax.training import optimizers, search_space, settings
from linclf_jax.training.search_space import Axis, Candidate, Range
from linclf_jax.training.settings import Hparams, Static

# Flags that only many trials have a use for.
_OF_SEVERAL = ("sample", "folds", "halving", "grid_file", "num_shards", "select_per")


def candidates(
    config: SweepConfig, *, num_classes: int, num_rows: int
) -> tuple[Candidate, ...]:
    """Returns those of the grid, the sample or the grid file, in a stable order.

    ``--sample`` draws as many from each grid of a grid file.

    Args:
        config: All flags; all of them are checked.
        num_classes: C.
        num_rows: Of training, all folds together; a batch cannot be larger.

    Raises:
        ValueError: A flag is bad, or two do not go together; with its name, what was
            found and what is allowed, and the grid of a grid file.
    """
    validate(config)
    grids = {
        name: _grid(training, penalty, config.search, name, num_classes, num_rows)
        for name, training, penalty in _grids(config)
    }
    _validate_disjoint(grids)
    every = tuple(itertools.chain.from_iterable(grids.values()))
    epochs = {candidate.static.epochs for candidate in every}
    if config.search.halving is not None and len(epochs) > 1:
        raise ValueError(
            f"--halving ranks trials that end together; expected one value of "
            f"--epochs, found {', '.join(map(str, sorted(epochs)))}"
        )
    losses = {candidate.static.loss for candidate in every}
    if len(losses) > 1 and config.selection.metric == "val_loss":
        raise ValueError(
            "--metric is val_loss; expected val_accuracy, since values of several "
            f"losses do not compare: {', '.join(sorted(losses))}"
        )
    return every


def statics(
    training: TrainingConfig, *, num_classes: int, num_rows: int
) -> tuple[Static, ...]:
    """Returns the product of the static choices, the first of ``GROUPS`` outermost.

    Args:
        training: Its lists, whatever a grid file says.
        num_classes: C.
        num_rows: Of training, all folds together; the default batch is no larger.
    """
    groups = {name: getattr(training, name) for name in grid_file.GROUPS}
    if training.batch_size is None:
        groups["batch_size"] = (min(Static.batch_size, num_rows),)
    return tuple(
        Static(
            num_classes=num_classes,
            gradient=training.gradient,
            precision=training.precision,
            keep=training.keep,
            **dict(zip(groups, choices, strict=True)),
        )
        for choices in itertools.product(*groups.values())
    )


def axes(
    training: TrainingConfig, penalty: Penalty, *, num_classes: int, num_rows: int
) -> dict[str, Axis]:
    """Returns the axis of each hyper-parameter, in the order of ``Hparams``.

    Args:
        training: Its axes, whatever a grid file says.
        penalty: In any unit.
        num_classes: C.
        num_rows: Of training, all folds together, which ``--C`` is meant for.

    Raises:
        ValueError: The penalty is no strength.
    """
    l2 = penalty_config.to_l2(penalty, num_rows=num_rows, num_classes=num_classes)
    return {
        name: l2 if name == "l2" else getattr(training, name)
        for name in Hparams._fields
    }


def validate(config: SweepConfig) -> None:
    """Checks what can be checked of the flags before there is any data.

    Raises:
        ValueError: With the flag's name, what was found and what is allowed.
    """
    _validate_lists(config.training)
    _validate_search(config.search)
    _validate_folds(config.selection.folds)
    runtime.validate(config.runtime, config.scheduler)
    selection.validate_metric(config.selection.metric)
    choose.validate_rule(config.selection.rule)
    _validate_groups(config.select_per)
    seeds = {
        "split_seed": (config.data.split_seed,),
        "sample_seed": (config.search.sample_seed,),
        "seeds": config.training.seeds,
    }
    for name, values in seeds.items():
        for seed in values:
            validation.validate_seed(seed, name=f"--{name}")


def validate_single(config: SweepConfig) -> None:
    """Refuses flags that make several trials.

    Raises:
        ValueError: With the flag, how many values it has, and what was expected.
    """
    of_data = {flag.name for flag in flat.flags(config.data)}  # values to no axis
    defaults = {flag.name: flag.value for flag in flat.flags(SweepConfig())}
    for name, _, value, *_ in flat.flags(config):
        if name in _OF_SEVERAL and value != defaults[name]:
            raise ValueError(f"--{name} is for experiments.sweep; expected it unset")
        if isinstance(value, Range):
            value = search_space.values(value)
        is_list = isinstance(value, tuple) and name not in (*of_data, *_OF_SEVERAL)
        if is_list and len(value) != 1:
            raise ValueError(
                f"--{name} has {len(value)} values; expected one, or use "
                "experiments.sweep"
            )


def _grids(config: SweepConfig) -> Iterator[tuple[str, TrainingConfig, Penalty]]:
    """Yields each grid of a grid file, or that of the flags, and what to call it."""
    if config.search.grid_file is None:
        yield "", config.training, config.penalty
        return
    for number, grid in enumerate(grid_file.overrides(config.search.grid_file), 1):
        name = f"{grid_file.FLAG}, grid {number}"
        try:
            penalty = penalty_config.from_units(grid) or config.penalty
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        changes = {k: v for k, v in grid.items() if k not in penalty_config.HELP}
        yield name, dataclasses.replace(config.training, **changes), penalty


def _grid(
    training: TrainingConfig,
    penalty: Penalty,
    search: SearchConfig,
    name: str,
    num_classes: int,
    num_rows: int,
) -> tuple[Candidate, ...]:
    size = {"num_classes": num_classes, "num_rows": num_rows}
    try:
        _validate_lists(training)
        _validate_penalty(penalty, training, is_sampled=search.sample is not None)
        choices = statics(training, **size)
        for static in choices:
            settings.validate_static(
                static, num_rows=num_rows, optimizers=optimizers.OPTIMIZERS
            )
        listed = axes(training, penalty, **size)
        if search.sample is None:
            return search_space.grid(choices, listed)
        return search_space.sample(
            choices, listed, count=search.sample, seed=search.sample_seed
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from error


def _validate_disjoint(grids: Mapping[str, Sequence[Candidate]]) -> None:
    origins: dict[tuple, str] = {}
    for name, members in grids.items():
        for candidate in members:
            earlier = origins.setdefault(search_space.identity(candidate), name)
            if earlier != name:
                raise ValueError(
                    f"{name}: {_describe(candidate)} is in {earlier} already; expected "
                    "each candidate once"
                )


def _describe(candidate: Candidate) -> str:
    used = optimizers.uses(candidate.static)
    values = (f"{name} {getattr(candidate.hparams, name):g}" for name in used)
    return f"{candidate.static.optimizer} with {', '.join(values)}"


def _validate_lists(training: TrainingConfig) -> None:
    for name in (*grid_file.GROUPS, "seeds"):
        values = getattr(training, name)
        if values is None:  # the batch size has no value to check yet
            continue
        if len(values) == 0:
            raise ValueError(f"--{name} is empty; expected at least one value")
        if len(set(values)) < len(values):
            raise ValueError(
                f"--{name} is {','.join(map(str, values))}; expected no repetition"
            )
    for name in training.features:
        if name not in (settings.RAW, *images.NAMES):
            raise ValueError(
                f"--features is {name!r}; expected one of "
                f"{', '.join((settings.RAW, *images.NAMES))}"
            )
    for name in training.preprocessing:
        preprocessing.validate(name)


def _validate_penalty(
    penalty: Penalty, training: TrainingConfig, *, is_sampled: bool
) -> None:
    if penalty.unit == "l2":
        return
    others = [name for name in training.loss if name != "softmax_cross_entropy"]
    if others:
        raise ValueError(
            f"--C is of logistic regression, which --loss={others[0]} is not; expected "
            "--l2 in its place"
        )
    if is_sampled and isinstance(penalty.axis, Range) and penalty.axis.kind == "lin":
        raise ValueError(
            f"--C is {search_space.text(penalty.axis)} to draw from, which is even in "
            "1 / l2; expected numbers or log:LOW:HIGH:COUNT with --sample"
        )


def _validate_search(config: SearchConfig) -> None:
    for name, least in {"sample": 1, "halving": 2, "num_shards": 1}.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}; expected at least {least}")
    if not 0 <= config.shard_index < config.num_shards:
        raise ValueError(
            f"--shard_index is {config.shard_index}; expected 0 to "
            f"{config.num_shards - 1}, below --num_shards"
        )
    if config.halving is not None and config.num_shards > 1:
        raise ValueError(
            f"--halving ranks all trials after each rung, which {config.num_shards} "
            "jobs cannot; expected --num_shards=1 with it"
        )


def _validate_folds(folds: int) -> None:
    if folds != 0 and folds < 2:
        raise ValueError(
            f"--folds is {folds}; expected at least 2, or 0 for the validation split"
        )


def _validate_groups(columns: Sequence[str]) -> None:
    known = (*grid_file.GROUPS, *Hparams._fields)
    if len(set(columns)) < len(columns) or not {*columns} <= {*known}:
        raise ValueError(
            f"--select_per is {','.join(columns)}; expected some of "
            f"{', '.join(known)}, none twice"
        )
