"""Numbers as a person reads them, and prose from the templates.

A ``*.txt.j2`` makes plain text, which whoever puts it into a page escapes;
a ``*.html.j2`` makes markup, and escapes all that is put into it.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from linclf_jax.figures import style

if TYPE_CHECKING:
    import jinja2

TEXT = ".txt.j2"
METRICS = {
    "val_loss": "validation loss",
    "val_accuracy": "validation accuracy",
    "val_loss_calibrated": "calibrated validation loss",
    "train_loss": "training loss",
    "train_accuracy": "training accuracy",
}


@functools.cache
def _environment() -> jinja2.Environment:
    """The templates, with what they call."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("linclf_jax.reports"),
        autoescape=lambda name: not (name or "").endswith(TEXT),
        undefined=jinja2.StrictUndefined,
        lstrip_blocks=True,
    )
    filters = (score, rounded, plain, gap, signed, count, capitalized)
    made.filters |= {function.__name__: function for function in filters}
    made.filters["plus_minus"] = lambda pair: plus_minus(*pair)
    made.globals |= {"metrics": METRICS, "zip": zip}
    made.globals["words"] = made.get_template(f"words{TEXT}").module
    return made


def render(template: str, **values: Any) -> str:
    """The markup that a template makes of values."""
    made = _environment().overlay(trim_blocks=True).get_template(template)
    return made.render(**values)


def blocks(template: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The texts of ``TEMPLATE.txt.j2`` for values, by the names of its blocks."""
    made = _environment().get_template(f"{template}{TEXT}")
    context = made.new_context(dict(values))
    return {name: _line(block(context)) for name, block in made.blocks.items()}


@functools.cache
def with_block(block: str) -> list[str]:
    """The templates of text that have a block of a name."""
    made = _environment()
    names = made.list_templates(filter_func=lambda name: name.endswith(TEXT))
    known = [name for name in names if block in made.get_template(name).blocks]
    return [name.removesuffix(TEXT) for name in known]


def words(macro: str, *values: Any) -> str:
    """What a macro of ``words.txt.j2`` says, empty where it has nothing to say."""
    return _line([getattr(_environment().globals["words"], macro)(*values)])


def _line(parts: Any) -> str:
    return " ".join("".join(parts).split())


def score(value: float | None) -> str:
    """Four decimals, or three digits where those would show nothing.

    >>> score(0.98333), score(1.5e-7), score(None)
    ('0.9833', '1.50e-07', 'none')
    """
    if value is None or not math.isfinite(value):
        return "none"
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"


def plus_minus(value: float | None, error: float | None) -> str:
    """A score and its spread, where that is known.

    >>> plus_minus(0.125, 0.0125), plus_minus(0.125, None)
    ('0.1250 ± 0.0125', '0.1250')
    """
    known = error is not None and math.isfinite(error)
    return f"{score(value)} ± {score(error)}" if known else score(value)


def signed(value: float) -> str:
    """A difference with its sign.

    >>> signed(0.0125)
    '+0.0125'
    """
    return f"{value:+.4f}"


def gap(value: float | None) -> str:
    """A relative gap.

    >>> gap(3.21e-7), gap(None)
    ('3.2e-7', 'unknown')
    """
    if value is None or not math.isfinite(value):
        return "unknown"
    return style.short_number(value)


def rounded(value: Any) -> str:
    """A setting for reading; the list of hyper-parameters has it exactly.

    >>> rounded(0.00031622776601683794), rounded(128), rounded("adam")
    ('0.0003162', '128', 'adam')
    """
    return f"{value:.4g}" if isinstance(value, float) else plain(value)


def plain(value: Any) -> str:
    """A value of a JSON file as a person would write it, exact.

    >>> plain(0.0003), plain(None), plain(["a", 2]), plain(True)
    ('0.0003', 'none', 'a, 2', 'true')
    """
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "none"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return value if isinstance(value, str) else json.dumps(value)


def count(number: int, noun: str = "") -> str:
    """A number of things.

    >>> count(1, "trial"), count(1024, "trial"), count(1024)
    ('1 trial', '1,024 trials', '1,024')
    """
    plural = "s" if noun and number != 1 else ""
    return f"{number:,} {noun}{plural}".rstrip()


def capitalized(text: str) -> str:
    """A text with a capital in front, and all else as it is.

    >>> capitalized("the grid of l2 is too narrow")
    'The grid of l2 is too narrow'
    """
    return f"{text[:1].upper()}{text[1:]}"
