"""The page says what the files of the run folder say, whatever state they are in."""

import base64
import html.parser
import re
import shlex
import sys

import numpy as np
import pytest

from linclf_jax.runs import directory, record, report, report_markup, report_sections

NASTY = "<script>alert('x')</script> & $\\frac"
EPOCHS = 3
SELECTED_SECTIONS = {"settings", "confusion", "templates", "reliability"}


def make_rows(*, diverged=()):
    """Two optimizers x 3 rates x 2 penalties x 2 seeds; lane 17 is the best."""
    grid = [
        (optimizer, rate, l2, seed)
        for optimizer in ("sgd", "adam")
        for rate in (0.01, 0.1, 1.0)
        for l2 in (0.0, 0.001234567)
        for seed in (0, 1)
    ]
    rows = []
    for lane, (optimizer, rate, l2, seed) in enumerate(grid):
        lost = lane in diverged
        rows.append(
            {
                **{"lane": lane, "optimizer": optimizer, "learning_rate": rate},
                **{"l2": l2, "momentum": 0.9 if optimizer == "sgd" else None},
                **{"batch_size": 32, "seed": seed, "fold": None, "steps": 12},
                "status": "diverged" if lost else "ok",
                "reason": "nonfinite_loss" if lost else None,
                "train_loss": None if lost else 0.2 + abs(lane - 17) / 64,
                "train_accuracy": None if lost else 0.97,
                "val_loss": None if lost else 0.25 + abs(lane - 17) / 32,
                "val_accuracy": None if lost else 0.9375 - abs(lane - 17) / 64,
            }
        )
    return rows


def make_history(rows):
    shape = (len(rows), EPOCHS)
    lost = np.array([row["status"] != "ok" for row in rows])
    loss = np.broadcast_to(np.array([1.0, 0.7, 0.5]), shape).copy()
    loss[lost, 1:] = np.nan
    return {
        "lane": np.array([row["lane"] for row in rows]),
        "train_loss": loss,
        "val_loss": loss,
        "val_accuracy": 1 - loss / 2,
    }


def make_test_metrics(classes):
    counts = np.diag(np.full(classes, 5))
    counts[0, 1] = 3
    return {
        "size": int(counts.sum()),
        "accuracy": 0.8125,
        "accuracy_interval": [0.5703, 0.9349],
        "loss": 0.5678,
        "calibration_error": 0.0432,
        "per_class_recall": [0.625, *[1.0] * (classes - 1)],
        "confusion": counts.tolist(),
        "reliability": {
            "edges": [0.0, 0.5, 1.0],
            **{"count": [0, 8], "confidence": [None, 0.9], "accuracy": [None, 0.8]},
        },
    }


def make_run(
    folder,
    *,
    rows=None,
    names=("cat", NASTY, "dog"),
    image_shape=(2, 2),
    chosen=17,
    warnings=("lane <b> is odd",),
    history=True,
):
    """Writes a run folder; ``chosen=None`` leaves it without a choice."""
    rows = make_rows(diverged=(4, 5)) if rows is None else rows
    features = int(np.prod(image_shape)) if image_shape else 4
    config = {
        "experiment": "sweep",
        "flags": {"dataset": "pets", "select_by": "val_loss", "secret": "<i>"},
        "data": {
            **{"name": "pets & co", "fingerprint": "0f1e2d", "num_features": features},
            **{"train": 60, "validation": 20, "test": 18, "num_classes": len(names)},
            **{"class_names": list(names), "image_shape": image_shape},
        },
        "environment": {"jax": "0.10.2", "git": {"commit": "c0ffee", "dirty": False}},
    }
    folder.mkdir(exist_ok=True)
    directory.write_json(folder / "config.json", config)
    directory.write_rows(folder / "results.jsonl", rows)
    directory.write_text(folder / "flags.txt", "--dataset=pets\n")
    if history:
        directory.write_arrays(folder / "history.npz", make_history(rows))
    if chosen is not None:
        W = np.arange(features * len(names), dtype=np.float32)
        tensors = {"W": W.reshape(features, len(names)), "b": np.zeros(len(names))}
        directory.write_tensors(folder / "selected.safetensors", tensors)
        selected = {
            **{"lane": chosen, "selected_by": "val_loss", "ties": [3]},
            **{"reason": "the lowest val_loss", "warnings": list(warnings)},
            "row": next(row for row in rows if row["lane"] == chosen),
            "test": make_test_metrics(len(names)),
        }
        directory.write_json(folder / "selected.json", selected)
    return folder


