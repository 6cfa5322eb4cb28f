"""The page says what the files of the run folder say, whatever state they are in."""

import base64
import html.parser
import re
import shlex
import sys

import numpy as np
import pytest

from linclf_jax.reports import markup, sweep_page
from linclf_jax.runs import checkpoint, directory, examples, record, store

NASTY = "<script>alert('x')</script> & $\\frac"
EPOCHS = 3
SELECTED_SECTIONS = {"settings", "confusion", "templates", "reliability"}


def make_rows(*, diverged=(), retired=()):
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
                **{"trial": lane, "optimizer": optimizer, "learning_rate": rate},
                **{"l2": l2, "momentum": 0.9 if optimizer == "sgd" else None},
                **{"batch_size": 32, "seed": seed, "fold": None, "steps": 12},
                "status": "diverged"
                if lost
                else "retired"
                if lane in retired
                else "ok",
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
    lost = np.array([row["status"] != "ok" for row in rows], bool)
    loss = np.broadcast_to(np.array([1.0, 0.7, 0.5]), shape).copy()
    loss[lost, 1:] = np.nan
    return {
        "trial": np.array([row["trial"] for row in rows]),
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
    choice=None,
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
    directory.write(folder / "config.json", config)
    directory.write(folder / "results.jsonl", rows)
    directory.write(folder / "flags.txt", "--dataset=pets\n")
    if history:
        directory.write(folder / "history.npz", make_history(rows))
    if chosen is not None:
        W = np.arange(features * len(names), dtype=np.float32)
        tensors = {"W": W.reshape(features, len(names)), "b": np.zeros(len(names))}
        directory.write(folder / "selected.safetensors", (tensors, {}))
        selected = {
            **{"trial": chosen, "selected_by": "val_loss", "ties": [3]},
            **{"reason": "the lowest val_loss", "warnings": list(warnings)},
            "row": next(row for row in rows if row["trial"] == chosen),
            "test": make_test_metrics(len(names)),
        }
        directory.write(folder / "selected.json", selected | (choice or {}))
    return folder


def make_folds(folder, *, refit):
    """Three penalties x three folds, the middle one chosen by its mean."""
    scores = {0.0: (0.5, 0.1, 0.6), 0.01: (0.2, 0.3, 0.4), 0.1: (0.9, 0.8, 0.7)}
    pairs = [(l2, fold) for l2 in scores for fold in range(3)]
    rows = [
        row
        | {"trial": lane, "optimizer": "sgd", "momentum": None, "learning_rate": 0.1}
        | {"l2": l2, "seed": 0, "fold": fold, "preprocessing": "standardize"}
        | {"label_smoothing": 0.0, "val_loss": scores[l2][fold]}
        | {"val_accuracy": 1 - scores[l2][fold] / 2}
        for lane, ((l2, fold), row) in enumerate(zip(pairs, make_rows(), strict=False))
    ]
    row = rows[3]
    choice = {
        "repeats": {
            "val_loss": {"mean": 0.3, "sd": 0.1, "count": 3},
            "val_accuracy": {"mean": 0.85, "sd": 0.05, "count": 3},
        },
        **{"ties": [], "reason": "the lowest mean val_loss of 3 settings"},
    }
    if refit:
        row = row | {
            "trial": None,
            "fold": None,
            "val_loss": None,
            "val_accuracy": None,
        }
        choice |= {"trial": None, "row": row, "refit": True}
    return make_run(folder, rows=rows, chosen=3, choice=choice, warnings=())


def to_pieces(folder, *, cut):
    """Turns the results of a run folder into two finished pieces of it."""
    rows = directory.read(folder / "results.jsonl")
    history = directory.read(folder / "history.npz")
    for number, part in enumerate((slice(0, cut), slice(cut, None))):
        arrays = {name: array[part] for name, array in history.items()}
        arrays["W"] = np.zeros((len(arrays["trial"]), 4, 3))
        piece = store.Piece(rows[part], arrays)
        checkpoint.DiskStore(folder).save_piece(f"{number:06d}", piece)
    (folder / "results.jsonl").unlink()
    (folder / "history.npz").unlink()


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
    return folder, Page(sweep_page.write(folder))


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
        assert "Tied for the best validation loss: lane 3." in answer
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
        page = Page(sweep_page.write(make_run(tmp_path, chosen=18)))
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
        settings = ["trial", "optimizer", "learning_rate", "l2", "seed"]
        assert head[:5] == settings
        # Neighbours of lane 17 at equal distance: the stronger l2 comes first, which
        # every second setting has; of equal ones the lower lane.
        lanes = [int(cells[0]) for cells in body]
        assert lanes == [17, 18, 16, 15, 19, 14, 20, 13, 21, 22]
        assert body[1] == [
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
        made = ["report.html", *(path.name for path in folder.glob("*.png"))]
        assert len(made) == 6
        before = [(folder / name).read_bytes() for name in made]
        sweep_page.write(folder)
        assert [(folder / name).read_bytes() for name in made] == before


class TestSample:
    """A sweep whose lanes are points has a scatter in the place of the heat map."""

    def make(self, folder, *, seeds=(0,), retired=(), **changes):
        rows = [
            make_rows(retired=retired)[lane % 24]
            | {"trial": lane, "seed": seed, "learning_rate": rate, "l2": rate / 100}
            | {"optimizer": "sgd", "momentum": 0.9}
            | changes
            for lane, (rate, seed) in enumerate(
                (rate, seed)
                for rate in np.geomspace(0.01, 1, 48).tolist()
                for seed in seeds
            )
        ]
        return make_run(folder, rows=rows)

    def scatter(self, page):
        below = page.text.split("Validation accuracy over learning rate and l2")[1]
        return below.split("Learning curves")[0]

    def test_the_scatter_is_in_the_place_of_the_map(self, tmp_path):
        page = Page(sweep_page.write(self.make(tmp_path)))
        expected = ["settings", "replay", "scatter", "curves", "ranking", "confusion"]
        assert page.sections == [*expected, "templates", "reliability", "origins"]
        inside = page.images[0]["src"].removeprefix("data:image/png;base64,")
        assert base64.b64decode(inside) == (tmp_path / "scatter.png").read_bytes()
        assert not (tmp_path / "heatmap.png").exists()

    def test_its_words_are_true(self, tmp_path):
        text = self.scatter(Page(sweep_page.write(self.make(tmp_path))))
        assert "Each point is a lane." in text
        assert "another point may be brighter than the chosen one" in text
        for word in ("cell", "grid", "mean", "retired", "strip", "differ in"):
            assert word not in text

    def test_repeats_retired_lanes_and_no_l2_have_words(self, tmp_path):
        run = self.make(tmp_path, seeds=(0, 1), retired=(1,))
        text = self.scatter(Page(sweep_page.write(run)))
        assert "Each point is the mean over seeds." in text
        assert "is a cross" not in text
        assert "a lane." not in text
        assert "4 of 96 lanes were retired early" in text
        assert "Their points show how good they were by then." in text
        rows = directory.read(tmp_path / "results.jsonl")
        rows[0] |= {"l2": 0.0, "momentum": 0.5}
        rows[2] |= {"status": "diverged"}
        directory.write(tmp_path / "results.jsonl", rows)
        text = self.scatter(Page(sweep_page.write(tmp_path)))
        assert "Without l2 they are in the strip at the bottom." in text
        assert "Points differ in momentum too." in text
        assert "Where a repeat diverged, the point is a cross." in text


class TestOtherRuns:
    def test_without_images_there_are_no_templates(self, tmp_path):
        page = Page(sweep_page.write(make_run(tmp_path, image_shape=None)))
        assert "templates" not in page.sections
        assert not (tmp_path / "templates.png").exists()
        assert "confusion" in page.sections

    @pytest.mark.parametrize("other", [{"features": "hog"}, {"preprocessing": "pca:4"}])
    def test_weights_of_no_pixels_are_no_templates(self, tmp_path, other):
        row = make_rows()[17] | other
        folder = make_run(tmp_path / "run", choice={"row": row})
        assert "templates" not in Page(sweep_page.write(folder)).sections

    def test_reliability_is_shown_before_and_after_a_temperature(self, tmp_path):
        test = make_test_metrics(3)
        test |= {"temperature": 1.75, "calibration_error_scaled": 0.03125}
        test["reliability_scaled"] = test["reliability"]
        folder = make_run(tmp_path / "run", choice={"test": test})
        page = Page(sweep_page.write(folder))
        assert "Expected calibration error 0.0432" in page.text
        assert "fitted on rows that were held out, not on these: 0.0312" in page.text
        alone = make_run(tmp_path / "alone")
        sizes = [
            next(i for i in p.images if i["alt"].startswith("Reliability"))["width"]
            for p in (page, Page(sweep_page.write(alone)))
        ]
        assert int(sizes[0]) > 1.5 * int(sizes[1])

    def test_one_lane_makes_no_map(self, tmp_path):
        rows = make_rows()[17:18]
        page = Page(sweep_page.write(make_run(tmp_path, rows=rows, warnings=())))
        assert "heatmap" not in page.sections
        assert "1 linear classifier " in page.text + " "
        assert "Before you trust it" not in page.text
        assert "so expect less" not in page.text

    def test_all_diverged(self, tmp_path):
        rows = make_rows(diverged=range(24))
        page = Page(sweep_page.write(make_run(tmp_path, rows=rows, chosen=None)))
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
        directory.write(run / "history.npz", history)
        assert Page(sweep_page.write(run)).sections == ["replay", "heatmap", "origins"]

    def test_unfinished(self, tmp_path):
        page = Page(sweep_page.write(make_run(tmp_path, chosen=None, history=False)))
        assert "the run is unfinished" in page.text
        assert "So far 22 lanes have finished and 2 have diverged" in page.text
        assert "Ahead by validation loss: lane 17 (adam" in page.text
        assert not SELECTED_SECTIONS & set(page.sections)
        assert "curves" not in page.sections

    def test_nothing_finished_yet(self, tmp_path):
        run = make_run(tmp_path, rows=[], chosen=None, history=False)
        page = Page(sweep_page.write(run))
        assert "No lane has finished yet" in page.text
        assert page.sections == ["replay", "origins"]

    def test_of_many_ties_the_first_are_named(self, tmp_path):
        make_run(tmp_path)
        selected = directory.read(tmp_path / "selected.json")
        selected["ties"] = list(range(17))
        directory.write(tmp_path / "selected.json", selected)
        page = Page(sweep_page.write(tmp_path))
        assert "17 lanes, first 0, 1, 2, 3, 4. The test" in page.text

    def test_a_hundred_classes(self, tmp_path):
        names = [f"class {i}" for i in range(100)]
        page = Page(sweep_page.write(make_run(tmp_path, names=names)))
        assert "class 19, …" in page.text
        assert "class 20" not in page.text

    def test_lanes_without_any_curve_are_counted(self, tmp_path):
        run = make_run(tmp_path)
        history = make_history(make_rows(diverged=(4, 5)))
        history["val_loss"][4] = np.nan
        directory.write(run / "history.npz", history)
        assert "in their first epoch: 1 lane." in Page(sweep_page.write(run)).text


class TestUnfinishedRun:
    @pytest.fixture
    def unfinished(self, tmp_path):
        folder = make_run(tmp_path / "run", chosen=None)
        to_pieces(folder, cut=10)
        return folder

    def test_the_page_is_that_of_the_finished_pieces(self, unfinished, tmp_path):
        before = {path.name for path in unfinished.iterdir()}
        path = sweep_page.write_progress(unfinished)
        assert path == unfinished / "progress.html"
        assert {p.name for p in unfinished.iterdir()} == {*before, "progress.html"}
        page = Page(path)
        assert page.sections == ["replay", "heatmap", "curves", "ranking", "origins"]
        assert "the run is unfinished" in page.text
        assert "So far 22 lanes have finished and 2 have diverged" in page.text
        # All rows and curves are there, so the figures are those of the whole.
        whole = make_run(tmp_path / "whole", chosen=None)
        assert page.images == Page(sweep_page.write(whole)).images

    def test_some_pieces_are_some_lanes(self, unfinished):
        (unfinished / "pieces" / "000001.npz").unlink()
        page = Page(sweep_page.write_progress(unfinished))
        assert "sweep on pets & co: 10 linear classifiers" in page.text
        assert "So far 8 lanes have finished and 2 have diverged" in page.text

    def test_a_damaged_piece_is_left_out_and_named(self, unfinished):
        path = unfinished / "pieces" / "000001.npz"
        path.write_bytes(path.read_bytes()[:500])
        page = Page(sweep_page.write_progress(unfinished))
        assert "10 linear classifiers" in page.text
        assert "000001.npz: no .npz or a damaged one" in page.text
        assert "it is left out here" in page.text
        assert path.exists()

    def test_all_diverged_so_far_is_not_the_end(self, tmp_path):
        rows = make_rows(diverged=range(24))
        folder = make_run(tmp_path, rows=rows, chosen=None)
        to_pieces(folder, cut=10)
        page = Page(sweep_page.write_progress(folder))
        assert "No classifier to use" not in page.text
        assert "So far no lane has ended well" in page.text

    def test_no_piece_yet(self, unfinished):
        checkpoint.DiskStore(unfinished).clear()
        with pytest.raises(ValueError, match=r"no results.jsonl and no finished piece"):
            sweep_page.write_progress(unfinished)

    def test_the_final_page_takes_the_place_of_it(self, tmp_path):
        folder = make_run(tmp_path)
        sweep_page.write_progress(folder)
        sweep_page.write(folder)
        assert not (folder / "progress.html").exists()


class TestShard:
    @pytest.fixture
    def shard(self, tmp_path):
        folder = make_run(tmp_path / "run", chosen=None)
        config = directory.read(folder / "config.json")
        config["flags"] |= {"num_shards": 3, "shard_index": 1}
        directory.write(folder / "config.json", config)
        return folder

    def test_a_finished_one_says_how_to_join_it_with_the_others(self, shard):
        directory.seal(shard)
        page = Page(sweep_page.redraw(shard))
        headline = "Shard 1 of 3, counted from 0, is finished: join all shards"
        assert page.text.count(headline) == 2  # the title, the answer
        assert "Of its share 22 lanes have finished and 2 have diverged." in page.text
        assert "Ahead by validation loss: lane 17 (adam" in page.text
        assert "with python -m experiments.merge; the test split" in page.text
        assert "unfinished" not in page.text
        assert "continues the run" not in page.text

    def test_one_that_lost_all_its_lanes_is_joined_too(self, shard):
        rows = make_rows(diverged=range(24))
        directory.write(shard / "results.jsonl", rows)
        directory.seal(shard)
        text = Page(sweep_page.redraw(shard)).text
        assert "Of its share 0 lanes have finished and 24 have diverged." in text
        assert "experiments.merge" in text
        assert "No classifier to use" not in text

    def test_one_in_training_goes_on_by_its_command(self, shard):
        to_pieces(shard, cut=10)
        text = Page(sweep_page.write_progress(shard)).text
        assert "the run is unfinished" in text
        assert "The same command on this folder continues the run" in text

    def test_a_whole_run_is_none(self, shard):
        config = directory.read(shard / "config.json")
        config["flags"] |= {"num_shards": 1, "shard_index": 0}
        directory.write(shard / "config.json", config)
        directory.seal(shard)
        assert record.read(shard).shard is None


class TestRepeats:
    def test_the_choice_by_folds_has_no_lane(self, tmp_path):
        page = Page(sweep_page.write(make_folds(tmp_path, refit=True)))
        assert "Use sgd, learning rate 0.1, l2 0.01" in page.text
        assert "None" not in page.text
        assert "it was trained again on all rows of training and validation." in (
            page.text
        )
        assert (
            "validation accuracy0.8500mean of 3 repeats, standard deviation 0.0500; "
            "it served to choose among 3 settings, so expect less"
        ) in page.text
        assert "test loss0.5678validation 0.3000" in page.text
        settings = page.text.split("Its hyper-parameters")[1].split("The command")[0]
        assert "fold" not in settings
        assert "preprocessingstandardize" in settings
        assert "Each cell is the mean over folds" in page.text

    def test_the_table_has_means_in_their_order(self, tmp_path):
        """By its best lane, the first setting would be ahead of the chosen one."""
        page = Page(sweep_page.write(make_folds(tmp_path, refit=True)))
        head, *body = page.cells
        assert head[:3] == ["l2", "repeats", "validation loss"]
        assert [cells[:4] for cells in body] == [
            ["0.01", "3", "0.3000 ± 0.1000", "0.8500 ± 0.0500"],
            ["0", "3", "0.4000 ± 0.2646", "0.8000 ± 0.1323"],
            ["0.1", "3", "0.8000 ± 0.1000", "0.6000 ± 0.0500"],
        ]
        assert "<tr class=chosen><td>0.01</td>" in page.source
        assert "The 3 best of 3 settings that finished" in page.text

    def test_before_the_choice_lanes_are_said_not_to_be_in_its_order(self, tmp_path):
        words = "The choice will go by the mean of each setting over its repeats."
        run = make_folds(tmp_path, refit=True)
        assert words not in Page(sweep_page.write(run)).text
        (run / "selected.json").unlink()
        page = Page(sweep_page.write(run))
        assert page.cells[1][0] == "1"  # the best lane, of a setting that is second
        assert words in page.text
        once = directory.read(run / "results.jsonl")[::3]
        directory.write(run / "results.jsonl", once)
        (run / "history.npz").unlink()
        assert words not in Page(sweep_page.write(run)).text

    def test_one_repeat_has_no_spread_and_an_unknown_score_no_mean(self, tmp_path):
        run = make_folds(tmp_path, refit=True)
        rows = directory.read(run / "results.jsonl")
        rows[0]["train_loss"] = None
        directory.write(run / "results.jsonl", rows[:7])
        history = make_history(rows[:7])
        directory.write(run / "history.npz", history)
        by_l2 = {cells[0]: cells[1:] for cells in Page(sweep_page.write(run)).cells}
        assert by_l2["0.1"] == ["1", "0.9000", "0.5500", "0.3719", "0.9700"]
        assert by_l2["0"][3] == "none"

    def test_a_choice_by_seeds_keeps_its_lane(self, tmp_path):
        page = Page(sweep_page.write(make_folds(tmp_path, refit=False)))
        assert "Use lane 3: sgd" in page.text
        assert "mean of 3 repeats, standard deviation 0.0500" in page.text
        assert "trained again" not in page.text

    def test_the_chosen_curve_is_one_of_its_repeats(self, tmp_path):
        run = record.read(make_folds(tmp_path, refit=True))
        assert sweep_page.named(run) == {"a repeat of the chosen": 3, "median": 0}
        assert [row["trial"] for row in run.chosen_rows] == [3, 4, 5]

    def test_a_count_of_one_is_no_repeat(self, tmp_path):
        one = {"mean": 0.25, "sd": None, "count": 1}
        choice = {"repeats": {"val_loss": one, "val_accuracy": one}, "refit": False}
        page = Page(sweep_page.write(make_run(tmp_path, choice=choice)))
        assert "validation accuracy0.937520 rows" in page.text
        assert "repeats," not in page.text


class TestRetired:
    def test_they_are_counted_and_not_called_diverged(self, tmp_path):
        rows = make_rows(diverged=(4, 5), retired=(0, 1, 2, 16))
        page = Page(sweep_page.write(make_run(tmp_path, rows=rows)))
        line = "4 of 24 lanes were retired early: others were better"
        assert page.text.count(line) == 3  # the answer, the map, the table
        assert "choose among 22 lanes" in page.text  # at the rungs, too
        assert "18 lanes that finished" in page.text
        lanes = [int(cells[0]) for cells in page.cells[1:]]
        assert lanes[:2] == [17, 18]  # 16 would be second

    def test_of_an_unfinished_run_too(self, tmp_path):
        rows = make_rows(diverged=(4, 5), retired=(0,))
        page = Page(sweep_page.write(make_run(tmp_path, rows=rows, chosen=None)))
        assert (
            "So far 21 lanes have finished and 2 have diverged. 1 of 24 lanes was"
            in (page.text)
        )

    def test_settings_that_were_retired_were_chosen_among(self, tmp_path):
        run = make_folds(tmp_path, refit=True)
        rows = directory.read(run / "results.jsonl")
        for lane in (0, 1, 2):
            rows[lane]["status"] = "retired"
        directory.write(run / "results.jsonl", rows)
        assert "choose among 3 settings" in Page(sweep_page.write(run)).text
        for lane in (0, 1, 2):
            rows[lane]["status"] = "diverged"
        directory.write(run / "results.jsonl", rows)
        assert "choose among 2 settings" in Page(sweep_page.write(run)).text

    def test_a_repeat_that_diverged_is_a_reason_too(self, tmp_path):
        """Lanes 4 and 5 repeat one setting, over seeds."""
        text = "others were better or a repeat of the same setting diverged, and"
        rows = make_rows(diverged=(4,), retired=(5,))
        page = Page(sweep_page.write(make_run(tmp_path, rows=rows)))
        assert f"1 of 24 lanes was retired early: {text} it could" in page.text
        rows = make_rows(diverged=(4, 5), retired=(6,))
        page = Page(sweep_page.write(make_run(tmp_path, rows=rows)))
        assert "was retired early: others were better, and it could" in page.text

    @pytest.mark.parametrize("diverged", [(), (4, 5)])
    def test_while_a_run_trains_the_lanes_of_a_rung_may_train_on(
        self, diverged, tmp_path
    ):
        """Every lane of a rung that is not the last is called retired in its piece."""
        rest = sorted({*range(24)} - {*diverged})
        rows = make_rows(diverged=diverged, retired=rest)
        folder = make_run(tmp_path, rows=rows, chosen=None)
        to_pieces(folder, cut=10)
        text = Page(sweep_page.write_progress(folder)).text
        assert f"{len(rest)} of 24 lanes have been through a rung of halving;" in text
        assert f"0 lanes have finished and {len(diverged)} have diverged." in text
        assert "The same command on this folder continues the run" in text
        for words in ("retired", "ended well", "learning rate tried", "Ahead by"):
            assert words not in text

    def test_none_that_finished(self, tmp_path):
        rows = make_rows(diverged=range(20), retired=range(20, 24))
        page = Page(sweep_page.write(make_run(tmp_path, rows=rows, chosen=None)))
        assert "all 24 lanes diverged or were retired" in page.text

    def test_no_word_of_it_where_there_are_none(self, finished):
        assert "retired" not in finished[1].text


class TestRedraw:
    @pytest.fixture
    def sealed(self, tmp_path):
        folder = make_run(tmp_path / "run")
        sweep_page.write(folder)
        directory.seal(folder)
        return folder

    def contents(self, folder):
        return {
            p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()
        }

    def test_the_same_bytes_are_not_written(self, sealed):
        before = self.contents(sealed)
        assert sweep_page.redraw(sealed) == sealed / "report.html"
        assert self.contents(sealed) == before

    @pytest.mark.parametrize("name", ["report.html", "curves.png"])
    def test_another_drawing_takes_the_place_of_the_old_one(self, name, sealed):
        right = (sealed / name).read_bytes()
        for spoil in (lambda p: p.write_bytes(b"old"), lambda p: p.unlink()):
            spoil(sealed / name)
            directory.seal(sealed)
            sweep_page.redraw(sealed)
            assert (sealed / name).read_bytes() == right
            assert name in directory.verify(sealed)

    def test_a_stop_before_the_renewal_is_made_good(self, sealed, monkeypatch):
        (sealed / "report.html").write_bytes(b"old")
        directory.seal(sealed)
        with monkeypatch.context() as patch:
            patch.setattr(directory, "seal", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                sweep_page.redraw(sealed)
        with pytest.raises(ValueError, match=r"report.html has changed"):
            directory.verify(sealed)
        sweep_page.redraw(sealed)
        directory.verify(sealed)

    @pytest.mark.parametrize("name", ["results.jsonl", "history.npz", "config.json"])
    def test_damaged_results_are_refused_and_stay_unblessed(self, name, sealed):
        data = (sealed / name).read_bytes()
        (sealed / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        (sealed / "report.html").write_bytes(b"old")
        for _ in range(2):
            with pytest.raises(ValueError, match=f": {name} has changed$"):
                sweep_page.redraw(sealed)
        assert (sealed / "report.html").read_bytes() == b"old"

    def test_a_moved_folder_names_its_new_place(self, sealed, tmp_path):
        moved = sealed.rename(tmp_path / "moved")
        (moved / "notes.txt").write_text("mine")
        page = Page(sweep_page.redraw(moved))
        assert f"--flagfile={moved}/flags.txt" in page.text
        assert "notes.txt" not in directory.verify(moved)


class TestWithoutMatplotlib:
    def test_says_what_to_install_before_it_reads_a_file(self, tmp_path, monkeypatch):
        sweep_page.require()
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        install = r"pip install 'linclf_jax\[experiments\]'"
        with pytest.raises(ValueError, match=install):
            sweep_page.require()
        with pytest.raises(ValueError, match=install):
            sweep_page.write(tmp_path / "nowhere")


class TestRanking:
    def test_most_frequent_errors_are_off_the_diagonal(self):
        counts = np.array([[9, 0, 2], [2, 9, 5], [0, 0, 9]])
        found = examples.most_frequent_errors(counts)
        assert found == [(1, 2), (0, 2), (1, 0)]


class TestBadFolders:
    @pytest.mark.parametrize(
        "name",
        [*record.REQUIRED, *record.REQUIRED_ONCE_TRAINED, *record.REQUIRED_ONCE_CHOSEN],
    )
    def test_a_missing_file_is_named(self, tmp_path, name):
        (make_run(tmp_path) / name).unlink()
        with pytest.raises(ValueError, match=rf"{re.escape(name)} missing, found \["):
            sweep_page.write(tmp_path)

    def test_no_folder(self, tmp_path):
        with pytest.raises(ValueError, match="missing, found nothing"):
            sweep_page.write(tmp_path / "nowhere")

    def test_a_history_of_another_run(self, tmp_path):
        make_run(tmp_path)
        history = {k: v[:-1] for k, v in make_history(make_rows()).items()}
        directory.write(tmp_path / "history.npz", history)
        with pytest.raises(
            ValueError,
            match=r"of 23 lanes in history.npz, expected .* 24 .*lacks lanes \[23\]",
        ):
            sweep_page.write(tmp_path)

    def test_class_names_that_do_not_fit(self, tmp_path):
        make_run(tmp_path)
        config = directory.read(tmp_path / "config.json")
        config["data"]["class_names"].append("emu")
        directory.write(tmp_path / "config.json", config)
        with pytest.raises(ValueError, match="of 3 classes, expected the 4 of config"):
            sweep_page.write(tmp_path)

    def test_a_choice_that_was_not_trained(self, tmp_path):
        make_run(tmp_path)
        selected = directory.read(tmp_path / "selected.json") | {"trial": 99}
        directory.write(tmp_path / "selected.json", selected)
        with pytest.raises(ValueError, match="chose lane 99"):
            sweep_page.write(tmp_path)

    def test_a_model_without_weights(self, tmp_path):
        make_run(tmp_path)
        directory.write(tmp_path / "selected.safetensors", ({"b": np.zeros(3)}, {}))
        with pytest.raises(ValueError, match=r"expected a tensor W .*found \['b'\]"):
            sweep_page.write(tmp_path)


def test_every_block_escapes():
    blocks = (
        markup.section(NASTY, NASTY),
        markup.paragraph(NASTY, kind=NASTY),
        markup.bullets([NASTY]),
        markup.facts({NASTY: {NASTY: NASTY}}),
        markup.table([NASTY], [[NASTY]]),
        markup.command([NASTY]),
        markup.document(NASTY, []),
    )
    for block in blocks:
        assert "<script" not in block
        assert "&lt;script&gt;" in block
