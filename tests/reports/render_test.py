"""The page as a browser has it, the files around it, and what is refused."""

import base64
import html
import html.parser
import re
import shlex
import sys

import pytest

from linclf_jax.figures import style
from linclf_jax.reports import render
from linclf_jax.runs import checkpoint, directory, record
from tests.reports import records
from tests.reports.records import NASTY


class Page(html.parser.HTMLParser):
    """What a browser would make of the page: text, sections, images, cells."""

    VOID = frozenset(("meta", "img", "br"))

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text("utf-8")
        self.words, self.images, self.sections, self.cells = [], [], [], []
        self.open, self.tags, self.chosen = [], set(), []
        self.feed(self.source)
        self.close()

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "section":
            self.sections.append(dict(attrs)["id"])
        if tag == "tr":
            self.cells.append([])
            if ("class", "chosen") in attrs:
                self.chosen.append(self.cells[-1])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data


STUDIES = {"course": records.grouped(keep="best"), "path": records.path()}


@pytest.fixture(scope="module", params=STUDIES)
def finished(request, tmp_path_factory):
    """A real page of each study, with real figures."""
    folder = tmp_path_factory.mktemp("runs") / "my run"
    records.write(STUDIES[request.param], folder)
    if request.param == "course":
        records.keep_examples(folder)
    return folder, Page(render.write(folder))


class TestPage:
    def test_it_opens_alone_and_all_is_closed(self, finished):
        _, page = finished
        assert page.source.startswith("<!DOCTYPE html>")
        assert page.open == []
        assert not page.tags & {"script", "link", "iframe", "b", "i", "stops"}
        assert not re.search(r"(src|href)=(?!\"data:)", page.source)
        assert "url(" not in page.source
        assert '"Segoe UI"' in page.source  # markup is escaped, the style is not
        assert not re.search(r"[{}]{2}|\{%|Undefined", page.source.split("</style>")[1])

    def test_names_are_text_and_origins_are_spread_out(self, finished):
        _, page = finished
        for words in (
            f"“cat” taken for “{NASTY}” (3)",
            "pets & co",
            "secret<i>",
            "fingerprint0f1e2d",
            "git commitc0ffee",
            "git dirtyfalse",
        ):
            assert words in page.text

    def test_images_are_the_files_of_the_directory(self, finished):
        folder, page = finished
        prefix = "data:image/png;base64,"
        inside = {base64.b64decode(i["src"].removeprefix(prefix)) for i in page.images}
        assert inside == {path.read_bytes() for path in folder.glob("*.png")}
        assert len(inside) > 2
        assert all(len(image["alt"]) > 20 for image in page.images)
        # The size of an image is known before it is decoded, and in CSS pixels.
        assert all(200 < int(image["width"]) < 1100 for image in page.images)

    def test_the_answer_comes_first_and_the_sections_in_order(self, finished):
        folder, page = finished
        top = page.text.split("Its hyper-parameters")[0]
        assert "Why this one: the lowest" in top
        assert "test accuracy0.8125" in top
        assert page.source.count("<h1>") == 1
        shown = [section.id for section in render.contents(record.read(folder))]
        assert page.sections == ["settings", "replay", *shown, "origins"]
        assert len(shown) > 4

    def test_the_command_is_words_of_a_shell(self, finished):
        folder, page = finished
        inside = page.source.split("<pre><code>")[1].split("</code>")[0]
        words = shlex.split(html.unescape(re.sub("<[^>]*>", "", inside)))
        assert words[:2] == ["python", "-m"]
        assert words[3:] == [
            f"--flagfile={folder}/flags.txt",
            f"--out_dir={folder}-replay",
        ]


