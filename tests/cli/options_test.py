"""Flags of a command line: what they make, and refusals that name them."""

import pytest
from absl import flags as absl_flags

from linclf_jax.cli import options
from linclf_jax.config import flat
from linclf_jax.config.penalty import Penalty
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.config.sweep import SweepConfig


def parse(*arguments, defaults=None):
    defaults, flag_values = defaults or SweepConfig(), absl_flags.FlagValues()
    options.define(defaults, flag_values)
    flag_values(["script", *arguments])
    return options.from_flags(defaults, flag_values)


def test_a_penalty_that_is_given_takes_the_place_of_the_default_in_the_other_unit():
    assert parse("--C=1").penalty == Penalty("C", (1.0,))
    by_C = flat.build(SweepConfig(), {"C": (2.0,)})
    assert parse("--l2=1", defaults=by_C).penalty == Penalty("l2", (1.0,))
    assert parse(defaults=by_C).penalty == Penalty("C", (2.0,))
    with pytest.raises(ValueError, match="of --l2 and --C both are given; expected"):
        parse("--l2=1", "--C=1")


def test_a_probe_has_the_penalty_of_its_protocol_unless_one_is_given():
    assert parse(defaults=ProbeConfig()).penalty is None
    assert parse("--C=1", defaults=ProbeConfig()).penalty == Penalty("C", (1.0,))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--learning_rate=fast", "=fast: found 'fast'; expected numbers"),
        ("--l2=log:0:1:3", r"--l2=log:0:1:3: .*both above 0"),
        ("--epochs=ten", "--epochs=ten: found 'ten'; expected integers"),
        ("--batch_size=1.5", "--batch_size=1.5: found '1.5'; expected integers"),
        ("--folds=many", "--folds=many"),
        ("--checkpoint_every=often", "--checkpoint_every=often"),
    ],
)
def test_text_that_is_no_value_is_refused_with_its_flag(argument, message):
    with pytest.raises(absl_flags.IllegalFlagValueError, match=message):
        parse(argument)


def test_a_grid_file_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"--grid_file nowhere\.json: No such file"):
        parse("--grid_file=nowhere.json")
