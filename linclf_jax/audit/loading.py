"""A gradient of one's own, by the name of its module and function."""

import importlib
from collections.abc import Callable
from typing import Any


def load(path: str) -> Callable[..., Any]:
    """Returns the function that ``package.module:function`` names.

    Modules are found as by ``import``: with ``python -m`` those of the working
    directory before others.

    Raises:
        ValueError: It is not of that form, cannot be imported, or is no function.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"--gradient is {path!r}; expected package.module:function")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs the module's own code
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"cannot import {module_name}: {message}") from error
    function = getattr(module, name, None)
    if not callable(function):
        what = "nothing" if function is None else f"a {type(function).__name__}"
        raise ValueError(f"{module_name}.{name} is {what}; expected a function")
    return function