class Page(html.parser.HTMLParser):
    """What a browser would make of the page: text, sections, images, open tags."""

    VOID = frozenset(("meta", "img", "br"))

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text("utf-8")
        self.words, self.images, self.sections, self.cells = [], [], [], []
        self.open, self.tags = [], set()
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

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1].append(data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("runs") / "my run")
    return folder, Page(report.write(folder))


class TestFinishedRun:
    def test_every_section_is_there_in_order(self, finished):
        _, page = finished
        expected = ["settings", "replay", "heatmap", "curves", "ranking", "confusion"]
        assert page.sections == [*expected, "templates", "reliability", "origins"]

    def test_the_markup_is_closed_and_alone(self, finished):
        _, page = finished
        assert page.source.startswith("<!DOCTYPE html>")
        assert page.open == []
        assert not page.tags & {"script", "link", "iframe", "b", "i"}
        assert not re.search(r"(src|href)=(?!\"data:)", page.source)
        assert "url(" not in page.source

    def test_images_are_the_files_of_the_folder(self, finished):
        folder, page = finished
        names = ["heatmap", "curves", "confusion", "templates", "reliability"]
        prefix = "data:image/png;base64,"
        inside = [base64.b64decode(i["src"].removeprefix(prefix)) for i in page.images]
        assert inside == [(folder / f"{name}.png").read_bytes() for name in names]
        assert all(len(image["alt"]) > 20 for image in page.images)

    def test_the_answer_comes_first(self, finished):
        _, page = finished
        answer = page.text.split("Its hyper-parameters")[0]
        assert "Use lane 17: adam, learning rate 0.1, l2 0" in answer
        assert "the lowest val_loss" in answer
        assert "Tied with it: lane 3." in answer
        assert "test accuracy0.812595 % interval 0.5703 to 0.9349; 18 rows" in answer
        assert "validation accuracy0.937520 rows" in answer
        assert "choose among 22 lanes" in answer
        assert "test loss0.5678validation 0.2500" in answer

    def test_the_command_is_quoted(self, finished):
        folder, page = finished
        command = (
            f"python -m experiments.sweep --flagfile='{folder}/flags.txt' "
            f"--out_dir='{folder}-replay'"
        )
        assert command in page.text

    def test_the_command_is_words_of_a_shell(self, finished):
        folder, page = finished
        inside = page.source.split("<pre><code>")[1].split("</code>")[0]
        words = shlex.split(html.unescape(re.sub("<[^>]*>", "", inside)))
        assert words[:3] == ["python", "-m", "experiments.sweep"]
        assert words[3:] == [
            f"--flagfile={folder}/flags.txt",
            f"--out_dir={folder}-replay",
        ]

    def test_hyper_parameters_are_exact_and_without_blanks(self, tmp_path):
        page = Page(report.write(make_run(tmp_path, chosen=18)))
        settings = page.text.split("Its hyper-parameters")[1].split("The command")[0]
        assert "l20.001234567" in settings.replace(" ", "")
        assert "momentum" not in settings

    def test_names_and_warnings_are_text(self, finished):
        _, page = finished
        assert NASTY in page.text
        assert "Lane <b> is odd" in page.text
        assert "pets & co" in page.text
        assert "<script" not in page.source

    def test_the_table_is_the_ranking(self, finished):
        _, page = finished
        head, *body = page.cells
        settings = ["lane", "optimizer", "learning_rate", "l2", "seed"]
        assert head[:5] == settings
        # Neighbours of lane 17 at equal distance: the lower lane comes first.
        lanes = [int(cells[0]) for cells in body]
        assert lanes == [17, 16, 18, 15, 19, 14, 20, 13, 21, 12]
        assert body[2] == [
            *("18", "adam", "0.1", "0.001235", "0"),
            *("0.2812", "0.9219", "0.2156", "0.9700"),
        ]
        assert "The 10 best of 22 lanes" in page.text
        assert "momentum 0.9, batch_size 32" in page.text

    def test_errors_are_counted_and_named(self, finished):
        _, page = finished
        assert "Where it errs: 3 of 18 test rows" in page.text
        assert f"“cat” taken for “{NASTY}” (3)" in page.text
        assert "Lowest recall: “cat” (0.6250)" in page.text
        assert "Expected calibration error 0.0432" in page.text

    def test_origins_are_spread_out(self, finished):
        _, page = finished
        for words in ("fingerprint0f1e2d", "git commitc0ffee", "secret<i>"):
            assert words in page.text

    def test_the_same_folder_gives_the_same_bytes(self, finished):
        folder, _ = finished
        made = ["report.html", *(f"{name}.png" for name in report.SECTIONS)]
        before = [(folder / name).read_bytes() for name in made]
        report.write(folder)
        assert [(folder / name).read_bytes() for name in made] == before


