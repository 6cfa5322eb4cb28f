"""The probe as its users meet it: table, choices, protocols, shots, refusals."""

import dataclasses

import h5py
import numpy as np
import pytest
from absl import flags as absl_flags
from safetensors import numpy as safetensors_numpy
from scipy import optimize, special, stats
from sklearn import linear_model, metrics

from experiments import probe
from linclf_jax.cli import options as shared_flags
from linclf_jax.cli import probe_table
from linclf_jax.config import protocols
from linclf_jax.config.probe import Config
from linclf_jax.data import datasets, preprocessing
from linclf_jax.exact import newton
from linclf_jax.runs import directory, model
from linclf_jax.selection import cross_validation as path_lib
from linclf_jax.selection import ranking
from linclf_jax.studies import (
    probe_measured,
    probe_outcome,
    probe_problem,
    probe_scores,
)
from tests import feature_files

GRID = (1.0, 1e-1, 1e-2, 1e-3)
SMALL = Config(l2=GRID, folds=3, tol=1e-9)
SAME = (
    *("results.jsonl", "history.npz", "splits.npz", "selected.json"),
    *("selected.safetensors", "good.safetensors", "bad.safetensors"),
)


def run(folder, **changes):
    return probe.run(dataclasses.replace(SMALL, out_dir=str(folder), **changes))


