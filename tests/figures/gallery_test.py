"""Images are where they belong, with their words below."""

import numpy as np

from linclf_jax.figures import gallery, style


def strip(count, heading="some", wrong=()):
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((2, 2), np.uint8)
    notes = [[f"note {i}"] for i in range(count)]
    return gallery.Strip(heading, images, notes, [i in wrong for i in range(count)])


def test_images_are_in_order_eight_in_a_line_and_upright():
    (axis,) = gallery.draw([strip(10)]).axes
    assert [image.get_array()[0, 0] for image in axis.images] == list(range(10))
    left, right, bottom, top = np.array([i.get_extent() for i in axis.images]).T
    np.testing.assert_allclose(left, [*range(8), 0, 1])
    assert (left < right).all()
    assert (top < bottom).all()  # the axis runs downwards
    assert axis.get_ylim()[0] >= bottom.max()
    assert top[8] > bottom[0]
    assert all(image.get_clim() == (0, 255) for image in axis.images)


def test_small_strips_share_a_line_and_large_ones_do_not():
    (axis,) = gallery.draw([strip(2), strip(4), strip(3), strip(5), strip(1)]).axes
    left, _, _, top = np.array(
        [axis.images[i].get_extent() for i in (0, 2, 6, 9, 14)]
    ).T
    assert left.tolist() == [0, 4, 0, 0, 0]
    assert top[0] == top[1] < top[2] < top[3] < top[4]


def test_words_below_wrong_ones_in_colour():
    (axis,) = gallery.draw([strip(3, "heading", wrong=(1,))]).axes
    assert axis.texts[0].get_text() == "heading"
    colours = [text.get_color() for text in axis.texts[1:]]
    assert colours == [style.INK, style.CHOSEN, style.INK]
    for text, image in zip(axis.texts[1:], axis.images, strict=True):
        left, _, bottom, _ = image.get_extent()
        assert text.get_position()[0] == left
        assert 0 < text.get_position()[1] - bottom < gallery.LINE


def test_colour_and_tall_images():
    tall = strip(2)._replace(images=np.full((2, 6, 3, 3), 200, np.uint8))
    (axis,) = gallery.draw([tall]).axes
    left, right, bottom, top = axis.images[0].get_extent()
    np.testing.assert_allclose((bottom - top) / (right - left), 2)
    assert axis.images[0].get_array().shape == (6, 3, 3)