class TestOtherRuns:
    def test_without_images_there_are_no_templates(self, tmp_path):
        page = Page(report.write(make_run(tmp_path, image_shape=None)))
        assert "templates" not in page.sections
        assert not (tmp_path / "templates.png").exists()
        assert "confusion" in page.sections

    def test_one_lane_makes_no_map(self, tmp_path):
        rows = make_rows()[17:18]
        page = Page(report.write(make_run(tmp_path, rows=rows, warnings=())))
        assert "heatmap" not in page.sections
        assert "1 linear classifier " in page.text + " "
        assert "Before you trust it" not in page.text
        assert "so expect less" not in page.text

    def test_all_diverged(self, tmp_path):
        rows = make_rows(diverged=range(24))
        page = Page(report.write(make_run(tmp_path, rows=rows, chosen=None)))
        assert "No classifier to use: all 24 lanes diverged" in page.text
        assert "The smallest learning rate tried was 0.01" in page.text
        assert page.sections == ["replay", "heatmap", "curves", "origins"]
        assert "Colours follow" not in page.text

    def test_all_diverged_before_they_had_a_curve(self, tmp_path):
        rows = make_rows(diverged=range(24))
        run = make_run(tmp_path, rows=rows, chosen=None)
        history = make_history(rows)
        for name in ("train_loss", "val_loss", "val_accuracy"):
            history[name][:] = np.nan
        directory.write_arrays(run / "history.npz", history)
        assert Page(report.write(run)).sections == ["replay", "heatmap", "origins"]

    def test_unfinished(self, tmp_path):
        page = Page(report.write(make_run(tmp_path, chosen=None, history=False)))
        assert "the run is unfinished" in page.text
        assert "So far 22 lanes have finished and 2 have diverged" in page.text
        assert "Ahead by validation loss: lane 17 (adam" in page.text
        assert not SELECTED_SECTIONS & set(page.sections)
        assert "curves" not in page.sections

    def test_nothing_finished_yet(self, tmp_path):
        run = make_run(tmp_path, rows=[], chosen=None, history=False)
        page = Page(report.write(run))
        assert "No lane has finished yet" in page.text
        assert page.sections == ["replay", "origins"]

    def test_of_many_ties_the_first_are_named(self, tmp_path):
        make_run(tmp_path)
        selected = directory.read_json(tmp_path / "selected.json")
        selected["ties"] = list(range(17))
        directory.write_json(tmp_path / "selected.json", selected)
        page = Page(report.write(tmp_path))
        assert "Tied with it: 17 lanes, first 0, 1, 2, 3, 4. The test" in page.text

    def test_a_hundred_classes(self, tmp_path):
        names = [f"class {i}" for i in range(100)]
        page = Page(report.write(make_run(tmp_path, names=names)))
        assert "class 19, …" in page.text
        assert "class 20" not in page.text

    def test_lanes_without_any_curve_are_counted(self, tmp_path):
        run = make_run(tmp_path)
        history = make_history(make_rows(diverged=(4, 5)))
        history["val_loss"][4] = np.nan
        directory.write_arrays(run / "history.npz", history)
        assert "in their first epoch: 1 lane." in Page(report.write(run)).text