def one(path, *, val=False):
    """Returns the flags of a single set."""
    roles = ("train", "val", "test") if val else ("train", "test")
    return {
        f"{role}_{what}": str(path / f"{role}_{what}.npy")
        for role in roles
        for what in ("features", "labels")
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two sets of the same rows, and the first once more with a validation file."""
    folder = tmp_path_factory.mktemp("files")
    return {
        "good": feature_files.write(folder / "good", noise=1.0),
        "bad": feature_files.write(folder / "bad", noise=2.5),
        "val": feature_files.write(folder / "val", val=True),
    }


@pytest.fixture(scope="module")
def both(files):
    return {"features": tuple(f"{name}={files[name]}" for name in ("good", "bad"))}


@pytest.fixture(scope="module")
def finished(both, tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "first", **both)


@pytest.fixture(autouse=True)
def _draw_no_more(finished, monkeypatch):
    """One page is enough to see that it is drawn and sealed."""
    monkeypatch.setattr(probe_outcome.probe_report, "write", lambda _: None)


@pytest.fixture(scope="module")
def reference(files, finished):
    """The same by scikit-learn: fits of all penalties, on the folds of the run."""
    splits = directory.read(finished.folder / "splits.npz")
    return {name: by_sklearn(files[name], splits, name) for name in ("good", "bad")}


def by_sklearn(path, splits, name):
    read = {item.stem: np.load(item) for item in path.glob("*.npy")}
    # Splits name rows by their number in the file.
    order, fold = splits[f"{name}.index"], splits[f"{name}.fold"]
    x, labels = read["train_features"][order], read["train_labels"][order]
    wide = x.astype(np.float64)
    shift, scale = wide.mean(axis=0), wide.std(axis=0)
    x, test = (wide - shift) / scale, (read["test_features"] - shift) / scale
    held_out = {l2: np.empty((len(x), 6)) for l2 in GRID}
    for l2 in GRID:
        for number in range(3):
            seen = fold != number
            fitted = logistic(x[seen], labels[seen], l2)
            held_out[l2][~seen] = fitted.decision_function(x[~seen])
    temperatures = {l2: best_temperature(z, labels) for l2, z in held_out.items()}
    plain = {l2: fold_loss(z, labels, fold) for l2, z in held_out.items()}
    losses = {
        l2: fold_loss(z / temperatures[l2], labels, fold) for l2, z in held_out.items()
    }
    l2 = min(losses, key=losses.get)
    scores = logistic(x, labels, l2).decision_function(test)
    return {
        "l2": l2,
        "loss": plain[l2],
        "loss_calibrated": losses[l2],
        "by_loss": min(plain, key=plain.get),
        "held_out": held_out[l2],
        "labels": labels,
        "scores": scores,
        "test_labels": read["test_labels"],
    }


def fold_loss(scores, labels, fold):
    logs = special.log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    return -np.mean([logs[fold == k].mean() for k in range(3)])


def logistic(x, labels, l2):
    C = 1.0 / (l2 * len(x))
    fitted = linear_model.LogisticRegression(
        C=C, solver="newton-cg", tol=1e-10, max_iter=1000
    )
    return fitted.fit(x, labels)


def test_the_folder_is_complete_and_sealed(finished):
    names = {item.name for item in finished.folder.iterdir()}
    made = {"config.json", "flags.txt", "manifest.json", "report.html"}
    assert names >= made | {*SAME}
    assert set(directory.verify(finished.folder)) == names - {"manifest.json"}
    assert finished.selected == directory.read(finished.folder / "selected.json")
    assert finished.rows == directory.read(finished.folder / "results.jsonl")


def test_every_fit_has_a_row(finished):
    # Four penalties in three folds, then these three and the one that is tested.
    assert [row["trial"] for row in finished.rows] == list(range(32))
    assert [row["features"] for row in finished.rows] == ["good"] * 16 + ["bad"] * 16
    assert [row["fold"] for row in finished.rows] == [*[0, 1, 2] * 5, None] * 2
    assert [row["stage"] for row in finished.rows[:16]] == ["choice"] * 12 + [
        "final"
    ] * 4
    for entry, place in zip(finished.selected["entries"], (15, 31), strict=True):
        (only,) = entry["runs"]
        row = finished.rows[only["trial"]]
        assert row["trial"] == place
        assert (row["l2"], row["C"]) == (only["l2"], only["C"])
        assert entry["num_rows"] == 90
        assert row["C"] == pytest.approx(1 / (row["l2"] * 90), rel=1e-12)
    assert all(row["relative_gap"] <= 1e-9 for row in finished.rows)


@pytest.mark.parametrize("name", ["good", "bad"])
def test_the_table_is_what_scikit_learn_finds(name, finished, reference):
    expected = reference[name]
    entry = finished.selected["entries"][["good", "bad"].index(name)]
    found, labels = entry["runs"][0], expected["test_labels"]
    assert found["l2"] == expected["l2"]
    for score in ("loss", "loss_calibrated"):
        held_out = found["validation"][score]
        assert held_out == pytest.approx(expected[score], rel=1e-4)
    test, scores = found["test"], expected["scores"]
    probs = special.softmax(scores, axis=1)
    right = scores.argmax(axis=1) == labels
    assert test["size"] == 60
    assert test["accuracy"] == right.mean()
    interval = stats.binomtest(int(right.sum()), 60).proportion_ci(method="wilson")
    assert test["accuracy_interval"] == pytest.approx(list(interval), rel=1e-9)
    top5 = metrics.top_k_accuracy_score(labels, scores, k=5)
    assert test["top5_accuracy"] == pytest.approx(top5, rel=1e-6)
    recall = metrics.balanced_accuracy_score(labels, scores.argmax(axis=1))
    assert test["mean_per_class_recall"] == pytest.approx(recall, rel=1e-6)
    loss = metrics.log_loss(labels, probs)
    assert test["nll"] == pytest.approx(loss, rel=1e-4)
    assert test["calibration_error"] == pytest.approx(ece(probs, labels), abs=1e-4)
    temperature = best_temperature(expected["held_out"], expected["labels"])
    assert found["temperature"] == pytest.approx(temperature, rel=1e-3)
    cooled = special.softmax(scores / temperature, axis=1)
    assert test["calibration_error_scaled"] == pytest.approx(
        ece(cooled, labels), abs=1e-3
    )


def ece(probs, labels):
    confidence = probs.max(axis=1)
    right = probs.argmax(axis=1) == labels
    place = np.ceil(confidence * 15)
    gaps = [
        abs(right[place == m].mean() - confidence[place == m].mean())
        * np.mean(place == m)
        for m in np.unique(place)
    ]
    return sum(gaps)


def best_temperature(scores, labels):
    def nll(log_temperature):
        logs = special.log_softmax(scores / np.exp(log_temperature), axis=1)
        return -logs[np.arange(len(labels)), labels].mean()

    found = optimize.minimize_scalar(nll, bounds=(-3, 3), options={"xatol": 1e-8})
    return float(np.exp(found.x))


def test_sets_are_compared_row_by_row(finished, reference):
    (pair,) = finished.selected["comparisons"]
    right = {
        name: one["scores"].argmax(axis=1) == one["test_labels"]
        for name, one in reference.items()
    }
    only_a = int(np.sum(right["good"] & ~right["bad"]))
    only_b = int(np.sum(right["bad"] & ~right["good"]))
    assert (pair["first"], pair["second"]) == ("good", "bad")
    assert (pair["only_a"], pair["only_b"], pair["size"]) == (only_a, only_b, 60)
    exact = stats.binomtest(only_a, only_a + only_b).pvalue
    assert pair["p_value"] == pair["adjusted"] == pytest.approx(exact, rel=1e-9)
    assert pair["difference"] == pytest.approx((only_a - only_b) / 60)
    assert pair["low"] < pair["difference"] < pair["high"]


def test_the_best_set_is_chosen_on_held_out_rows(finished):
    assert finished.selected["chosen"] == 0
    chosen, good, bad = (
        model.load(finished.folder / f"{name}.safetensors").params.W
        for name in ("selected", "good", "bad")
    )
    np.testing.assert_array_equal(chosen, good)
    assert not np.array_equal(chosen, bad)
    # Whatever the test says.
    flipped = [
        {**entry, "test": None, "validation": {"loss": {"mean": loss}}}
        for entry, loss in zip(finished.selected["entries"], (2.0, 1.0), strict=True)
    ]
    assert probe_measured.best(flipped, "val_loss") == (1, ())


def test_sets_that_tie_are_named_with_the_rule(files, finished, tmp_path):
    assert finished.selected["chosen_ties"] == []
    assert "Tie:" not in probe_table.summary(finished)
    same = {"features": tuple(f"{name}={files['good']}" for name in ("one", "two"))}
    outcome = run(tmp_path / "same", **same)
    selected = directory.read(outcome.folder / "selected.json")
    assert (selected["chosen"], selected["chosen_ties"]) == (0, [1])
    assert (
        "best on held-out rows: one\n"
        "Tie: two and one have exactly the same val_loss_calibrated; of these the "
        "lower held-out loss was taken, of equal ones the stronger l2, then the first\n"
    ) in probe_table.summary(outcome)


def test_sets_without_held_out_rows_are_not_called_the_best(files, tmp_path):
    sets = tuple(f"{name}={files[name]}" for name in ("good", "bad"))
    given = {"protocol": "fewshot", "shots": (1,), "seeds": 1, "features": sets}
    outcome = run(tmp_path / "few", **given)
    assert outcome.selected["chosen_ties"] == [1]
    assert (
        "chosen without held-out rows: good, 1 shot\n"
        "Tie: bad, 1 shot and good, 1 shot have no held-out rows to be compared by; of "
        "these the strongest l2 was taken, of equal ones the first\n"
    ) in probe_table.summary(outcome)


def test_a_warning_of_the_grid_names_the_draw(files, tmp_path):
    given = {**one(files["good"]), "l2": (1e2, 1e3), "protocol": "fewshot"}
    outcome = run(tmp_path / "narrow", shots=(2, 4), seeds=2, **given)
    chosen = [
        (entry["shots"], each["seed"], each["l2"])
        for entry in outcome.selected["entries"]
        for each in entry["runs"]
    ]
    assert [(shots, seed) for shots, seed, _ in chosen] == [
        *((2, 0), (2, 1), (4, 0), (4, 1)),
    ]
    assert outcome.selected["warnings"] == [
        f"features: the best l2 of {shots} shots with seed {seed}, {l2:g}, is the "
        f"{'largest' if l2 == 1e3 else 'smallest'} of the grid; widen --l2"
        for shots, seed, l2 in chosen
    ]


def test_the_flags_of_a_run_give_its_bytes_again(finished, tmp_path):
    values = absl_flags.FlagValues()
    shared_flags.define(Config(), values)
    text = (finished.folder / "flags.txt").read_text(encoding="utf-8")
    values(["probe", *text.splitlines()])
    config = Config(**shared_flags.values(Config, values))
    again = probe.run(dataclasses.replace(config, out_dir=str(tmp_path / "again")))
    for name in SAME:
        expected = (finished.folder / name).read_bytes()
        assert (again.folder / name).read_bytes() == expected, name


def test_test_rows_are_opened_once_and_change_no_choice(
    finished, both, tmp_path, monkeypatch
):
    load, opened = datasets.load, []

    def poisoned(*args, **kwargs):
        dataset = load(*args, **kwargs)

        def read():
            opened.append(len(list(tmp_path.glob("other/results.jsonl"))))
            split = dataset.test.read()
            return split._replace(x=-split.x, labels=(split.labels + 1) % 6)

        return dataset._replace(test=dataset.test._replace(read=read))

    monkeypatch.setattr(datasets, "load", poisoned)
    other = run(tmp_path / "other", **both)
    # Each of the two once, when all fits were chosen and written.
    assert opened == [1, 1]
    assert other.rows == finished.rows
    assert other.selected["chosen"] == finished.selected["chosen"]
    for theirs, ours in zip(
        other.selected["entries"], finished.selected["entries"], strict=True
    ):
        assert theirs["validation"] == ours["validation"]
        assert without_test(theirs) == without_test(ours)
        assert theirs["test"]["accuracy"] != ours["test"]["accuracy"]
    told = {one["opened"] for one in other.selected["test_data"].values()}
    assert told == {"after the choice"}


def without_test(entry):
    return [{k: v for k, v in run.items() if k != "test"} for run in entry["runs"]]


def test_a_finished_folder_is_refused(finished, both):
    with pytest.raises(ValueError, match="is complete"):
        run(finished.folder, **both)
    with pytest.raises(ValueError, match=r"flags.folds is 3 there and 4 here"):
        run(finished.folder, **{**both, "folds": 4})
    directory.verify(finished.folder)


def test_test_labels_that_differ_are_refused(files, tmp_path):
    other = feature_files.write(tmp_path / "odd")
    labels = np.load(other / "test_labels.npy")
    np.save(other / "test_labels.npy", np.roll(labels, 1))
    sets = (f"good={files['good']}", f"odd={other}")
    with pytest.raises(ValueError, match=r"of odd differ .* 60 rows, the first is 0"):
        run(tmp_path / "run", features=sets)
    assert not (tmp_path / "run").exists()


def test_a_validation_file_chooses_and_is_part_of_the_last_fit(files, tmp_path):
    outcome = run(tmp_path / "run", **one(files["val"], val=True))
    (entry,) = outcome.selected["entries"]
    assert [row["stage"] for row in outcome.rows] == ["choice"] * 4 + ["final"] * 2
    assert entry["validation"]["held_out"] == "validation"
    assert entry["num_rows"] == 126
    (only,) = entry["runs"]
    assert only["validation"]["size"] == 36
    compared = outcome.rows[:4]
    best = min(compared, key=lambda row: row["val_loss_calibrated"])
    assert only["l2"] == best["l2"]
    read = {item.stem: np.load(item) for item in files["val"].glob("*.npy")}
    stored = model.load(outcome.folder / "selected.safetensors")
    # Scaling is that of the rows that were not held out.
    expected = preprocessing.fit("standardize", read["train_features"])
    np.testing.assert_array_equal(stored.scaling.shift, expected.shift)
    # What was compared, by hand.
    x = preprocessing.apply(expected, read["train_features"])
    val = preprocessing.apply(expected, read["val_features"])
    params, _ = newton.solve(x, read["train_labels"], [only["l2"]], tol=1e-9)
    scores = val @ np.asarray(params.W[0]) + np.asarray(params.b[0])
    logs = special.log_softmax(scores, axis=1)
    rows = -logs[np.arange(36), read["val_labels"]]
    assert only["validation"]["loss"] == pytest.approx(rows.mean(), rel=1e-5)
    error = rows.std(ddof=1) / 6
    assert only["validation"]["standard_error"] == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("name", ["clip", "clip_benchmark", "dinov2_logreg"])
def test_exact_protocols_choose_on_rows_of_training(name, files, tmp_path):
    preset = protocols.PROTOCOLS[name]
    grid = {"C": (0.1, 1.0, 10.0)} if preset.unit == "C" else {"l2": GRID}
    outcome = run(
        tmp_path / "run",
        **one(files["good"]),
        **{"protocol": name, "l2": None, "tol": 1e-6, **grid},
    )
    told, (entry,) = outcome.selected["protocol"], outcome.selected["entries"]
    assert (told["name"], told["overridden"]) == (name, ["grid"])
    assert told["changed"] == list(preset.changed)
    assert told["sets"]["preprocessing"] == preset.preprocessing
    (only,) = entry["runs"]
    size = only["validation"]["size"]
    assert size == 90 // preset.hold_out
    assert entry["num_rows"] == 90
    best = max(row["val_accuracy"] for row in outcome.rows if row["stage"] == "choice")
    assert only["validation"]["accuracy"] == best
    compared = outcome.rows[-2]
    if preset.unit == "C":
        assert only["C"] == pytest.approx(compared["C"], rel=1e-12)
        assert only["l2"] == pytest.approx(compared["l2"] * (90 - size) / 90)
    else:
        assert only["l2"] == compared["l2"]


def test_the_grid_of_a_protocol_is_its_own():
    sizes = {name: preset.grid for name, preset in protocols.PROTOCOLS.items()}
    assert sizes["clip"].count == sizes["clip_benchmark"].count == 97
    powers = np.log10(path_values("dinov2_logreg"))
    np.testing.assert_allclose(powers, np.linspace(-6, 5, 45), atol=1e-12)
    linear = protocols.PROTOCOLS["dinov2_linear"].training
    assert linear is not None
    assert len(linear.learning_rate) == 13
    assert linear.steps == 12_500


def path_values(name):
    grid = protocols.PROTOCOLS[name].grid
    return np.geomspace(grid.low, grid.high, grid.count)


@pytest.mark.parametrize(("name", "lanes"), [("dinov2_linear", 13), ("mae", 1)])
def test_protocols_that_train_choose_among_their_lanes(name, lanes, files, tmp_path):
    outcome = run(
        tmp_path / "run",
        **one(files["val"], val=True),
        **{"protocol": name, "l2": None, "epochs": 3},
    )
    assert len(outcome.rows) == lanes
    assert {row["steps"] for row in outcome.rows} == {3}
    preset = protocols.PROTOCOLS[name].training
    rates = [row["learning_rate"] for row in outcome.rows]
    # 90 rows are one batch, and the rates are for 256.
    expected = np.array(preset.learning_rate) * 90 / 256
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    (entry,) = outcome.selected["entries"]
    (only,) = entry["runs"]
    best = max(row["val_accuracy"] for row in outcome.rows)
    assert only["validation"]["accuracy"] == best
    assert entry["num_rows"] == 90
    sets = outcome.selected["protocol"]["sets"]
    assert (sets["epochs"], sets["steps"]) == (3, None)
    assert "3 steps, where the original makes" in outcome.selected["warnings"][-1]
    stored = model.load(outcome.folder / "selected.safetensors")
    x = np.load(files["val"] / "test_features.npy")
    labels = np.load(files["val"] / "test_labels.npy")
    assert only["test"]["accuracy"] == np.mean(model.predict(stored, x) == labels)


@pytest.fixture(scope="module")
def few(files, tmp_path_factory):
    return run(
        tmp_path_factory.mktemp("few") / "run",
        **one(files["good"]),
        **{"protocol": "fewshot", "shots": (1, 4), "seeds": 2},
    )


def test_lanes_of_shots_are_the_fits_one_by_one(few, files):
    splits = directory.read(few.folder / "splits.npz")
    dealt, order = splits["features.shots"], splits["features.index"]
    assert dealt.sum(axis=1).tolist() == [6, 6, 24, 24]
    read = {item.stem: np.load(item) for item in files["good"].glob("*.npy")}
    x, labels = read["train_features"][order], read["train_labels"][order]
    scaling = preprocessing.fit("standardize", x)
    test = preprocessing.apply(scaling, read["test_features"])
    x = preprocessing.apply(scaling, x)
    runs = [run for entry in few.selected["entries"] for run in entry["runs"]]
    for run_, rows in zip(runs, dealt, strict=True):
        if rows.sum() == 6:
            assert run_["l2"] == pytest.approx(1 / 6)
            assert run_["validation"]["held_out"] is None
            assert run_["temperature"] is None
            solved, _ = newton.solve(x[rows], labels[rows], [run_["l2"]], tol=1e-9)
            W, b = (np.asarray(array[0]) for array in solved)
        else:
            alone = path_lib.leave_one_out(x[rows], labels[rows], GRID, tol=1e-9)
            place = path_lib.choose(alone).min
            assert run_["l2"] == GRID[place]
            loss = alone.loss.mean[place]
            assert run_["validation"]["loss"] == pytest.approx(loss, rel=1e-4)
            temperature = alone.rows.temperature[place]
            assert run_["temperature"] == pytest.approx(temperature, rel=1e-3)
            W, b = alone.params.W[place], alone.params.b[place]
        accuracy = np.mean((test @ W + b).argmax(axis=1) == read["test_labels"])
        assert run_["test"]["accuracy"] == accuracy


def test_repeats_of_a_setting_differ_in_seed_and_fold_alone(finished, few):
    for outcome in (finished, few):
        groups = {}
        for row in outcome.rows:
            setting = frozenset(ranking.settings(row).items())
            groups.setdefault(setting, []).append(row)
        told = ("features", "shots", "stage", "l2", "preprocessing")
        for rows in groups.values():
            assert len({tuple(row[name] for name in told) for row in rows}) == 1
            assert len({(row["seed"], row["fold"]) for row in rows}) == len(rows)
        # Each penalty of each set or number of shots, and those that were chosen.
        chosen = {
            (entry["features"], entry["shots"], run["l2"])
            for entry in outcome.selected["entries"]
            for run in entry["runs"]
        }
        assert len(groups) == 2 * len(GRID) + len(chosen)


@pytest.mark.parametrize("choice", ["min", "one_standard_error"])
def test_of_equal_accuracies_the_lower_loss_goes_first(choice, tmp_path):
    """All penalties have all rows right, and the strongest the highest loss."""
    labels = np.arange(120) % 4
    x = np.eye(4)[labels] + np.random.default_rng(5).uniform(-0.2, 0.2, (120, 4))
    for role, rows in (("train", slice(0, 80)), ("test", slice(80, None))):
        np.save(tmp_path / f"{role}_features.npy", x[rows])
        np.save(tmp_path / f"{role}_labels.npy", labels[rows])
    outcome = run(
        tmp_path / "run", **one(tmp_path), select_by="val_accuracy", choice=choice
    )
    (only,) = outcome.selected["entries"][0]["runs"]
    history = directory.read(outcome.folder / "history.npz")
    names = ("l2s", "val_accuracy", "val_loss")
    l2s, accuracy, loss = (history[f"features.{name}"][0] for name in names)
    (tied,) = np.nonzero(accuracy == accuracy.max())
    assert len(tied) > 1  # or there is nothing to see
    assert l2s[tied[np.argmin(loss[tied])]] != l2s[tied].max()
    best = tied[np.argmin(loss[tied])]
    assert f"{len(tied)} tie for it, and the lower val_loss" in only["reason"]
    assert sorted(only["ties"]) == sorted({*l2s[tied]} - {l2s[best]})
    if choice == "min":
        assert only["l2"] == l2s[best]
    else:
        assert only["l2"] >= l2s[tied].max()


def test_seeds_are_told_by_mean_and_spread(few):
    one_shot, four = few.selected["entries"]
    assert (one_shot["shots"], four["shots"]) == (1, 4)
    for entry in (one_shot, four):
        values = [run["test"]["accuracy"] for run in entry["runs"]]
        told = entry["test"]["accuracy"]
        assert told["mean"] == pytest.approx(np.mean(values))
        assert told["sd"] == pytest.approx(np.std(values, ddof=1))
        assert told["count"] == 2
    assert one_shot["validation"]["loss"] is None
    assert few.selected["chosen"] == 1
    first = model.load(few.folder / "features-4shots.safetensors").params.W
    chosen = model.load(few.folder / "selected.safetensors").params.W
    np.testing.assert_array_equal(first, chosen)
    text = probe_table.summary(few)
    assert f"sd {four['test']['accuracy']['sd']:.3f} of 2" in text
    assert "\nChanged: softmax regression" in text


def test_draws_too_large_for_the_estimate_are_dealt_into_folds(
    files, tmp_path, monkeypatch
):
    monkeypatch.setattr(probe_scores, "MOST_UNKNOWNS", 1)
    outcome = run(
        tmp_path / "run",
        **one(files["good"]),
        **{"protocol": "fewshot", "shots": (4,), "seeds": 1, "tol": 1e-6},
    )
    (entry,) = outcome.selected["entries"]
    assert entry["validation"]["held_out"] == "folds"
    (only,) = entry["runs"]
    compared = [row for row in outcome.rows if row["stage"] == "choice"]
    assert [row["fold"] for row in compared] == [0, 1, 2, 3] * 4
    means = {
        l2: np.mean([row["val_loss"] for row in compared if row["l2"] == l2])
        for l2 in GRID
    }
    assert only["l2"] == min(means, key=means.get)
    assert only["validation"]["loss"] == pytest.approx(means[only["l2"]], rel=1e-12)
    assert only["validation"]["size"] == entry["num_rows"] == 24
    assert only["temperature"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "simclr"}, "--protocol is 'simclr'; expected one of exact, clip"),
        ({"C": (1.0,)}, "--l2 and --C are both given"),
        ({"l2": (0.1, 0.1)}, "--l2 has 2 values, 1 of them distinct"),
        ({"l2": (-0.1,)}, "--l2 holds -0.1"),
        ({"l2": None, "C": (0.0,)}, "--C holds 0; expected above 0"),
        ({"epochs": 3}, "--epochs is given, but --protocol=exact trains by no mini"),
        ({"protocol": "mae", "shots": (1,)}, "--shots is given with --protocol=mae"),
        ({"protocol": "clip", "shots": (1,)}, "--shots is given with --protocol=clip"),
        ({"shots": (16,)}, "features: --shots is 16; .* fewer has 0 .15 rows."),
        ({"preprocessing": "zca"}, "zca"),
        ({"choice": "max"}, "--choice is 'max'"),
        ({"select_by": "test"}, "--select_by is 'test'"),
        ({"split_seed": -1}, "--split_seed is -1"),
        ({"tol": 0.0}, "tol is 0.0"),
        ({"folds": 1}, "features: --folds is 1; expected at least 2"),
        ({"folds": 91}, "features: --folds is 91; 90 rows are of"),
        ({"protocol": "dinov2_linear", "batch_size": 0}, "--batch_size is 0; expected"),
        ({"protocol": "mae", "epochs": 0}, "--epochs is 0; expected at least 1"),
        ({"protocol": "mae", "learning_rate": (-0.1,)}, "learning_rate"),
        ({"features": ("a",)}, "--features holds 'a'; expected NAME=PATH"),
        ({"features": ("a=x", "a=y")}, "x: train_features, .* missing; expected a fol"),
        ({"features": ("selected=x",)}, "'selected=x'; expected NAME=PATH with a name"),
    ],
)
def test_bad_flags_are_refused_and_leave_nothing(
    changes, message, files, tmp_path, monkeypatch
):
    monkeypatch.setattr(probe, "solve", None)
    flags = {**one(files["good"]), **changes}
    if flags.get("protocol") == "clip":
        flags["l2"] = None
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "refused", **flags)
    assert not (tmp_path / "refused").exists()


def write_h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


ARCHIVES = {
    "set.npz": lambda path, arrays: np.savez(path, **arrays),
    "set.safetensors": lambda path, arrays: safetensors_numpy.save_file(arrays, path),
    "a,b.h5": write_h5,
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_one_archive_is_as_good_as_a_folder(name, files, tmp_path):
    read = {item.stem: np.load(item) for item in files["val"].glob("*.npy")}
    ARCHIVES[name](tmp_path / name, read)
    sets = (f"a={files['val']}", f"b={tmp_path / name}")
    problem = probe_problem.prepare(dataclasses.replace(SMALL, features=sets))
    folder, archive = problem.sets
    np.testing.assert_array_equal(folder.x, archive.x)
    np.testing.assert_array_equal(folder.fold, archive.fold)
    tests = [one.dataset.test.read() for one in problem.sets]
    np.testing.assert_array_equal(tests[0].x, tests[1].x)
    del read["test_labels"]
    ARCHIVES[name](tmp_path / name, read)
    with pytest.raises(ValueError, match=f"{name}: test_labels missing"):
        probe_problem.prepare(dataclasses.replace(SMALL, features=sets))


def test_a_folder_of_tables(files, tmp_path):
    for item in files["good"].glob("*_features.npy"):
        role, x = item.stem.removesuffix("_features"), np.load(item)
        np.savetxt(tmp_path / f"{role}_features.csv", x, fmt="%.9g", delimiter=",")
        labels = np.load(files["good"] / f"{role}_labels.npy")
        np.savetxt(tmp_path / f"{role}_labels.csv", labels, fmt="%d")
    sets = (f"arrays={files['good']}", f"texts={tmp_path}")
    problem = probe_problem.prepare(dataclasses.replace(SMALL, features=sets))
    arrays, texts = problem.sets
    np.testing.assert_allclose(arrays.x, texts.x, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(arrays.labels, texts.labels)


def test_a_path_with_a_comma_survives_its_flagfile(files, tmp_path):
    values = absl_flags.FlagValues()
    shared_flags.define(Config(), values)
    values(["probe", r"--features=a=/x/one\,two,b=/y\z"])
    config = Config(**shared_flags.values(Config, values))
    assert config.features == ("a=/x/one,two", r"b=/y\z")
    (tmp_path / "flags.txt").write_text(shared_flags.to_flagfile(config))
    values = absl_flags.FlagValues()
    shared_flags.define(Config(), values)
    lines = (tmp_path / "flags.txt").read_text().splitlines()
    values(["probe", *lines])
    assert Config(**shared_flags.values(Config, values)) == config
    with pytest.raises(ValueError, match=r"'two'; .* a comma in PATH is written \\,"):
        probe_problem.prepare(dataclasses.replace(SMALL, features=("two",)))


def test_sets_of_other_rows_are_refused_at_once(files, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "solve", None)
    short = feature_files.write(tmp_path / "short")
    for what in ("features", "labels"):
        path = short / f"test_{what}.npy"
        np.save(path, np.load(path)[:-6])
    sets = (f"good={files['good']}", f"short={short}")
    with pytest.raises(ValueError, match="short has 54 test rows; expected 60, as man"):
        run(tmp_path / "refused", features=sets)


@pytest.mark.parametrize(
    "given", [{"dataset": "digits"}, {"data_dir": "x"}, {"train_features": "x.npy"}]
)
def test_data_that_sets_would_leave_unread_is_refused(given, both, tmp_path):
    (name,) = given
    with pytest.raises(ValueError, match=f"--features and --{name} are both given"):
        run(tmp_path / "refused", **both, **given)
    assert not (tmp_path / "refused").exists()


def test_a_single_validation_row_is_refused(tmp_path):
    lonely = feature_files.write(tmp_path / "lonely", val=True)
    for what in ("features", "labels"):
        path = lonely / f"val_{what}.npy"
        np.save(path, np.load(path)[:1])
    with pytest.raises(ValueError, match="features: found one validation row; exp"):
        run(tmp_path / "refused", **one(lonely, val=True))
