"""The page of a probe says what its folder says, and its figures show the numbers."""

import itertools

import numpy as np
import pytest

from experiments import report as script
from linclf_jax.data.datasets import Split
from linclf_jax.figures import comparisons, penalties, probe, style
from linclf_jax.figures.comparisons import Course, Estimate
from linclf_jax.figures.penalties import Panel
from linclf_jax.reports import probe_page, probe_sections
from linclf_jax.runs import directory, examples, probe_record
from linclf_jax.selection import ranking
from tests.reports.report_test import NASTY, Page

SCORES = (
    *("accuracy", "top5_accuracy", "mean_per_class_recall", "nll"),
    *("calibration_error", "calibration_error_scaled"),
)
BINS = {
    **{"edges": [0.0, 0.5, 1.0], "count": [0, 16]},
    **{"confidence": [None, 0.9], "accuracy": [None, 0.8]},
}


def make_run(lane, accuracy, classes, *, seed=None, l2=0.01):
    counts = np.diag(np.full(classes, 5))
    counts[0, 1] = 1 + lane
    test = {
        **{"size": int(counts.sum()), "accuracy": accuracy, "top5_accuracy": None},
        "accuracy_interval": [accuracy - 0.05, accuracy + 0.04],
        **{"mean_per_class_recall": accuracy, "nll": 0.5, "calibration_error": 0.0625},
        **{"calibration_error_scaled": 0.03125, "reliability": BINS},
        **{"reliability_scaled": BINS, "temperature": 1.75, "loss": 0.5},
        "per_class_recall": [accuracy] * classes,
        "confusion": counts.tolist(),
    }
    return {
        **{"seed": seed, "l2": l2, "C": 1.5, "learning_rate": None, "trial": lane},
        **{"reason": "the lowest loss", "temperature": 1.75, "test": test},
        "validation": {"optimism": {"settings": 3, "accuracy": 0.0078125}},
    }


def make_entry(name, runs, shots=None):
    spreads = {
        score: ranking.spread([run["test"] for run in runs], score)._asdict()
        for score in SCORES
        if score != "top5_accuracy"
    }
    return {
        **{"features": name, "shots": shots, "num_rows": 60, "num_features": 4},
        "validation": {
            "held_out": "folds",
            **{
                score: {"mean": 0.875, "sd": None, "count": 1}
                for score in ("accuracy",)
            },
        },
        "test": {**spreads, "top5_accuracy": None},
        "runs": runs,
    }


def make_pair(first, second, adjusted):
    return {
        **{"first": first, "second": second, "difference": -0.0625, "low": -0.125},
        **{"high": 0.03125, "p_value": adjusted / 2, "adjusted": adjusted},
        **{"only_a": 7, "only_b": 11, "size": 100},
    }


def make_probe(
    folder,
    entries,
    *,
    pairs=(),
    chosen=0,
    ties=(),
    names=("cat", NASTY, "dog"),
    image_shape=None,
):
    """Writes the run folder of a probe."""
    runs = [run for entry in entries for run in entry["runs"]]
    rows = [
        {"trial": run["trial"], "features": entry["features"], "status": "converged"}
        | {"l2": run["l2"], "seed": run["seed"], "preprocessing": "standardize"}
        for entry in entries
        for run in entry["runs"]
    ]
    config = {
        **{"experiment": "probe", "flags": {"protocol": "clip", "secret": "<i>"}},
        "data": {
            **{"name": "features", "fingerprint": "0f1e2d", "num_features": 4},
            **{"train": 60, "validation": 0, "test": 18, "num_classes": len(names)},
            **{"class_names": list(names), "image_shape": image_shape},
        },
        "environment": {"jax": "0.10.2"},
    }
    selected = {
        "protocol": {
            **{"name": "clip", "source": "a paper & its <code>"},
            **{"sets": {"unit": "C", "grid": {"low": 1e-6}}, "overridden": ["l2"]},
            "changed": ["every penalty is solved; the original <stops>"],
        },
        **{"selected_by": "val_loss", "choice": "min", "entries": entries},
        **{"comparisons": list(pairs), "chosen": chosen, "chosen_ties": list(ties)},
        **{"test_data": {}, "warnings": ["one: the best l2 is <b> at the edge"]},
    }
    folder.mkdir(parents=True, exist_ok=True)
    directory.write(folder / "config.json", config)
    directory.write(folder / "flags.txt", "--protocol=clip\n")
    directory.write(folder / "results.jsonl", rows)
    directory.write(folder / "selected.json", selected)
    tensors = {
        "W": np.ones((4, len(names))),
        "b": np.zeros(len(runs[0]["test"]["confusion"])),
    }
    directory.write(folder / "selected.safetensors", (tensors, {}))
    directory.write(folder / "history.npz", make_history(entries))
    return folder


