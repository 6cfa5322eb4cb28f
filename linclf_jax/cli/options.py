"""The flags of a script: those of its configuration, for absl to define and parse.

Flags of static choices take names or integers with commas between; flags of
hyper-parameters accept ``0.1``, ``0.1,0.3``, ``log:LOW:HIGH:COUNT`` and
``lin:LOW:HIGH:COUNT``. See ``config.flat`` for how flags and configurations match.
"""

import sys
from typing import Any, TypeVar

from absl import flags

from linclf_jax.config import flag_text, flat, penalty

Config = TypeVar("Config")
_DEFINE = {
    int: flags.DEFINE_integer,
    int | None: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
    str | None: flags.DEFINE_string,
}


class _Parser(flags.ArgumentParser):
    """Turns the text of a list or an axis into its value."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def parse(self, argument: Any) -> Any:
        """Returns the value; a default is one already."""
        if not isinstance(argument, str):
            return argument
        return flag_text.parse(argument, self._kind)


class _Serializer(flags.ArgumentSerializer):
    """Turns a value into the text that its parser takes."""

    def serialize(self, value: Any) -> str:
        """Returns the text."""
        return flag_text.text(value)


def define(config: Any, flag_values: flags.FlagValues) -> None:
    """Defines one absl flag for each flag of a script's configuration, its default."""
    for flag in flat.flags(config):
        if flag.type in _DEFINE:
            define_one = _DEFINE[flag.type]
            define_one(flag.name, flag.value, flag.help, flag_values=flag_values)
        else:
            flags.DEFINE(
                _Parser(flag.type),
                flag.name,
                flag.value,
                flag.help,
                flag_values=flag_values,
                serializer=_Serializer(),
            )
        # --help lists the key flags of the script, which is this module to absl.
        flag_values.register_key_flag_for_module(sys.argv[0], flag_values[flag.name])


def from_flags(config: Config, flag_values: flags.FlagValues) -> Config:
    """Returns the configuration that the command line makes of its defaults.

    Raises:
        ValueError: A penalty is given in both units, or ``--grid_file`` is bad; other
            flags are checked where the data is known.
    """
    values = {flag.name: flag_values[flag.name].value for flag in flat.flags(config)}
    units = [unit for unit in penalty.HELP if unit in values]
    given = [unit for unit in units if flag_values[unit].present]
    # A penalty that is given takes the place of the default in the other unit.
    for unit in units if given else ():
        if unit not in given:
            values[unit] = None
    return flat.build(config, values)
