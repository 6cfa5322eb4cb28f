"""The page of a path says what its folder says, however its fits ended."""

import base64
import html.parser
import re
import sys

import numpy as np
import pytest

from experiments import report as script
from linclf_jax.figures import regularization_path
from linclf_jax.reports import path_page
from linclf_jax.runs import directory, path_record

L2S = (1.0, 0.1, 0.01, 0.001)
LOSSES = (0.9, 0.5, 0.25, 0.375)
NASTY = "<script>alert('x')</script> & $\\frac"


def make_curves(l2s, losses, folds):
    """Means as given; the folds are spread evenly around them."""
    spread = np.linspace(-0.1, 0.1, folds)
    loss = np.array(losses)[:, None] + spread
    accuracy = 1 - loss / 4
    error = np.full(len(l2s), np.std(spread, ddof=1) / np.sqrt(folds))
    return {
        **{"val_loss": loss, "val_loss_mean": loss.mean(1), "val_loss_se": error},
        **{"val_accuracy": accuracy, "val_accuracy_mean": accuracy.mean(1)},
        "val_accuracy_se": error / 4,
        **{"val_loss_calibrated": loss / 2, "val_loss_calibrated_se": error / 2},
        "val_loss_calibrated_mean": loss.mean(1) / 2,
    }


def make_history(l2s, losses, folds, features, classes):
    shape = len(l2s), folds + 1
    W = np.linspace(-1, 1, features * classes).reshape(1, features, classes)
    growth = np.arange(1, len(l2s) + 1).reshape(-1, 1, 1)
    if folds:
        curves = make_curves(l2s, losses, folds)
    else:
        loss = np.array(losses)
        curves = {"loo_loss": loss, "loo_se": np.full(len(l2s), 0.03)}
        curves["loo_accuracy"] = 1 - loss / 4
    return {
        **{"l2s": np.array(l2s), **curves},
        "coefficients": (growth * W).astype(np.float32),
        "newton_steps": np.arange(np.prod(shape)).reshape(shape) % 3 + 1,
        "products": np.arange(np.prod(shape)).reshape(shape),
        "relative_gap": np.geomspace(1e-8, 4e-7, np.prod(shape)).reshape(shape),
    }


def make_rows(history, ends):
    """A row for each fit; ``ends`` has status and gap where not converged."""
    count, lanes = history["relative_gap"].shape
    rows = []
    for lane, (place, fold) in enumerate(np.ndindex(count, lanes)):
        l2 = float(history["l2s"][place])
        status, gap = ends.get(
            (place, fold), ("converged", float(history["relative_gap"][place, fold]))
        )
        history["relative_gap"][place, fold] = gap
        rows.append(
            {
                **{"trial": lane, "l2": l2, "C": 1 / (80 * l2) if l2 else None},
                **{"fold": fold if fold < lanes - 1 else None, "status": status},
                **{"preprocessing": "standardize", "steps": 3, "relative_gap": gap},
            }
        )
    return rows


