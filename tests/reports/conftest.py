"""What the tests of pages share."""

import matplotlib.figure
import pytest

from linclf_jax.figures import style


@pytest.fixture
def undrawn(monkeypatch):
    """One small image stands for all figures, which are not even made."""
    image = style.png(matplotlib.figure.Figure(figsize=(0.2, 0.1)))
    monkeypatch.setattr(style, "pngs", lambda makers: dict.fromkeys(makers, image))
