"""Images are where they belong, with their words, and sections say what they show."""

import numpy as np
import pytest

from linclf_jax.data.datasets import Split
from linclf_jax.figures import gallery, style
from linclf_jax.reports import examples_section, markup, sweep_page
from linclf_jax.runs import directory, examples, record
from tests.reports.report_test import NASTY, Page, make_run


def strip(count, heading="some", wrong=()):
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((2, 2), np.uint8)
    notes = [[f"note {i}"] for i in range(count)]
    return gallery.Strip(heading, images, notes, [i in wrong for i in range(count)])


class TestGallery:
    def test_images_are_in_order_eight_in_a_line_and_upright(self):
        (axis,) = gallery.draw([strip(10)]).axes
        values = [image.get_array()[0, 0] for image in axis.images]
        assert values == list(range(10))
        boxes = np.array([image.get_extent() for image in axis.images])
        np.testing.assert_allclose(boxes[:8, 0], np.arange(8))
        np.testing.assert_allclose(boxes[8:, 0], [0, 1])
        left, right, bottom, top = boxes.T
        assert (left < right).all()
        assert (top < bottom).all()  # the axis runs downwards
        assert axis.get_ylim()[0] >= bottom.max()
        assert top[8] > bottom[0]
        assert all(image.get_clim() == (0, 255) for image in axis.images)

    def test_small_strips_share_a_line_and_large_ones_do_not(self):
        (axis,) = gallery.draw([strip(2), strip(4), strip(3), strip(5), strip(1)]).axes
        starts = [image.get_extent() for image in axis.images]
        first = [starts[i] for i in (0, 2, 6, 9, 14)]
        assert [box[0] for box in first] == [0, 4, 0, 0, 0]
        tops = [box[3] for box in first]
        assert tops[0] == tops[1] < tops[2] < tops[3] < tops[4]

    def test_words_below_wrong_ones_in_colour(self):
        (axis,) = gallery.draw([strip(3, "heading", wrong=(1,))]).axes
        assert axis.texts[0].get_text() == "heading"
        colours = [text.get_color() for text in axis.texts[1:]]
        assert colours == [style.INK, style.CHOSEN, style.INK]
        for text, image in zip(axis.texts[1:], axis.images, strict=True):
            left, _, bottom, _ = image.get_extent()
            assert text.get_position()[0] == left
            assert 0 < text.get_position()[1] - bottom < gallery.LINE

    def test_colour_and_tall_images(self):
        (axis,) = gallery.draw(
            [strip(2)._replace(images=np.full((2, 6, 3, 3), 200, np.uint8))]
        ).axes
        left, right, bottom, top = axis.images[0].get_extent()
        np.testing.assert_allclose((bottom - top) / (right - left), 2)
        assert axis.images[0].get_array().shape == (6, 3, 3)


def keep(folder, *, image_shape=(2, 2), names=3, calibrated=True, perfect=False):
    """Eight test rows of each class, one in four taken for the next class."""
    labels = np.arange(8 * names) % names
    wrong = (np.arange(8 * names) % 4 == 0) & (not perfect)
    logits = 3.0 * np.eye(names)[(labels + wrong) % names]
    logits[2] *= 0.1
    x = np.arange(8 * names * 4, dtype=np.uint8).reshape(-1, 4)
    split = Split(x, labels.astype(np.int32), 1000 + np.arange(len(x)))
    found = examples.collect(
        logits, split, image_shape=image_shape, calibrated=calibrated
    )
    examples.write(folder, found)
    return found


class TestPage:
    @pytest.fixture
    def page(self, tmp_path_factory):
        folder = make_run(tmp_path_factory.mktemp("runs") / "one")
        keep(folder)
        return folder, Page(sweep_page.write(folder))

    def test_the_sections_follow_the_confusion_matrix(self, page):
        _, found = page
        place = found.sections.index("confusion")
        assert found.sections[place + 1 : place + 3] == ["confused", "certainty"]
        assert {"confused.png", "certainty.png"} <= {p.name for p in page[0].iterdir()}

    def test_it_is_drawn_again_from_the_folder_alone(self, page):
        folder, _ = page
        directory.seal(folder)
        before = (folder / "report.html").read_bytes()
        (folder / "confused.png").write_bytes(b"old")
        sweep_page.redraw(folder)
        assert (folder / "report.html").read_bytes() == before
        assert (folder / "confused.png").read_bytes()[:4] == b"\x89PNG"

    def test_changed_examples_are_not_drawn(self, page):
        folder, _ = page
        directory.seal(folder)
        path = folder / examples.FILE
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(ValueError, match=r"examples.npz has changed"):
            sweep_page.redraw(folder)
        path.write_bytes(whole)


class TestSections:
    def text(self, folder, **given):
        found = keep(folder, **given)
        names = ["cat", NASTY, "dog"]
        config = {"data": {"class_names": names}}
        run = record.Record(folder, config, [], None, None, None, False, (), False)
        images = examples_section.draw(run)
        body = [
            make(run, images.get(name))
            for name, make in examples_section.SECTIONS.items()
        ]
        path = folder / "page.html"
        path.write_text(markup.document("page", body), "utf-8")
        return found, Page(path)

    def test_with_images_there_are_no_tables(self, tmp_path):
        _, page = self.text(tmp_path)
        assert len(page.images) == 2
        assert all(image["alt"] for image in page.images)
        assert "table" not in page.tags

    def test_without_images_rows_are_listed_by_their_number(self, tmp_path):
        _, page = self.text(tmp_path, image_shape=None)
        assert page.images == []
        assert "script" not in page.tags
        pairs = [cells for cells in page.cells if cells[:1] == ["cat"]]
        assert pairs[0][:3] == ["cat", NASTY, "2"]
        assert pairs[0][3] == "1000 (0.91), 1012 (0.91)"
        least = next(cells for cells in page.cells if cells[0] == "Least sure")
        assert least == ["Least sure", "1002", "dog", "dog", "0.40"]

    def test_a_hinge_is_said_to_make_no_probabilities(self, tmp_path):
        _, page = self.text(tmp_path, image_shape=None, calibrated=False)
        assert "the margin of its prediction over the next class" in page.text
        assert any("margin" in c for c in page.cells)
        assert "the probability that" not in page.text

    def test_the_surest_errors_are_counted(self, tmp_path):
        found, page = self.text(tmp_path)
        surest = found.group == examples.SUREST
        wrong = int((found.labels != found.predictions)[surest].sum())
        assert wrong > 1
        assert f"Of the {surest.sum()} surest {wrong} are wrong" in page.text

    def test_without_errors_it_says_so(self, tmp_path):
        _, page = self.text(tmp_path, perfect=True)
        assert "No test row was predicted wrong." in page.text
        assert len(page.images) == 1
