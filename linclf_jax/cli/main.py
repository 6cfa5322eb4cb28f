"""How a script begins and ends: flags, one line for what is wrong, an exit status.

| status | meaning |
| --- | --- |
| 0 | done |
| 2 | bad input, a full disk, too little memory, a failure after the fits: one line |
| 75 | stopped by a signal, the state is saved; the same command goes on |
| 130 | stopped at once, by a second Ctrl-C; the last checkpoints stay |
"""

import logging
import sys
from collections.abc import Callable

from absl import app, flags

from linclf_jax.scheduler import signals
from linclf_jax.studies import last_step
from linclf_jax.training import planning

_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def launch(main: Callable[..., int | None], arguments: str = "") -> None:
    """Runs a script with the flags of its command line, and ends the process.

    Args:
        main: Takes the arguments that are no flags; returns the exit status, None is 0.
        arguments: What they are called, ``FOLDER`` for exactly one, ``FOLDER...`` for
            one or more; none are expected if empty.
    """
    # JAX tells at level INFO which accelerators a machine does not have, matplotlib
    # that it looks for fonts.
    for name in ("jax", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)

    def guarded(argv: list[str]) -> int | None:
        try:
            return main(*_checked(argv[1:], arguments))
        except signals.Interrupted as stopped:
            print(stopped, file=sys.stderr)
            return signals.EXIT_STATUS
        except KeyboardInterrupt:
            if _DEBUG.value:
                raise
            print("stopped at once; what was saved stays", file=sys.stderr)
            return 130
        except Exception as error:
            told = isinstance(error, ValueError | OSError | last_step.Unfinished)
            if _DEBUG.value or not (told or planning.is_exhausted(error)):
                raise
            return _refuse(error)

    app.run(guarded, flags_parser=_parse)


def _checked(given: list[str], arguments: str) -> list[str]:
    """Returns the arguments that are no flags, if they are as many as expected."""
    if not arguments and given:
        raise ValueError(f"unexpected arguments: {' '.join(given)}")
    several = arguments.endswith("...")
    if arguments and (not given or (len(given) > 1 and not several)):
        raise ValueError(f"expected {arguments}; found {' '.join(given) or 'nothing'}")
    return given


def _parse(argv: list[str]) -> list[str]:
    if any(word.lstrip("-").startswith("help") for word in argv[1:]):
        try:
            return app.parse_flags_with_usage(argv)
        except SystemExit:  # with 1, though it has done what it was asked for
            sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(_refuse(error))


def _refuse(error: Exception) -> int:
    print(f"error: {last_step.described(error)}", file=sys.stderr)
    return 2
