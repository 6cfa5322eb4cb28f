"""Numbers and colours are right, and a figure is the same bytes everywhere."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from linclf_jax.figures import classifier, style


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.01, "0.01"),
        (0.0099, "9.9e-3"),
        (0.04641588833612779, "0.046"),
        (99.4, "99"),
        (316.2, "316"),
        (1000.0, "1e3"),
        (3.1622776601683794e-07, "3.2e-7"),
        (-0.5, "-0.5"),
    ],
)
def test_short_number(value, expected):
    assert style.short_number(value) == expected


def test_many_series_can_be_told_apart():
    looks = [tuple(style.series(i).values()) for i in range(style.MOST_SERIES)]
    assert len(set(looks)) == style.MOST_SERIES


def test_a_figure_that_fails_is_named():
    with pytest.raises(style.FigureError, match=r"^one\.png cannot be drawn: Zero"):
        style.pngs({"one": lambda: 1 / 0})


def test_bytes_depend_on_no_setting_no_version_and_no_font():
    def draw():
        names = [r"$\frac$", "漢字"]
        return style.png(classifier.confusion(np.eye(2, dtype=int), [1, 1], names))

    before = draw()
    assert before[:8] == b"\x89PNG\r\n\x1a\n"
    assert matplotlib.__version__.encode() not in before
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert draw() == before
        assert matplotlib.rcParams["font.size"] == 30


def test_matplotlib_is_imported_late_and_pyplot_never():
    script = (
        "import sys; from linclf_jax.figures import classifier, style\n"
        "assert 'matplotlib' not in sys.modules\n"
        "bins = {'edges': [0, 1], 'count': [0]}\n"
        "bins |= {'confidence': [None], 'accuracy': [None]}\n"
        "style.png(classifier.reliability(classifier.Diagram('', bins)))\n"
        "assert 'matplotlib' in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
