"""What the tests of pages share."""

import matplotlib.figure
import pytest

from linclf_jax.figures import style


@pytest.fixture(scope="session")
def one_png():
    """A real image, as small as one gets."""
    return style.png(matplotlib.figure.Figure(figsize=(0.2, 0.1)))


@pytest.fixture
def undrawn(monkeypatch, one_png):
    """Figures are made, and all are rendered as one constant image."""
    monkeypatch.setattr(style, "png", lambda _: one_png)
    return one_png
