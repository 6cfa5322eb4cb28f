"""Features of images as an axis of a sweep, and the table of what was chosen."""

import dataclasses
import re

import pytest

from experiments import course, merge, sweep
from linclf_jax.cli.options import Config
from linclf_jax.data import datasets, image_cache, images
from linclf_jax.reports import group_table, sweep_page
from linclf_jax.runs import directory, model, record
from linclf_jax.selection import choose
from linclf_jax.studies import evaluation
from tests import sweeps

SMALL = Config(
    dataset="digits",
    features=("raw", "hog"),
    loss=("softmax_cross_entropy", "weston_watkins_hinge"),
    learning_rate=(0.01, 0.1),
    epochs=(3,),
    batch_size=(64,),
    keep="best",
    select_by="val_accuracy",
    table=("features", "loss"),
    tile_width=2,
)


def once(function):
    """Returns the function, which computes the features of each split once."""
    known = {}

    def call(name, x, *arguments, **options):
        key = name, x.tobytes()
        if key not in known:
            known[key] = function(name, x, *arguments, **options)
        return known[key]

    return call


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with sweeps.quick(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_cache, "features", once(image_cache.features))
        yield


def run(folder, **changes):
    config = dataclasses.replace(SMALL, out_dir=str(folder), **changes)
    return course.run(config)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _quick):
    """A run, and in which order it chose and tested."""
    noted = []

    def noting(module, name):
        function = getattr(module, name)

        def call(*arguments, **options):
            noted.append(name)
            return function(*arguments, **options)

        patch.setattr(module, name, call)

    with pytest.MonkeyPatch.context() as patch:
        noting(choose, "choose")
        noting(evaluation, "measure")
        found = run(tmp_path_factory.mktemp("course") / "run")
    return found, noted


@pytest.fixture(scope="module")
def alone(tmp_path_factory, _quick):
    return run(tmp_path_factory.mktemp("alone") / "run", features=("hog",))


def test_each_kind_of_features_trains_as_it_would_alone(finished, alone):
    whole, _ = finished
    mine = [row for row in whole.rows if row["features"] == "hog"]
    assert [row | {"trial": 0} for row in mine] == [
        row | {"trial": 0} for row in alone.rows
    ]
    others = [row for row in whole.rows if row["features"] == "raw"]
    assert {row["val_loss"] for row in mine} & {r["val_loss"] for r in others} == set()


def test_every_choice_comes_before_the_one_test_of_each(finished):
    outcome, noted = finished
    assert noted == 4 * ["choose"] + 4 * ["measure"]
    assert [cell["values"] for cell in outcome.table] == [
        {"features": features, "loss": loss}
        for features in SMALL.features
        for loss in SMALL.loss
    ]


def test_each_cell_holds_its_best_lane_by_validation_data(finished):
    outcome, _ = finished
    for cell in outcome.table:
        rows = [r for r in outcome.rows if cell["values"].items() <= r.items()]
        best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
        assert cell["row"] == best
        assert cell["lanes"] == [best["trial"]]
        assert cell["validation"]["accuracy"] == best["val_accuracy"]
        assert cell["validation"]["size"] == 360


def test_the_best_cell_is_that_of_the_choice_and_not_of_the_test(finished):
    outcome, _ = finished
    selected = outcome.selected
    (home,) = [c for c in outcome.table if c["row"] == selected["row"]]
    assert home["test"] == selected["test"]
    assert selected["test_data"]["rows"] == 359
    best = max(outcome.table, key=lambda cell: cell["validation"]["accuracy"])
    assert best["validation"]["accuracy"] == home["validation"]["accuracy"]
    stored = directory.read(outcome.folder / "table.json")["cells"]
    assert [c["test"]["accuracy"] for c in stored] == [
        c["test"]["accuracy"] for c in outcome.table
    ]


def test_a_cell_whose_lanes_all_diverged_says_so(tmp_path):
    grids = (
        '{"grids": [{"features": "raw"}, {"features": "hog", "learning_rate": 1e30}]}'
    )
    outcome = run(tmp_path / "run", sweep_file=grids, loss=SMALL.loss[:1])
    raw, hog = outcome.table
    assert raw["failure"] is None
    assert hog["failure"].startswith("all 1 lanes diverged")
    png = b"\x89PNG\r\n\x1a\n" + bytes(24)
    assert hog["failure"] in group_table.cells(record.read(outcome.folder), png)