@pytest.mark.usefixtures("undrawn")
class TestWords:
    """Where one image stands for all figures."""

    def page(self, made, folder):
        return Page(render.write(records.write(made, folder)))

    def test_warnings_and_remarks(self, tmp_path):
        page = self.page(records.sweep(), tmp_path)
        assert "Before you trust it Trial <b> is odd" in page.text
        page = self.page(records.sweep(change={"warnings": []}), tmp_path)
        assert "Before you trust it" not in page.text
        page = self.page(records.sets("clip"), tmp_path)
        assert "Every penalty is solved; the original <stops>" in page.text

    def test_what_is_chosen_is_marked_in_every_table(self, tmp_path):
        page = self.page(records.path(rule="one_standard_error"), tmp_path)
        firsts = [cells[:1] for cells in page.chosen]
        assert firsts == [["4"], ["one standard error"], ["0.1"]]

    def test_hostile_names_everywhere(self, tmp_path):
        """Of classes, data, flags, groups, warnings and the directory itself."""
        settings = records.config("probe", names=[NASTY] * 3, **{NASTY: NASTY})
        settings["data"] |= {"name": NASTY, "sets": {NASTY: {"<b>": 4}}}
        made = records.sets(
            NASTY, "“漢字” 'a' \"b\"", settings=settings, warnings=[NASTY]
        )
        made.selected["comparisons"].append(records.pair(NASTY, NASTY, 0.5))
        made.selected["entries"][0] |= {"reason": NASTY, "warnings": [NASTY]}
        records.keep_examples(tmp_path / '"><script>', image_shape=None)
        page = self.page(made, tmp_path / '"><script>')
        assert not page.tags & {"script", "b"}
        assert page.open == []
        assert page.text.count(NASTY) > 15
        assert "“漢字” 'a' \"b\"" in page.text
        assert f"sets {NASTY} <b>4" in page.text

    def test_many_classes_and_flags_that_are_unset(self, tmp_path):
        names = [f"class {i}" for i in range(100)]
        flags = {"folds": None, "preprocessing": ["none"]}
        settings = records.config("sweep", names=names, **flags)
        change = {"test": records.measured(100)}
        page = self.page(records.sweep(settings=settings, change=change), tmp_path)
        assert "class 19, …" in page.text
        assert "class 20" not in page.text
        assert "foldsunset" in page.text
        assert "preprocessingnone" in page.text

    def test_a_page_without_a_selection(self, tmp_path):
        rows = records.training_rows(diverged=range(24))
        page = self.page(records.sweep(rows, trial=None), tmp_path)
        assert page.sections[0] == "replay"
        assert page.text.count("No classifier to use") == 2  # the title, the answer


@pytest.mark.usefixtures("undrawn")
class TestUnfinished:
    @pytest.fixture
    def unfinished(self, tmp_path):
        return records.write_unfinished(records.sweep(trial=None), tmp_path / "run")

    def test_the_page_is_that_of_the_finished_batches(self, unfinished):
        before = {path.name for path in unfinished.iterdir()}
        path = render.write_progress(unfinished)
        assert path == unfinished / "progress.html"
        assert {p.name for p in unfinished.iterdir()} == {*before, "progress.html"}
        page = Page(path)
        shown = ["search_map", "curves", "ranking"]
        assert page.sections == ["replay", *shown, "origins"]
        assert len(page.images) == 2
        assert "the run is unfinished" in page.text
        assert "So far 22 trials have finished and 2 have diverged" in page.text

    def test_a_damaged_batch_is_left_out_and_named(self, unfinished):
        (path,) = unfinished.glob("*/000001.npz")
        path.write_bytes(path.read_bytes()[:500])
        page = Page(render.write_progress(unfinished))
        assert "sweep on pets & co: 10 linear classifiers" in page.text
        assert "000001.npz: no .npz or a damaged one" in page.text
        assert path.exists()
        checkpoint.DiskStore(unfinished).clear()
        with pytest.raises(ValueError, match=r"no results.jsonl and no finished batch"):
            render.write_progress(unfinished)

    def test_the_final_page_takes_the_place_of_it(self, tmp_path):
        folder = records.write(records.sweep(), tmp_path)
        render.write_progress(folder)
        render.write(folder)
        assert not (folder / "progress.html").exists()