def make_history(entries):
    """Three penalties, of which the middle one is the best for every choice."""
    history = {}
    for name in dict.fromkeys(entry["features"] for entry in entries):
        count = sum(len(e["runs"]) for e in entries if e["features"] == name)
        lowered = np.arange(count)[:, None] / 16
        history |= {
            f"{name}.l2s": np.tile([1.0, 0.1, 0.01], (count, 1)),
            f"{name}.val_loss": np.array([0.75, 0.5, 0.625]) + lowered,
            f"{name}.val_loss_se": np.full((count, 3), 0.0625),
            f"{name}.val_accuracy": np.full((count, 3), 0.875),
        }
    return history


def several(folder, **given):
    """Three feature sets, the second one chosen."""
    names = ("clip", "dino", "<b>mae</b>")
    entries = [
        make_entry(name, [make_run(lane, 0.75 + lane / 16, 3)])
        for lane, name in enumerate(names)
    ]
    pairs = [
        make_pair(*pair, adjusted)
        for pair, adjusted in zip(
            itertools.combinations(names, 2), (0.04, 0.06, 0.5), strict=True
        )
    ]
    return make_probe(folder, entries, pairs=pairs, chosen=1, **given)


def with_shots(folder):
    """Two feature sets, two numbers of shots, three seeds."""
    lanes = itertools.count()
    entries = [
        make_entry(
            name,
            [
                make_run(next(lanes), base + seed / 64, 3, seed=seed, l2=10.0**-seed)
                for seed in range(3)
            ],
            shots=shots,
        )
        for name, base in (("clip", 0.5), ("dino", 0.625))
        for shots in (1, 10)
    ]
    return make_probe(folder, entries, chosen=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = several(tmp_path_factory.mktemp("runs") / "a probe")
    return folder, Page(probe_page.write(folder))


class TestPage:
    def test_every_section_is_there_in_order(self, finished):
        assert finished[1].sections == [
            *("accuracies", "differences", "penalties", "table", "confusion"),
            *("reliability", "protocol", "replay", "origins"),
        ]

    def test_it_opens_alone_and_names_are_text(self, finished):
        page = finished[1]
        assert not page.tags & {"script", "link", "b", "i", "stops"}
        assert "<b>mae</b>" in page.text
        assert "every penalty is solved; the original <stops>".capitalize() in page.text
        assert all(image["alt"] for image in page.images)

    def test_the_answer_comes_first(self, finished):
        text = finished[1].text
        assert "Best on held-out rows is dino: test accuracy 0.8125" in text
        assert "95 % interval 0.7625 to 0.8525; 17 rows" in text
        assert "cross-validation; the best of 3 settings is expected to" in text
        assert "0.0312 after temperature scaling" in text
        assert "One: the best l2 is <b> at the edge" in text

    def test_sets_that_tie_are_named_with_the_rule(self, finished, tmp_path):
        assert "A tie:" not in finished[1].text
        page = Page(probe_page.write(several(tmp_path / "run", ties=(0, 2))))
        assert (
            "A tie: clip, <b>mae</b> and dino have exactly the same val_loss; of these "
            "the stronger l2 was taken, of equal ones the first." in page.text
        )

    def test_sets_without_held_out_rows_are_not_called_the_best(self, tmp_path):
        folder = several(tmp_path / "run", ties=(0, 2))
        selected = directory.read(folder / "selected.json")
        for entry in selected["entries"]:
            entry["validation"] |= {"held_out": None, "accuracy": None}
        directory.write(folder / "selected.json", selected)
        text = Page(probe_page.write(folder)).text
        assert "Chosen is dino: test accuracy 0.8125" in text
        assert "clip, <b>mae</b> and dino have no held-out rows to be compar" in text
        assert "for its score on rows that were held out" not in text

    @pytest.mark.parametrize("place", [1, 3])
    def test_a_tie_that_is_none_is_refused(self, place, tmp_path):
        folder = several(tmp_path / "run", ties=(place,))
        with pytest.raises(ValueError, match=f"a tie of entry 1 with entry {place} of"):
            probe_record.read(folder)

    def test_the_table_has_every_entry_and_no_empty_column(self, finished):
        (columns,) = (c for c in finished[1].cells if c[:2] == ["features", "columns"])
        assert "top-5" not in columns
        assert "learning_rate" not in columns
        rows = [c for c in finished[1].cells if len(c) == len(columns)][1:]
        assert [row[0] for row in rows] == ["clip", "dino", "<b>mae</b>"]
        found = dict(zip(columns, rows[2], strict=True))
        assert found["test accuracy"] == "0.8750"
        assert found["95 % interval"] == "0.825 to 0.915"
        assert found["after temperature scaling"] == "0.0312"
        assert found["held-out accuracy"] == "0.8750"
        assert (found["l2"], found["C"]) == ("0.01", "1.5")
        assert finished[1].source.count("<tr class=chosen>") == 1
        marked = finished[1].source.split("<tr class=chosen>")[1]
        assert marked.startswith('<td class="text">dino</td>')

    def test_pairs_are_told_with_their_adjusted_p_values(self, finished):
        page = finished[1]
        assert "1 of 3 differences is more than chance" in page.text
        row = next(c for c in page.cells if c[:2] == ["clip", "dino"])
        assert row == [
            *("clip", "dino", "-0.0625", "-0.1250 to +0.0312"),
            *("7", "11", "0.0200", "0.0400"),
        ]
        assert "Holm's method for being 3" in page.text

    def test_a_single_pair_has_nothing_to_adjust(self, finished):
        run = probe_record.read(finished[0])
        pairs = run.choice["comparisons"][:1]
        one = run._replace(selected={**run.choice, "comparisons": pairs})
        png = (finished[0] / "differences.png").read_bytes()
        section = probe_sections.differences(one, png)
        assert "McNemar" in section
        assert "Holm" not in section

    def test_the_protocol_says_what_it_sets_and_changes(self, finished):
        text = finished[1].text
        assert "The protocol: clip" in text
        assert "As in a paper & its <code>." in text
        assert "Set by flags: l2." in text
        assert "grid low" in text

    def test_the_confusion_is_of_the_chosen_set(self, finished):
        assert "“cat” taken for" in finished[1].text
        assert "Where it errs: 2 of 17 test rows" in finished[1].text

    def test_the_same_folder_gives_the_same_bytes(self, finished, tmp_path):
        other = several(tmp_path / "a probe")
        probe_page.write(other)
        for path in finished[0].glob("*.png"):
            assert path.read_bytes() == (other / path.name).read_bytes()

    def test_one_set_has_nothing_to_compare(self, tmp_path):
        entry = make_entry("clip", [make_run(0, 0.75, 2)])
        folder = make_probe(tmp_path / "one", [entry], names=("a", "b"))
        page = Page(probe_page.write(folder))
        assert page.sections[:2] == ["penalties", "table"]
        assert "clip: test accuracy 0.7500" in page.text
        assert "Best on held-out rows" not in page.text

    def test_shots_have_means_and_their_spread(self, tmp_path):
        page = Page(probe_page.write(with_shots(tmp_path / "shots")))
        assert page.sections[:3] == ["shots", "penalties", "table"]
        assert "dino, 10 shots: test accuracy 0.6406" in page.text
        assert "mean of 3 seeds, standard deviation 0.0156" in page.text
        assert "cross-validation; it served to choose, so expect less" in page.text
        row = next(c for c in page.cells if c[:2] == ["clip", "10"])
        assert row[4:6] == ["0.5156", "± 0.0156"]
        assert "0.01 to 1" in row
        assert "means over the seeds, never the best" in page.text

    def test_one_number_of_shots_is_no_curve(self, tmp_path):
        runs = [
            [make_run(2 * i + s, 0.5 + s / 8, 3, seed=s) for s in (0, 1)]
            for i in (0, 1)
        ]
        entries = [
            make_entry(name, own, shots=4)
            for name, own in zip(("clip", "dino"), runs, strict=True)
        ]
        page = Page(probe_page.write(make_probe(tmp_path / "few", entries)))
        assert page.sections[:2] == ["accuracies", "penalties"]
        assert "bars one standard deviation over 2 seeds each way" in page.text
        assert "compared below" not in page.text

    def test_rows_without_images_are_listed(self, tmp_path):
        folder = several(tmp_path / "listed")
        split = Split(np.zeros((6, 4)), np.arange(6) % 3, np.arange(6))
        kept = examples.collect(
            np.eye(3)[[0, 1, 2, 0, 1, 1]], split, image_shape=None, calibrated=True
        )
        examples.write(folder, kept)
        page = Page(probe_page.write(folder))
        place = page.sections.index("confusion")
        assert page.sections[place + 1 : place + 3] == ["confused", "certainty"]
        assert ["dog", NASTY, "1", "5 (0.58)"] in page.cells

    @pytest.mark.parametrize("chosen", [0, 1])
    def test_templates_are_of_pixels_alone(self, tmp_path, chosen):
        """config.json says the image shape of the first set, and of no other."""
        folder = several(tmp_path / "pixels", image_shape=[2, 2])
        selected = directory.read(folder / "selected.json")
        directory.write(folder / "selected.json", selected | {"chosen": chosen})
        page = Page(probe_page.write(folder))
        assert ("templates" in page.sections) == (chosen == 0)

    def test_the_script_draws_a_sealed_probe_again(self, tmp_path):
        folder = several(tmp_path / "sealed")
        probe_page.write(folder)
        directory.seal(folder)
        before = (folder / "report.html").read_bytes()
        for name in ("report.html", "confusion.png", "differences.png"):
            (folder / name).write_bytes(b"old")
        assert script.run(folder) == folder / "report.html"
        assert (folder / "report.html").read_bytes() == before
        directory.verify(folder)


class TestFaults:
    def change(self, folder, **changes):
        selected = directory.read(folder / "selected.json")
        directory.write(folder / "selected.json", selected | changes)

    @pytest.mark.parametrize("name", probe_record.REQUIRED)
    def test_a_missing_file_is_named(self, tmp_path, name):
        folder = several(tmp_path / "run")
        (folder / name).unlink()
        with pytest.raises(ValueError, match=f"{name} missing"):
            probe_record.read(folder)

    def test_a_choice_of_no_entry(self, tmp_path):
        folder = several(tmp_path / "run")
        self.change(folder, chosen=3)
        with pytest.raises(ValueError, match="choice of entry 3 of 3"):
            probe_record.read(folder)

    @pytest.mark.parametrize(
        ("place", "value", "message"),
        [
            (("runs", 0, "trial"), 99, "entry 0 names lane 99"),
            (("runs", 0, "test", "confusion"), [[1]], "of 1 classes, expected the 3"),
            (("runs",), [], "entry 0 has no runs"),
        ],
    )
    def test_an_entry_that_does_not_fit(self, tmp_path, place, value, message):
        folder = several(tmp_path / "run")
        entries = directory.read(folder / "selected.json")["entries"]
        *path, last = place
        inner = entries[0]
        for step in path:
            inner = inner[step]
        inner[last] = value
        self.change(folder, entries=entries)
        with pytest.raises(ValueError, match=message):
            probe_record.read(folder)

    def test_a_comparison_of_unknown_sets(self, tmp_path):
        folder = several(tmp_path / "run")
        self.change(folder, comparisons=[make_pair("clip", "vit", 0.5)])
        with pytest.raises(ValueError, match="a comparison names vit"):
            probe_record.read(folder)


class TestFigures:
    def test_a_forest_has_every_number_in_its_place(self):
        rows = [
            Estimate("one", 0.5, 0.375, 0.75, "note 1", False, other=0.625),
            Estimate("two", 0.25, 0.125, 0.5, "note 2", True),
        ]
        figure = comparisons.forest(
            rows, label="accuracy", other="held out", reference=0.0
        )
        (axis,) = figure.axes
        zero, first, hollow, second, _ = (line.get_xydata() for line in axis.lines)
        assert zero[:, 0].tolist() == [0, 0]
        assert first.tolist() == [[0.5, 0]]
        assert hollow.tolist() == [[0.625, 0]]
        assert second.tolist() == [[0.25, 1]]
        ends = [c.get_segments()[0][:, 0].tolist() for c in axis.collections]
        assert ends == [[0.375, 0.75], [0.125, 0.5]]
        assert [line.get_color() for line in (axis.lines[1], axis.lines[3])] == [
            style.TYPICAL,
            style.CHOSEN,
        ]
        names = [label.get_text() for label in axis.get_yticklabels()]
        assert names == ["one", "two"]
        below, above = axis.get_ylim()
        assert above < 0 < 1 < below  # the first is on top
        assert [text.get_text() for text in axis.texts] == ["note 1", "note 2"]

    def test_courses_show_means_seeds_and_spread(self):
        course = Course(
            "clip", (1, 10), (0.5, 0.75), (0.125, 0.0), ((0.25, 0.75), (0.75,))
        )
        figure = comparisons.courses([course, course], label="accuracy")
        (axis,) = figure.axes
        one, ten, mean = (line.get_xydata().tolist() for line in axis.lines[:3])
        assert one == [[1, 0.25], [1, 0.75]]
        assert ten == [[10, 0.75]]
        assert mean == [[1, 0.5], [10, 0.75]]
        band = axis.collections[0].get_paths()[0].vertices
        assert {0.375, 0.625} <= set(band[band[:, 0] == 1][:, 1])
        assert axis.get_xscale() == "log"
        assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "10"]
        assert axis.lines[2].get_color() != axis.lines[5].get_color()

    def test_each_choice_of_a_penalty_is_a_line_with_its_lowest_point(self):
        loss = np.array([[0.75, 0.5, 0.625], [0.5, 0.625, 0.75]])
        error = np.full((2, 3), 0.125)
        l2s = np.array([1.0, 0.1, 0.0])
        panel = Panel("clip", l2s, loss, error, ("1 shot", "10 shots"))
        one = Panel("clip", l2s, loss[:1], error[:1], ("all rows",))
        axis, alone = penalties.draw([panel, one]).axes
        first, low, second, other = (line.get_xydata() for line in axis.lines[:4])
        assert first[:, 1].tolist() == loss[0].tolist()
        assert second[:, 1].tolist() == loss[1].tolist()
        assert low.tolist() == [[0.1, 0.5]]
        assert other.tolist() == [[1.0, 0.5]]
        assert len(axis.collections) == 0
        band = alone.collections[0].get_paths()[0].vertices
        assert {0.375, 0.625} <= set(band[band[:, 0] == 0.1][:, 1])

    def test_an_interval_of_seeds_is_their_spread(self):
        runs = [make_run(0, 0.5, 2, seed=0), make_run(1, 0.75, 2, seed=1)]
        low, high = probe.interval(make_entry("clip", runs, shots=1))
        sd = np.std([0.5, 0.75], ddof=1)
        np.testing.assert_allclose([low, high], [0.625 - sd, 0.625 + sd], rtol=1e-12)

    def test_many_series_can_be_told_apart(self):
        looks = [tuple(style.series(i).values()) for i in range(style.MOST_SERIES)]
        assert len(set(looks)) == style.MOST_SERIES
