"""What the flags amount to: the points to train, or a refusal that names a flag."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from linclf_jax import validation
from linclf_jax.cli.options import Config
from linclf_jax.config import grid_file, penalty
from linclf_jax.data import images, preprocessing
from linclf_jax.selection import choose, ranking
from linclf_jax.training import optimizers, search_space, settings
from linclf_jax.training.search_space import Candidate
from linclf_jax.training.settings import Hparams, Static


def points(config: Config, *, num_classes: int, num_rows: int) -> tuple[Candidate, ...]:
    """Returns the points of the grid, the sample or the sweep file, in a stable order.

    ``--sample`` draws as many points from each grid of a sweep file.

    Args:
        config: All flags; all of them are checked.
        num_classes: C.
        num_rows: Of training, all folds together; a batch cannot be larger.

    Raises:
        ValueError: A flag is bad, or two do not go together; with its name, what was
            found and what is allowed, and the grid of a sweep file.
    """
    validate(config)
    grids = {
        where: _points(grid, where, num_classes, num_rows)
        for where, grid in _grids(config)
    }
    if len(grids) > 1:
        _validate_disjoint(grids)
    swept = tuple(itertools.chain.from_iterable(grids.values()))
    epochs = {point.static.epochs for point in swept}
    if config.halving is not None and len(epochs) > 1:
        raise ValueError(
            f"--halving ranks lanes that end together; expected one value of --epochs, "
            f"found {', '.join(map(str, sorted(epochs)))}"
        )
    losses = {point.static.loss for point in swept}
    if len(losses) > 1 and config.select_by == "val_loss":
        raise ValueError(
            "--select_by is val_loss; expected val_accuracy, since values of several "
            f"losses do not compare: {', '.join(sorted(losses))}"
        )
    return swept


def statics(config: Config, *, num_classes: int, num_rows: int) -> tuple[Static, ...]:
    """Returns the product of the static choices, the first of ``GROUPS`` outermost.

    Args:
        config: All flags; its sweep file plays no part.
        num_classes: C.
        num_rows: Of training, all folds together; the default batch is no larger.
    """
    groups = {name: getattr(config, name) for name in grid_file.GROUPS}
    if config.batch_size is None:
        groups["batch_size"] = (min(Static.batch_size, num_rows),)
    return tuple(
        Static(
            num_classes=num_classes,
            gradient=config.gradient,
            precision=config.precision,
            keep=config.keep,
            **dict(zip(groups, choices, strict=True)),
        )
        for choices in itertools.product(*groups.values())
    )


def axes(
    config: Config, *, num_classes: int, num_rows: int
) -> dict[str, search_space.Axis]:
    """Returns the axis of each hyper-parameter; a sweep file's are not among them.

    Args:
        config: All flags; its sweep file plays no part.
        num_classes: C.
        num_rows: Of training, all folds together, which ``--C`` is meant for.

    Raises:
        ValueError: The penalty is given twice, or is no strength.
    """
    l2 = penalty.axis(config.l2, config.C, num_rows=num_rows, num_classes=num_classes)
    return {name: getattr(config, name) for name in Hparams._fields} | {"l2": l2}


def validate(config: Config) -> None:
    """Checks what can be checked of the flags before there is any data.

    Raises:
        ValueError: With the flag's name, what was found and what is allowed.
    """
    _validate_lists(config)
    _validate_numbers(config)
    _validate_shards(config)
    _validate_criterion(config.select_by)
    choose.validate_rule(config.choice)
    _validate_table(config.table)
    for flag, seeds in (
        ("split_seed", (config.split_seed,)),
        ("sample_seed", (config.sample_seed,)),
        ("seeds", config.seeds),
    ):
        for seed in seeds:
            validation.validate_seed(seed, name=f"--{flag}")


def _grids(config: Config) -> Iterator[tuple[str, Config]]:
    """Yields each grid of a sweep file, or that of the flags, and what to call it."""
    if config.sweep_file is None:
        yield "", config
        return
    for number, overrides in enumerate(grid_file.overrides(config.sweep_file), 1):
        both = {"l2": config.l2, "C": config.C, **overrides}
        grid = dataclasses.replace(config, **penalty.settled(both, overrides))
        yield f"{grid_file.FLAG}, grid {number}", grid


def _points(
    config: Config, where: str, num_classes: int, num_rows: int
) -> tuple[Candidate, ...]:
    try:
        _validate_lists(config)
        _validate_penalty(config)
        choices = statics(config, num_classes=num_classes, num_rows=num_rows)
        for static in choices:
            settings.validate_static(
                static, num_rows=num_rows, optimizers=optimizers.OPTIMIZERS
            )
        listed = axes(config, num_classes=num_classes, num_rows=num_rows)
        if config.sample is None:
            return search_space.grid(choices, listed)
        return search_space.sample(
            choices, listed, count=config.sample, seed=config.sample_seed
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def _validate_disjoint(grids: Mapping[str, Sequence[Candidate]]) -> None:
    origins: dict[tuple, str] = {}
    for where, found in grids.items():
        for point in found:
            earlier = origins.setdefault(search_space.identity(point), where)
            if earlier != where:
                raise ValueError(
                    f"{where}: {_describe(point)} is in {earlier} already; expected "
                    "each point once"
                )


def _describe(point: Candidate) -> str:
    used = optimizers.uses(point.static)
    values = (f"{name} {getattr(point.hparams, name):g}" for name in used)
    return f"{point.static.optimizer} with {', '.join(values)}"


def _validate_lists(config: Config) -> None:
    for name in (*grid_file.GROUPS, "seeds"):
        values = getattr(config, name)
        if values is None:  # the batch size has no value to check yet
            continue
        if len(values) == 0:
            raise ValueError(f"--{name} is empty; expected at least one value")
        if len(set(values)) < len(values):
            raise ValueError(
                f"--{name} is {','.join(map(str, values))}; expected no repetition"
            )
    for name in config.features:
        if name not in (settings.RAW, *images.NAMES):
            raise ValueError(
                f"--features is {name!r}; expected one of "
                f"{', '.join((settings.RAW, *images.NAMES))}"
            )
    for name in config.preprocessing:
        preprocessing.validate(name)


def _validate_penalty(config: Config) -> None:
    penalty.validate(config.l2, config.C)
    if config.C is None:
        return
    others = [name for name in config.loss if name != "softmax_cross_entropy"]
    if others:
        raise ValueError(
            f"--C is of logistic regression, which --loss={others[0]} is not; expected "
            "--l2 in its place"
        )
    evenly = isinstance(config.C, search_space.Range) and config.C.kind == "lin"
    if config.sample is not None and evenly:
        raise ValueError(
            f"--C is {search_space.text(config.C)} to draw from, which is even in "
            "1 / l2; expected numbers or log:LOW:HIGH:COUNT with --sample"
        )


def _validate_numbers(config: Config) -> None:
    lowest = {"sample": 1, "halving": 2, "tiles_at_once": 1, "num_shards": 1}
    for name, least in lowest.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}; expected at least {least}")
    if config.folds != 0 and config.folds < 2:
        raise ValueError(
            f"--folds is {config.folds}; expected at least 2, or 0 for the validation "
            "split"
        )
    if not 0 <= config.checkpoint_every < math.inf:
        raise ValueError(
            f"--checkpoint_every is {config.checkpoint_every}; expected seconds, at "
            "least 0 and finite"
        )
    number = config.devices.isdecimal() and int(config.devices) >= 1
    if not (number or config.devices == "all"):
        raise ValueError(
            f"--devices is {config.devices!r}; expected a number of at least 1, or all"
        )


def _validate_criterion(by: str) -> None:
    ranking.validate_criterion(by)
    if by not in ranking.LANE_CRITERIA:
        raise ValueError(
            f"--select_by is {by!r}, which takes the logits of all validation rows, "
            "and a sweep keeps none; expected one of "
            f"{', '.join(ranking.LANE_CRITERIA)}; experiments.path and "
            "experiments.probe go by it"
        )


def _validate_table(columns: Sequence[str]) -> None:
    swept = (*grid_file.GROUPS, *Hparams._fields)
    if len(set(columns)) < len(columns) or not {*columns} <= {*swept}:
        raise ValueError(
            f"--table is {','.join(columns)}; expected some of {', '.join(swept)}, "
            "none twice"
        )


def _validate_shards(config: Config) -> None:
    if not 0 <= config.shard_index < config.num_shards:
        raise ValueError(
            f"--shard_index is {config.shard_index}; expected 0 to "
            f"{config.num_shards - 1}, below --num_shards"
        )
    if config.halving is not None and config.num_shards > 1:
        raise ValueError(
            f"--halving ranks all lanes after each rung, which {config.num_shards} "
            "jobs cannot; expected --num_shards=1 with it"
        )