@pytest.mark.usefixtures("undrawn")
class TestRedraw:
    @pytest.fixture
    def sealed(self, tmp_path):
        folder = records.write(records.sweep(), tmp_path / "run")
        records.keep_examples(folder)
        render.write(folder)
        directory.seal(folder)
        return folder

    def contents(self, folder):
        return {
            p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()
        }

    def test_the_same_bytes_are_not_written(self, sealed):
        before = self.contents(sealed)
        assert render.redraw(sealed) == sealed / "report.html"
        assert self.contents(sealed) == before

    @pytest.mark.parametrize("name", ["report.html", "curves.png", "confused.png"])
    def test_another_drawing_takes_the_place_of_the_old_one(self, name, sealed):
        right = (sealed / name).read_bytes()
        for spoil in (lambda p: p.write_bytes(b"old"), lambda p: p.unlink()):
            spoil(sealed / name)
            directory.seal(sealed)
            render.redraw(sealed)
            assert (sealed / name).read_bytes() == right
            assert name in directory.verify(sealed)

    def test_a_stop_before_the_renewal_is_made_good(self, sealed, monkeypatch):
        (sealed / "report.html").write_bytes(b"old")
        directory.seal(sealed)
        with monkeypatch.context() as patch:
            patch.setattr(directory, "seal", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                render.redraw(sealed)
        with pytest.raises(ValueError, match=r"report.html has changed"):
            directory.verify(sealed)
        render.redraw(sealed)
        directory.verify(sealed)

    @pytest.mark.parametrize(
        "name", ["results.jsonl", "history.npz", "config.json", "examples.npz"]
    )
    def test_damaged_results_are_refused_and_stay_unblessed(self, name, sealed):
        data = (sealed / name).read_bytes()
        (sealed / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        (sealed / "report.html").write_bytes(b"old")
        for _ in range(2):
            with pytest.raises(ValueError, match=f": {name} has changed$"):
                render.redraw(sealed)
        assert (sealed / "report.html").read_bytes() == b"old"

    def test_a_moved_directory_names_where_it_is_now(self, sealed, tmp_path):
        moved = sealed.rename(tmp_path / "moved")
        (moved / "notes.txt").write_text("mine")
        page = Page(render.redraw(moved))
        assert f"--flagfile={moved}/flags.txt" in page.text
        assert "notes.txt" not in directory.verify(moved)

    def test_an_unfinished_run_is_not_sealed(self, sealed):
        (sealed / "manifest.json").unlink()
        with pytest.raises(ValueError, match=r"no manifest\.json: the run is not fin"):
            render.redraw(sealed)


class TestRefusals:
    @pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
    def test_says_what_to_install_before_it_reads_a_file(
        self, package, tmp_path, monkeypatch
    ):
        render.require()
        monkeypatch.setitem(sys.modules, package, None)
        install = rf"by {package}, which is not installed: pip install 'linclf_jax\[ex"
        for refuse in (render.write, render.write_progress):
            with pytest.raises(ValueError, match=install):
                refuse(tmp_path / "nowhere")

    def test_a_directory_that_lacks_a_file_gets_no_page(self, tmp_path):
        folder = records.write(records.sweep(), tmp_path)
        (folder / "history.npz").unlink()
        with pytest.raises(ValueError, match=r"history.npz missing, found \["):
            render.write(folder)
        assert not (folder / "report.html").exists()

    def test_a_figure_that_cannot_be_drawn_is_named(self, tmp_path):
        settings = records.config("sweep", image_shape=[3, 3])
        alone = records.training_rows()[17:18]
        folder = records.write(records.sweep(alone, settings=settings), tmp_path)
        message = r"^templates.png cannot be drawn: ValueError: image_shape \(3, 3\)"
        with pytest.raises(style.FigureError, match=message):
            render.write(folder)
        assert not list(folder.glob("*.png"))