class TestWithoutMatplotlib:
    def test_says_what_to_install_before_it_reads_a_file(self, tmp_path, monkeypatch):
        report.require()
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        install = r"pip install 'linclf_jax\[experiments\]'"
        with pytest.raises(ValueError, match=install):
            report.require()
        with pytest.raises(ValueError, match=install):
            report.write(tmp_path / "nowhere")


class TestRanking:
    def test_most_frequent_errors_are_off_the_diagonal(self):
        counts = np.array([[9, 0, 2], [2, 9, 5], [0, 0, 9]])
        found = report_sections.most_frequent_errors(counts)
        assert found == [(1, 2), (0, 2), (1, 0)]


class TestBadFolders:
    @pytest.mark.parametrize(
        "name",
        [*record.REQUIRED, *record.REQUIRED_ONCE_CHOSEN],
    )
    def test_a_missing_file_is_named(self, tmp_path, name):
        (make_run(tmp_path) / name).unlink()
        with pytest.raises(ValueError, match=rf"{re.escape(name)} missing, found \["):
            report.write(tmp_path)

    def test_no_folder(self, tmp_path):
        with pytest.raises(ValueError, match="missing, found nothing"):
            report.write(tmp_path / "nowhere")

    def test_a_history_of_another_run(self, tmp_path):
        make_run(tmp_path)
        history = {k: v[:-1] for k, v in make_history(make_rows()).items()}
        directory.write_arrays(tmp_path / "history.npz", history)
        with pytest.raises(ValueError, match="holds 23 lanes, expected the 24 lanes"):
            report.write(tmp_path)

    def test_class_names_that_do_not_fit(self, tmp_path):
        make_run(tmp_path)
        config = directory.read_json(tmp_path / "config.json")
        config["data"]["class_names"].append("emu")
        directory.write_json(tmp_path / "config.json", config)
        with pytest.raises(ValueError, match="of 3 classes, expected the 4 of config"):
            report.write(tmp_path)

    def test_a_choice_that_was_not_trained(self, tmp_path):
        make_run(tmp_path)
        selected = directory.read_json(tmp_path / "selected.json") | {"lane": 99}
        directory.write_json(tmp_path / "selected.json", selected)
        with pytest.raises(ValueError, match="chose lane 99"):
            report.write(tmp_path)

    def test_a_model_without_weights(self, tmp_path):
        make_run(tmp_path)
        directory.write_tensors(tmp_path / "selected.safetensors", {"b": np.zeros(3)})
        with pytest.raises(ValueError, match=r"expected a tensor W .*found \['b'\]"):
            report.write(tmp_path)


def test_every_block_escapes():
    blocks = (
        report_markup.section(NASTY, NASTY),
        report_markup.paragraph(NASTY, kind=NASTY),
        report_markup.bullets([NASTY]),
        report_markup.facts({NASTY: {NASTY: NASTY}}),
        report_markup.table([NASTY], [[NASTY]]),
        report_markup.command([NASTY]),
        report_markup.document(NASTY, []),
    )
    for block in blocks:
        assert "<script" not in block
        assert "&lt;script&gt;" in block