def test_the_stored_classifier_takes_raw_images(alone):
    test = datasets.load("digits", split_seed=0).test.read()
    stored = model.load(alone.folder / "selected.safetensors")
    assert stored.features == "hog"
    right = model.predict(stored, test.x) == test.labels
    assert right.mean() == alone.selected["test"]["accuracy"]


def test_the_page_shows_the_table_and_marks_the_choice(finished):
    run_record = record.read(finished[0].folder)
    page = sweep_page.page(run_record, sweep_page.draw(run_record))
    section = page.split('<section id="cells">')[1].split("</section>")[0]
    (marked,) = re.findall("<tr class=chosen>(.*?)</tr>", section)
    row = finished[0].selected["row"]
    for name in ("features", "loss", "learning_rate"):
        assert f">{row[name]}<" in marked
    assert f"Use lane {row['trial']}: {row['features']}, {row['loss']}, " in page
    assert section.count("<tr>") == 4  # the head, and all other cells
    order = "Ordered by validation accuracy, then by the stronger l2, then by lane."
    assert order in page
    edges = [text for cell in finished[0].table for text in cell["warnings"]]
    assert edges
    assert section.count("<li>") == len(edges)


def test_the_page_says_by_which_rule_each_row_was_chosen(finished):
    run_record = record.read(finished[0].folder)
    png = b"\x89PNG\r\n\x1a\n" + bytes(24)
    best = "Each row is the setting with the best validation accuracy for its features"
    assert best in group_table.cells(run_record, png)
    rule = {**run_record.choice, "choice": "one_standard_error"}
    page = group_table.cells(run_record._replace(selected=rule), png)
    assert "the strongest l2 within one standard error of the best valid" in page


def test_shards_make_the_same_table(finished, tmp_path):
    shards = [tmp_path / "0", tmp_path / "1"]
    for index, folder in enumerate(shards):
        part = run(folder, num_shards=2, shard_index=index)
        assert part.table == ()
        assert not (folder / "table.json").exists()
    merge.run(shards, tmp_path / "whole")
    names = (*sweeps.FILES, "table.json")
    assert sweeps.contents(tmp_path / "whole", names) == sweeps.contents(
        finished[0].folder, names
    )


def test_by_folds_each_cell_is_trained_again(tmp_path):
    changes = {"features": ("hog",), "loss": SMALL.loss[:1], "table": ("l2",)}
    outcome = run(tmp_path / "run", folds=2, l2=(0.0, 0.1), **changes)
    assert len(outcome.table) == 2
    for cell in outcome.table:
        assert (cell["trial"], len(cell["lanes"])) == (None, 2)
        assert cell["row"]["val_loss"] is None
        assert cell["row"]["l2"] == cell["values"]["l2"]
        assert cell["validation"]["size"] == 1438
    # Each fold keeps an epoch of its own: the mean of their curves has no dot.
    run_record = record.read(outcome.folder)
    assert [curve.epoch for curve in sweep_page.cell_curves_of(run_record)] == [
        None,
        None,
    ]
    page = group_table.cells(run_record, b"\x89PNG\r\n\x1a\n" + bytes(24))
    assert "Curves are means over the repeats" in page
    assert "A dot is" not in page


@pytest.mark.parametrize(
    ("dataset", "features"),
    [("fashion_mnist", ("rgb", "hog")), ("cifar10", images.NAMES)],
)
def test_images_get_the_features_that_they_have(dataset, features, monkeypatch):
    monkeypatch.setattr(sweep, "run", lambda config, **_: config)
    config = dataclasses.replace(course.DEFAULTS, dataset=dataset)
    assert course.run(config).features == features
    given = dataclasses.replace(config, features=("raw",))
    assert course.run(given).features == ("raw",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ("sift",)}, "--features is 'sift'; expected one of raw, rgb"),
        ({"table": ("colour",)}, "--table is colour; expected some of features, loss"),
        ({"table": ("loss", "loss")}, "--table is loss,loss; .* none twice"),
        ({"dataset": "iris"}, "'hog' are of images; the rows here are none"),
        ({"keep": "first"}, "--keep is 'first'; expected one of last, best"),
    ],
)
def test_bad_flags_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()
