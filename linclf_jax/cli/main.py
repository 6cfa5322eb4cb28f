"""How a script begins and ends: flags, one line for what is wrong, an exit status.

| status | meaning |
| --- | --- |
| 0 | done |
| 1 | done, and the answer is no: an audit that fails |
| 2 | bad input, a full disk, too little memory, a failure after the fits: one line |
| 75 | stopped by a signal, the state is saved; the same command goes on |
| 130 | stopped at once, by a second Ctrl-C; the last checkpoints stay |
"""

import contextlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from absl import flags

from linclf_jax.cli import notices, options, progress
from linclf_jax.scheduler import memory, signals
from linclf_jax.scheduler import progress as progress_records
from linclf_jax.studies import run_files


class Script(NamedTuple):
    """What a script does, and the flags and arguments that it takes."""

    run: Callable[..., int | None]  # takes the configuration and the arguments
    defaults: Any  # the configuration, each field of which is a flag
    # What arguments that are no flags are called: ``RUN`` is exactly one, ``RUN...``
    # one or more; none are expected if empty.
    arguments: str = ""


def launch(script: Script) -> None:
    """Runs a script with the command line of this process, and ends the process."""
    sys.exit(run(script, sys.argv[1:]))


def run(script: Script, argv: Sequence[str]) -> int:
    """Runs a script in this process and returns its exit status.

    The command line is without the name of the script.
    """
    flag_values = flags.FlagValues()
    options.define(script.defaults, flag_values)
    flags.DEFINE_bool(
        "debug", False, "Show the traceback of an error.", flag_values=flag_values
    )
    if any(word.lstrip("-").startswith("help") for word in argv):
        print(inspect.getdoc(inspect.getmodule(script.run)))
        print(flag_values.get_help())
        return 0
    try:
        _, *arguments = flag_values([sys.argv[0], *argv])
    except flags.Error as error:
        return _refuse(str(error))
    with (
        notices.shown(),
        progress_records.attached(progress.Handler()),
    ):
        return _guarded(script, flag_values, arguments)


def _guarded(
    script: Script, flag_values: flags.FlagValues, arguments: Sequence[str]
) -> int:
    """Turns what ends a script early into a line and an exit status."""
    is_debugged = flag_values["debug"].value
    try:
        _validate_arguments(arguments, script.arguments)
        config = options.from_flags(script.defaults, flag_values)
        return script.run(config, *arguments) or 0
    except signals.Interrupted as stopped:
        _say(str(stopped))
        return signals.EXIT_STATUS
    except KeyboardInterrupt:
        if is_debugged:
            raise
        _say("stopped at once; what was saved stays")
        return 130
    except Exception as error:
        is_expected = isinstance(error, ValueError | OSError | run_files.Unfinished)
        if is_debugged or not (is_expected or memory.is_exhausted(error)):
            raise
        return _refuse(run_files.described(error))


def _validate_arguments(arguments: Sequence[str], expected: str) -> None:
    """Refuses more or fewer arguments than a script takes."""
    if not expected and arguments:
        raise ValueError(f"unexpected arguments: {' '.join(arguments)}")
    most = len(arguments) if expected.endswith("...") else 1
    if expected and not 1 <= len(arguments) <= most:
        raise ValueError(
            f"expected {expected}; found {' '.join(arguments) or 'nothing'}"
        )


def _refuse(message: str) -> int:
    _say(f"error: {message}")
    return 2


def _say(line: str) -> None:
    # The terminal may have gone, as when a window is closed.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)
