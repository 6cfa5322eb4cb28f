"""The top of a path's report: which penalty to use, how good it is, what proves it.

Functions take the ``record.Record`` of a path and return plain text or markup.
"""

import math
from collections import Counter

from linclf_jax.figures import style
from linclf_jax.reports import markup, validation_text, warning_text
from linclf_jax.reports.answer import metric, rounded
from linclf_jax.runs import path_record, record


def headline(run: record.Record) -> str:
    """The answer in one line of plain text.

    Args:
        run: of a path.
    """
    l2, inverse = run.choice["l2"], run.choice["row"]["C"]
    known = "" if inverse is None else f" (C {rounded(inverse)})"
    accuracy = metric(run.choice["test"]["accuracy"])
    return f"Use l2 {rounded(l2)}{known}: test accuracy {accuracy}"


def header(run: record.Record) -> str:
    """Markup of everything above the first figure.

    Args:
        run: of a path.
    """
    name, count = run.config["data"]["name"], run.choice["fits"]
    kicker = f"path on {name}: {count:,} fits, {len(path_record.l2s(run)):,} penalties"
    pieces = (
        markup.paragraph(kicker, kind="kicker"),
        f"<h1>{markup.text(headline(run))}</h1>",
        markup.paragraph(
            f"Why this one: {run.choice['reason'].rstrip('.')}.",
            "It was fitted to all rows of training and validation.",
            "The test split was measured once, after the choice.",
        ),
        markup.paragraph(certificate(run)),
        _numbers(run),
        markup.warnings(warning_text.warnings(run.choice)),
        _rules(run),
    )
    return "<header>\n" + "\n".join(p for p in pieces if p) + "\n</header>"


def certificate(run: record.Record) -> str:
    """What the duality gaps prove of the fits, in plain text.

    Args:
        run: of a path.
    """
    own, worst = run.choice["row"]["relative_gap"], run.choice["worst_relative_gap"]
    ends = Counter(path_record.statuses(run).ravel().tolist())
    good, count = ends.pop(path_record.CONVERGED, 0), run.choice["fits"]
    others = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in ends.items())
    return (
        f"Certified by its duality gap: its objective is at most {gap(own)} of itself "
        f"above the lowest there is. The worst gap of all {count:,} fits is "
        f"{gap(worst)}, where {gap(run.choice['tol'])} was asked for"
        + (f"; {good:,} reached that, the others ended as {others}." if ends else ".")
    )


def gap(value: float | None) -> str:
    """A relative gap in plain text.

    Args:
        value: None or not finite where nothing bounds it.

    >>> gap(3.21e-7), gap(None)
    ('3.2e-7', 'unknown')
    """
    known = _finite(value)
    return "unknown" if known is None else style.short_number(known)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _numbers(run: record.Record) -> str:
    test, rule = run.choice["test"], run.choice[path_record.chosen_rule(run)]
    low, high = (metric(end) for end in test["accuracy_interval"])
    count = len(path_record.l2s(run))
    return markup.numbers(
        (
            "test accuracy",
            metric(test["accuracy"]),
            f"95 % interval {low} to {high}; {test['size']:,} rows",
        ),
        (
            "held-out accuracy",
            metric(rule["accuracy"]),
            _source(run) + validation_text.judged(run.choice, count, "penalties"),
        ),
        (
            "test loss",
            metric(test["loss"]),
            f"held-out {plus_minus(rule['loss'], rule['standard_error'])}",
        ),
    )


def _source(run: record.Record) -> str:
    if path_record.is_leave_one_out(run):
        return "approximate leave-one-out"
    return f"mean of {path_record.loss(run).folds.shape[1]} folds"


def plus_minus(value: float | None, error: float | None) -> str:
    """A score and its standard error, where that is known, in plain text.

    Args:
        value: the score.
        error: None or NaN where it is unknown.

    >>> plus_minus(0.125, 0.0125), plus_minus(0.125, None)
    ('0.1250 ± 0.0125', '0.1250')
    """
    known = _finite(error)
    spread = "" if known is None else f" ± {metric(known)}"
    return f"{metric(_finite(value))}{spread}"


def _rules(run: record.Record) -> str:
    """Both choices side by side."""
    inverses, words = path_record.inverses(run), path_record.rules(run)
    calibrated = path_record.loss_calibrated(run) is not None
    cells = [
        [
            words[name],
            rounded(choice["l2"]),
            rounded(inverses[choice["l2"]]),
            plus_minus(choice["loss"], choice["standard_error"]),
            metric(choice["accuracy"]),
            *([metric(choice["loss_calibrated"])] if calibrated else []),
        ]
        for name, choice in path_record.choices(run).items()
    ]
    marked = list(words).index(path_record.chosen_rule(run))
    columns = ("rule", "l2", "C", "held-out loss", "held-out accuracy")
    columns += ("calibrated",) * calibrated
    return markup.section(
        "rules",
        "What each rule chooses",
        markup.table(columns, cells, words=("rule",), marked=marked),
        markup.paragraph(
            "One standard error: the strongest penalty that is within one standard "
            f"error of {words['minimum']}.",
            markup.when(
                calibrated, "Calibrated: held-out loss at the best temperature."
            ),
            "C is scikit-learn's: 1 / (l2 n) for n rows, of two classes 2 / (l2 n).",
            kind="note",
        ),
    )
