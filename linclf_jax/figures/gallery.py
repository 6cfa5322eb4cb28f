"""Images of test rows, side by side, each with what the classifier made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from linclf_jax.figures import canvas, style

ACROSS = 8  # images in a line
COLUMN = 1.1  # inches from one image to the next; all other lengths are in columns
GAP = 0.1  # between two images, and left of the first
LINE = 0.15  # height of a line of text below an image
HEADING = 0.26
SPACE = 0.2  # below the last line of a strip


class Strip(NamedTuple):
    """Some images under a heading, eight in a line."""

    heading: str
    images: np.ndarray  # (M, H, W) or (M, H, W, 3) uint8, M at least 1
    notes: Sequence[Sequence[str]]  # M times one or two lines of text, below the image
    wrong: Sequence[bool]  # M: drawn in the colour of mistakes


@style.style()
def draw(strips: Sequence[Strip]) -> canvas.Figure:
    """The strips one below the other; two that fit side by side share a line.

    There is at least one, and all images are of one shape.
    """
    from matplotlib.figure import Figure

    height, width = strips[0].images.shape[1:3]
    tall = (1 - GAP) * height / width
    corners, bottom = _corners(strips, tall)
    figure = Figure(figsize=((ACROSS + GAP) * COLUMN, bottom * COLUMN))
    axis = figure.add_axes((0, 0, 1, 1))
    for strip, (left, top) in zip(strips, corners, strict=True):
        axis.text(left, top, strip.heading, ha="left", va="top", fontsize=9.5)
        _draw_images(axis, strip, left, top + HEADING, tall)
    axis.set(xlim=(-GAP, ACROSS), ylim=(bottom, 0))
    axis.set_axis_off()
    return figure


def _corners(
    strips: Sequence[Strip], tall: float
) -> tuple[list[tuple[float, float]], float]:
    """Left and upper end of each strip, and the lower end of them all."""
    corners, top, bottom, half = [], 0.05, 0.05, ACROSS / 2
    is_free = False  # the right half of the line
    for strip in strips:
        is_beside = is_free and len(strip.images) <= half
        if not is_beside:
            top = bottom
        corners.append((half if is_beside else 0.0, top))
        is_free = len(strip.images) <= half and not is_free
        lines = -(-len(strip.images) // ACROSS)
        bottom = max(bottom, top + HEADING + lines * _step(strip, tall) + SPACE)
    return corners, bottom - SPACE


def _step(strip: Strip, tall: float) -> float:
    """From one line of images to the next."""
    return tall + LINE * (max(map(len, strip.notes)) + 0.6)


def _draw_images(
    axis: canvas.Axes, strip: Strip, start: float, top: float, tall: float
) -> None:
    for i, image in enumerate(strip.images):
        down, right = divmod(i, ACROSS)
        left, upper = start + right, top + down * _step(strip, tall)
        box = left, left + 1 - GAP, upper + tall, upper
        look = {"extent": box, "vmin": 0, "vmax": 255, "interpolation": "nearest"}
        axis.imshow(image, "gray", **look)
        colour = style.CHOSEN if strip.wrong[i] else style.INK
        text = "\n".join(strip.notes[i])
        look = {"ha": "left", "va": "top", "fontsize": 7.5, "color": colour}
        axis.text(left, upper + tall + 0.03, text, **look)