def make_test_metrics(classes):
    counts = np.diag(np.full(classes, 5))
    counts[0, 1] = 3
    return {
        **{"size": int(counts.sum()), "accuracy": 0.8125, "loss": 0.5678},
        **{"accuracy_interval": [0.5703, 0.9349], "calibration_error": 0.0432},
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
    l2s=L2S,
    losses=LOSSES,
    folds=3,
    names=("cat", NASTY, "dog"),
    features=4,
    rule="min",
    places=(2, 1),
    ends=None,
    warnings=("the best l2 is <b> at the edge",),
    by="val_loss",
):
    """Writes the run folder of a path; ``places`` are of both rules' penalties."""
    history = make_history(l2s, losses, folds, features, len(names))
    rows = make_rows(history, ends or {})
    error = history["val_loss_se" if folds else "loo_se"]
    choices = [
        {
            **{"l2": l2s[i], "loss": losses[i], "standard_error": error[i]},
            **{"accuracy": 0.93, "loss_calibrated": losses[i] / 2},
        }
        for i in places
    ]
    place = places[rule != "min"]
    config = {
        **{"experiment": "path", "flags": {"dataset": "pets", "secret": "<i>"}},
        "data": {
            **{"name": "pets & co", "fingerprint": "0f1e2d", "num_features": features},
            **{"train": 60, "validation": 20, "test": 18, "num_classes": len(names)},
            **{"class_names": list(names), "image_shape": None},
        },
        "environment": {"jax": "0.10.2"},
    }
    selected = {
        **{"l2": l2s[place], "choice": rule, "reason": "the lowest mean loss"},
        "selected_by": by,
        **dict(zip(path_record.RULES, choices, strict=True)),
        **{"warnings": list(warnings), "row": rows[(place + 1) * (folds + 1) - 1]},
        **{"test": make_test_metrics(len(names)), "fits": len(rows), "tol": 1e-6},
        "worst_relative_gap": float(history["relative_gap"].max()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    directory.write(folder / "config.json", config)
    directory.write(folder / "flags.txt", "--dataset=pets\n")
    directory.write(folder / "results.jsonl", rows)
    directory.write(folder / "history.npz", history)
    directory.write(folder / "selected.json", selected)
    tensors = {"W": history["coefficients"][place], "b": np.zeros(len(names))}
    directory.write(folder / "selected.safetensors", (tensors, {}))
    return folder


class Page(html.parser.HTMLParser):
    """What a browser would make of the page: text, sections, images, rows of cells."""

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
        if tag not in ("meta", "img"):
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("runs") / "my run")
    return folder, Page(path_page.write(folder))


def written(folder, **changes):
    return Page(path_page.write(make_run(folder, **changes)))


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


class TestPage:
    def test_every_section_is_there_in_order(self, finished):
        _, page = finished
        pictures = ["held_out", "norms", "coefficients", "work"]
        selected = ["confusion", "reliability"]
        around = ["rules", *pictures, "table", *selected, "replay", "origins"]
        assert page.sections == around

    def test_it_opens_alone_and_names_are_text(self, finished):
        _, page = finished
        assert page.open == []
        assert not page.tags & {"script", "link", "iframe", "b", "i"}
        assert not re.search(r"(src|href)=(?!\"data:)", page.source)
        assert "The best l2 is <b> at the edge" in page.text
        assert f"“cat” taken for “{NASTY}” (3)" in page.text

    def test_images_are_the_files_of_the_folder(self, finished):
        folder, page = finished
        prefix = "data:image/png;base64,"
        inside = {base64.b64decode(i["src"].removeprefix(prefix)) for i in page.images}
        assert inside == {path.read_bytes() for path in folder.glob("*.png")}
        assert len(inside) == 6
        assert all(len(image["alt"]) > 20 for image in page.images)

    def test_the_answer_comes_first(self, finished):
        _, page = finished
        answer = page.text.split("What each rule chooses")[0]
        assert "Use l2 0.01 (C 1.25): test accuracy 0.8125" in answer
        assert "Why this one: the lowest mean loss." in answer
        assert "at most 1.5e-7 of itself above" in answer
        assert "worst gap of all 16 fits is 4e-7, where 1e-6 was asked for." in answer
        assert "test accuracy0.812595 % interval 0.5703 to 0.9349; 18 rows" in answer
        assert "held-out accuracy0.9300mean of 3 folds" in answer
        assert "test loss0.5678held-out 0.2500 ± 0.0577" in answer
        assert "Before you trust it" in answer

    def test_both_choices_are_told_and_the_chosen_is_marked(self, finished):
        _, page = finished
        rules = page.cells[1:3]
        assert [cells[0] for cells in rules] == [
            "the lowest loss",
            "one standard error",
        ]
        assert rules[1] == [
            *("one standard error", "0.1", "0.125", "0.5000 ± 0.0577", "0.9300")
        ]
        assert page.chosen == [rules[0], page.cells[6]]

    def test_the_table_has_every_penalty(self, finished):
        _, page = finished
        table = page.cells[3:]
        assert [cells[0] for cells in table] == ["l2", "1", "0.1", "0.01", "0.001"]
        assert table[3] == [
            *("0.01", "1.25", "0.2500 ± 0.0577", "0.9375 ± 0.0144", "1 to 3"),
            *("1.5e-7", "converged", "the lowest loss"),
        ]
        assert table[2][-1] == "one standard error"
        assert "31 Newton steps and 120 products in all" in page.text

    def test_the_command_replays_a_path(self, finished):
        folder, page = finished
        command = f"-m experiments.path --flagfile='{folder}/flags.txt' "
        assert command in page.text

    def test_the_same_folder_gives_the_same_bytes(self, finished):
        folder, _ = finished
        made = {path.name: path.read_bytes() for path in folder.iterdir()}
        path_page.write(folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == made

    def test_the_other_rule_is_marked_where_it_chose(self, tmp_path):
        page = written(tmp_path, rule="one_standard_error", warnings=())
        assert "Use l2 0.1 (C 0.125)" in page.text
        assert [cells[0] for cells in page.chosen] == ["one standard error", "0.1"]
        assert "Before you trust it" not in page.text
        assert "held-out 0.5000 ± 0.0577" in page.text

    def test_the_rules_are_called_by_the_criterion(self, tmp_path):
        page = written(tmp_path / "scaled", by="val_loss_calibrated")
        head, best, strongest = page.cells[:3]
        assert head[-1] == "calibrated"
        assert (best[0], best[-1]) == ("the lowest calibrated loss", "0.1250")
        assert (strongest[0], strongest[-1]) == ("one standard error", "0.2500")
        assert "divided by the best temperature of all held-out rows" in page.text
        page = written(tmp_path / "accuracy", by="val_accuracy")
        assert page.cells[1][0] == "the highest accuracy"
        assert "within one standard error of the highest accuracy" in page.text
        assert "calibrated" not in page.text.split("Coefficients")[0]

    def test_one_penalty_is_both_choices(self, tmp_path):
        page = written(tmp_path, l2s=(0.5,), losses=(0.25,), places=(0, 0))
        assert page.cells[-1][-1] == "the lowest loss, one standard error"
        assert "expect less" not in page.text

    def test_without_folds_it_speaks_of_leave_one_out(self, tmp_path):
        page = written(tmp_path, folds=0)
        assert "Leave-one-out" in page.text
        assert "held-out accuracy0.9300approximate leave-one-out" in page.text
        assert "fold" not in page.text.split("The command that replays")[0]
        assert page.cells[-1][2:4] == ["0.3750 ± 0.0300", "0.9062"]

    def test_no_penalty_at_all_has_no_inverse(self, tmp_path):
        page = written(tmp_path, l2s=(0.1, 0.0), losses=(0.5, 0.25), places=(1, 0))
        assert "Use l2 0: test accuracy" in page.text
        assert page.cells[-1][:2] == ["0", "none"]

    def test_fits_that_ended_early_are_told(self, tmp_path):
        ends = {(3, 0): ("max_steps", 1e-3), (3, 1): ("no_finite_optimum", np.inf)}
        page = written(tmp_path, ends=ends | {(0, 2): ("stalled_at_precision", 2e-6)})
        assert "worst gap of all 16 fits is unknown" in page.text
        told = "1 stalled at precision, 1 max steps, 1 no finite optimum."
        assert f"13 reached that, the others ended as {told}" in page.text
        assert page.cells[-1][5:7] == [*("unknown", "1 max steps, 1 no finite optimum")]

    @pytest.mark.parametrize(("features", "classes"), [(13, 3), (4, 13)])
    def test_many_coefficients_are_not_drawn_one_by_one(
        self, tmp_path, features, classes
    ):
        names = [f"class {i}" for i in range(classes)]
        page = written(tmp_path, features=features, names=names)
        assert "coefficients" not in page.sections
        assert not (tmp_path / "coefficients.png").exists()
        assert ("Named are the 12 largest" in page.text) == (classes > 12)


MARKS = {"chosen": 0.01, "other": 0.1}


class TestFigures:
    def history(self, folds=3, features=4, classes=3, l2s=L2S):
        return make_history(l2s, LOSSES[: len(l2s)], folds, features, classes)

    def curves(self, folds):
        rows = self.history(folds)
        names = "mean", "standard_error", "folds"
        values = [rows["val_loss_mean"], rows["val_loss_se"], rows["val_loss"]]
        return path_record.Curve(**dict(zip(names, values, strict=True)))

    def test_held_out_marks_both_choices_in_both_panels(self):
        curve = self.curves(3)
        figure = regularization_path.held_out(np.array(L2S), curve, curve, MARKS)
        assert [axis.get_title(loc="left") for axis in figure.axes] == [
            *("log-loss on held-out rows", "accuracy on held-out rows")
        ]
        for axis in figure.axes:
            lines = {line.get_label(): line for line in axis.lines}
            assert list(lines["chosen"].get_xdata()) == [0.01, 0.01]
            assert list(lines["other"].get_xdata()) == [0.1, 0.1]
        drawn = {line.get_label(): line for line in figure.axes[0].lines}
        np.testing.assert_allclose(drawn["mean over folds"].get_ydata(), LOSSES)
        assert len(figure.axes[0].lines) == 3 + 1 + 2

    def test_the_band_is_one_standard_error_each_way(self):
        curve = self.curves(3)
        figure = regularization_path.held_out(np.array(L2S), curve, curve, MARKS)
        corners = figure.axes[0].collections[0].get_paths()[0].vertices
        at = np.isclose(corners[:, 0], 0.01)
        expected = 0.25 + np.array([-1, 1]) * curve.standard_error[0]
        np.testing.assert_allclose(
            np.unique(corners[at, 1].round(9)), expected.round(9)
        )

    def test_unknown_accuracy_has_no_panel(self):
        unknown = np.full(4, np.nan)
        curve = self.curves(3)
        nothing = path_record.Curve(unknown, unknown, np.empty((4, 0)))
        figure = regularization_path.held_out(np.array(L2S), curve, nothing, MARKS)
        assert len(figure.axes) == 1

    def test_norms_are_of_classes_and_the_rest_of_many_is_grey(self):
        history = self.history(classes=15)
        names = [f"class {i}" for i in range(15)]
        weights = history["coefficients"]
        figure = regularization_path.norms(np.array(L2S), weights, names, MARKS)
        told = labels(figure)
        largest = np.argsort(-np.linalg.norm(weights[2], axis=0), kind="stable")[:12]
        assert told == [
            "3 other classes",
            *(names[i] for i in sorted(largest)),
            *MARKS,
        ]
        first = next(x for x in figure.axes[0].lines if x.get_label() == told[1])
        expected = np.linalg.norm(weights[:, :, sorted(largest)[0]], axis=1)
        np.testing.assert_allclose(first.get_ydata(), expected)

    @pytest.mark.parametrize(("classes", "panels"), [(2, 1), (3, 3)])
    def test_single_coefficients_have_a_panel_for_each_class(self, classes, panels):
        names = [f"class {i}" for i in range(classes)]
        weights = self.history(classes=classes)["coefficients"]
        figure = regularization_path.coefficients(np.array(L2S), weights, names, MARKS)
        assert len(figure.axes) == panels
        last = figure.axes[-1]
        assert last.get_title(loc="left") == f"weights of class {classes - 1}"
        line = next(x for x in last.lines if x.get_label() == "feature 2")
        np.testing.assert_allclose(line.get_ydata(), weights[:, 2, -1])

    def test_work_marks_what_did_not_converge_and_shows_the_tolerance(self):
        history = self.history()
        history["relative_gap"][3, 0] = np.inf
        history["relative_gap"][0, 1] = 0.0
        converged = np.isfinite(history["relative_gap"])
        figure = regularization_path.work(
            np.array(L2S), history, converged, 1e-6, MARKS
        )
        gaps = figure.axes[2]
        low, high = gaps.get_ylim()
        assert low < 1e-6 < high
        (crosses,) = (x for x in gaps.lines if x.get_marker() == "x")
        assert list(crosses.get_xdata()) == [L2S[3]]
        # Beyond all others, on the axis still: nothing bounds it.
        assert crosses.get_ydata()[0] == pytest.approx(1e-5)
        assert high > 1e-5
        assert labels(figure)[-2:] == ["ended before the tolerance", "tolerance 1e-6"]
        steps = next(x for x in figure.axes[0].lines if "all rows" in x.get_label())
        np.testing.assert_array_equal(steps.get_ydata(), history["newton_steps"][:, 3])

    def test_the_tolerance_is_in_sight_of_gaps_far_below_it(self):
        history = self.history()
        converged = np.ones((4, 4), bool)
        figure = regularization_path.work(
            np.array(L2S), history, converged, 1e-3, MARKS
        )
        assert figure.axes[2].get_ylim()[1] > 1e-3

    def test_the_whole_band_is_in_sight(self):
        wide = self.curves(3)._replace(
            standard_error=np.array([0.1, 0.1, 0.15, 0.1]), folds=np.empty((4, 0))
        )
        figure = regularization_path.held_out(np.array(L2S), wide, wide, MARKS)
        low, high = figure.axes[0].get_ylim()
        assert low < 0.25 - 0.15
        assert high > 0.9 + 0.1

    def test_zero_is_beside_the_logarithmic_axis(self):
        l2s = np.array([1.0, 0.1, 0.0])
        history = self.history(l2s=l2s)
        marks = {"chosen": 0.0}
        converged = np.ones((3, 4), bool)
        axis, *_ = regularization_path.work(l2s, history, converged, 1e-6, marks).axes
        place = regularization_path.positions(l2s)[2]
        assert axis.get_xlim()[0] < place < 0.1
        ticks = dict(
            zip(
                [text.get_text() for text in axis.get_xticklabels()],
                axis.get_xticks(),
                strict=True,
            )
        )
        assert ticks == {"0.1": 0.1, "1": 1.0, "0": place}


class TestFolder:
    def test_the_script_draws_a_sealed_path_again(self, tmp_path):
        folder = make_run(tmp_path / "run")
        path_page.write(folder)
        directory.seal(folder)
        before = (folder / "manifest.json").read_bytes()
        assert script.run(folder) == folder / "report.html"
        assert (folder / "manifest.json").read_bytes() == before
        (folder / "report.html").write_text("old")
        (folder / "work.png").unlink()
        script.run(str(folder))
        assert "Use l2 0.01" in (folder / "report.html").read_text("utf-8")
        assert directory.verify(folder)
        assert (folder / "manifest.json").read_bytes() == before

    def test_changed_results_are_not_drawn(self, tmp_path):
        folder = make_run(tmp_path / "run")
        path_page.write(folder)
        directory.seal(folder)
        with (folder / "results.jsonl").open("a") as file:
            file.write("\n")
        with pytest.raises(ValueError, match=r"results\.jsonl has changed"):
            script.run(folder)

    def test_an_unfinished_path_is_not_drawn(self, tmp_path):
        folder = make_run(tmp_path / "run")
        with pytest.raises(ValueError, match=r"no manifest\.json: the run is not fin"):
            script.run(folder)
        assert not (folder / "report.html").exists()

    def test_a_status_is_in_the_place_of_its_fit(self, tmp_path):
        ends = {(3, 0): ("max_steps", 1e-3), (1, 3): ("invalid", np.nan)}
        run = path_record.read(make_run(tmp_path, ends=ends))
        odd = np.argwhere(path_record.statuses(run) != path_record.CONVERGED)
        assert odd.tolist() == [[1, 3], [3, 0]]

    @pytest.mark.parametrize("name", path_record.REQUIRED)
    def test_a_missing_file_is_named(self, tmp_path, name):
        folder = make_run(tmp_path)
        (folder / name).unlink()
        with pytest.raises(ValueError, match=f"complete run folder: {name} missing"):
            path_page.write(folder)

    @pytest.mark.parametrize("name", ["val_loss", "val_accuracy_se", "products"])
    def test_a_history_of_other_fits_is_refused(self, tmp_path, name):
        folder = make_run(tmp_path)
        history = directory.read(folder / "history.npz")
        history[name] = history[name][:-1]
        directory.write(folder / "history.npz", history)
        with pytest.raises(ValueError, match=rf"npz: found {name} of shape \(3,.*\(4,"):
            path_page.write(folder)

    def test_rows_of_other_fits_are_refused(self, tmp_path):
        folder = make_run(tmp_path)
        rows = directory.read(folder / "results.jsonl")
        directory.write(folder / "results.jsonl", rows[:-1])
        with pytest.raises(
            ValueError, match=r"15 fits, expected the 16.*\(0.001, None"
        ):
            path_page.write(folder)

    def test_a_choice_off_the_path_is_refused(self, tmp_path):
        folder = make_run(tmp_path)
        selected = directory.read(folder / "selected.json")
        selected["one_standard_error"]["l2"] = 0.7
        directory.write(folder / "selected.json", selected)
        with pytest.raises(ValueError, match=r"json: one_standard_error is l2 0\.7"):
            path_page.write(folder)

    def test_without_matplotlib_it_says_how_to_install_it(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ValueError, match=r"pip install 'linclf_jax"):
            path_page.write(tmp_path / "nowhere")
