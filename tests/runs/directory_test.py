"""The run directory: whole files or none, the right folder or none, damage by name."""

import errno
import os
import re

import chex
import numpy as np
import pytest

from linclf_jax.runs import directory

CONFIG = {
    "experiment": "sweep",
    "flags": {"l2": (0.1, 0.01), "optimizer": "sgd"},
    "data": {"name": "digits", "fingerprint": "abc"},
    "environment": {"jax": "0.10.2", "git": {"commit": "c0ffee", "dirty": False}},
}

VALUES = {
    "a.txt": "new é\n",
    "a.json": {"new": None},
    "a.jsonl": [{"a": 1}, {"a": 2}],
    "a.npz": {"new": np.arange(3)},
    "a.safetensors": ({"new": np.eye(2)}, {"k": "v"}),
}


def with_flags(**flags):
    return {**CONFIG, "flags": {**CONFIG["flags"], **flags}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def finished(folder):
    """A sealed run directory: a file of every kind, one of them in a folder below."""
    path = directory.open_run(folder, CONFIG)
    directory.write(path / "results.jsonl", [{"trial": 0, "val_loss": 0.5}])
    directory.write(path / "history.npz", {"val_loss": np.ones((2, 3))})
    tensors = {"W": np.ones((2, 3))}
    directory.write(path / "selected.safetensors", (tensors, {}))
    (path / "plots").mkdir()
    directory.write(path / "plots" / "curves.png", bytes(range(256)))
    directory.seal(path)
    return path


@pytest.mark.parametrize("name", VALUES)
def test_what_is_written_is_read_back(name, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    directory.write(folder / name, VALUES[name])
    chex.assert_trees_all_equal(directory.read(folder / name), VALUES[name])
    assert names(folder) == [name]


def test_numbers_that_json_lacks_are_null(tmp_path):
    directory.write(tmp_path / "a.json", {"a": float("nan")})
    assert directory.read(tmp_path / "a.json") == {"a": None}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    name, broken, tmp_path, monkeypatch
):
    path = tmp_path / name
    path.write_bytes(b"old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(OSError, match="No space left") as caught:
        directory.write(path, VALUES[name])
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert re.search(
        r"^No space left on device, [\d,]+ bytes free; expected room for \d+ bytes$",
        caught.value.strerror,
    )
    assert names(tmp_path) == [name]
    assert path.read_bytes() == b"old"


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupt(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        directory.write(path, b"new")
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_values_that_cannot_be_written_leave_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    directory.write(path, {"old": 1})
    with pytest.raises(ValueError, match="found object"):
        directory.write(path, {"new": object()})
    assert directory.read(path) == {"old": 1}
    assert names(tmp_path) == ["a.json"]


def test_data_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    """Renaming first would leave an empty file under the final name in a power cut."""
    path, seen = tmp_path / "file", []
    fsync = os.fsync

    def note(handle):
        file = os.fstat(handle)
        is_folder = file.st_ino == tmp_path.stat().st_ino
        seen.append((is_folder, file.st_size, path.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    directory.write(path, b"12345")
    (first, second) = seen
    assert first == (False, 5, False)
    assert (second[0], second[2]) == (True, True)


def test_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("")
    directory.write(tmp_path / "ours", "")
    modes = {(tmp_path / name).stat().st_mode for name in ("usual", "ours")}
    assert len(modes) == 1


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        directory.write(tmp_path / "missing" / "file", "")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.json", "line 1"),
        ("a.jsonl", "line 1"),
        ("a.npz", "damaged"),
        ("a.safetensors", "damaged"),
    ],
)
def test_a_damaged_file_is_named(name, place, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"{damage")
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{place}"):
        directory.read(path)
    with pytest.raises(FileNotFoundError, match=name):
        directory.read(tmp_path / "missing" / name)


def test_a_new_folder_gets_its_configuration(tmp_path):
    path = tmp_path / "deep" / "run"
    assert directory.open_run(path, CONFIG) == path
    assert names(path) == ["config.json"]
    stored = directory.read(path / "config.json")
    assert stored["flags"] == {**CONFIG["flags"], "l2": [0.1, 0.01]}
    assert list(stored) == list(CONFIG)


def test_an_empty_folder_is_taken(tmp_path):
    assert directory.open_run(str(tmp_path), CONFIG) == tmp_path


def test_test_rows_may_change_while_a_run_is_unfinished(tmp_path):
    """Of the rest of the data every difference is refused."""

    def config(**data):
        return {**CONFIG, "data": {**CONFIG["data"], **data}}

    directory.open_run(tmp_path, config(test=40))
    before = directory.read(tmp_path / "config.json")
    directory.open_run(tmp_path, config(test=39))
    after = directory.read(tmp_path / "config.json")
    assert after == {**before, "data": {**before["data"], "test": 39}}
    directory.open_run(tmp_path / "b", config(train=5, test=40))
    with pytest.raises(ValueError, match=r"differs in 1: data.train is 5 there and 6"):
        directory.open_run(tmp_path / "b", config(train=6, test=39))


def test_an_unfinished_run_is_resumed(tmp_path):
    directory.open_run(tmp_path, CONFIG)
    directory.write(tmp_path / "results.jsonl", [{"trial": 0}])
    # Somebody has committed in between: no reason to lose the work of a night.
    later = {"jax": "0.10.2", "git": {"commit": "decade", "dirty": True}}
    assert directory.open_run(tmp_path, {**CONFIG, "environment": later}) == tmp_path
    stored = directory.read(tmp_path / "config.json")["environment"]
    assert stored == CONFIG["environment"]
    assert directory.read(tmp_path / "results.jsonl") == [{"trial": 0}]


def test_leftovers_of_a_killed_writer_are_swept(tmp_path):
    leftover = tmp_path / ".config.json.0a1b2c3d.tmp"
    leftover.write_text("{")
    directory.open_run(tmp_path, CONFIG)
    assert names(tmp_path) == ["config.json"]
    leftover.write_text("{")
    (tmp_path / "pieces").mkdir()
    (tmp_path / "pieces" / ".000001.npz.0a1b2c3d.tmp").write_bytes(b"P")
    (tmp_path / "pieces" / "000000.npz").write_bytes(b"P")
    directory.open_run(tmp_path, CONFIG)
    assert names(tmp_path) == ["config.json", "pieces"]
    assert names(tmp_path / "pieces") == ["000000.npz"]


def test_a_leftover_whose_writer_is_alive_may_go_by_itself(tmp_path, monkeypatch):
    """Somebody draws the page of the unfinished run just when it is taken up."""
    directory.open_run(tmp_path, CONFIG)
    temporary = tmp_path / ".page.html.0a1b2c3d.tmp"
    temporary.write_text("<")

    def finish_page(*_):
        temporary.rename(tmp_path / "page.html")
        return []

    monkeypatch.setattr(directory.configuration, "differences", finish_page)
    directory.open_run(tmp_path, CONFIG)
    assert names(tmp_path) == ["config.json", "page.html"]


def test_another_configuration_is_refused_with_all_differences(tmp_path):
    directory.open_run(tmp_path, CONFIG)
    other = with_flags(optimizer="adam", seed=1)
    other["data"] = {"name": "digits", "fingerprint": "def"}
    with pytest.raises(ValueError, match="made by another configuration") as caught:
        directory.open_run(tmp_path, other)
    for difference in (
        "differs in 3",
        'flags.optimizer is "sgd" there and "adam" here',
        "flags.seed is absent there and 1 here",
        'data.fingerprint is "abc" there and "def" here',
    ):
        assert difference in str(caught.value)
    assert directory.read(tmp_path / "config.json")["flags"]["optimizer"] == "sgd"


def test_batches_of_two_environments_are_not_mixed(tmp_path):
    directory.open_run(tmp_path, CONFIG)
    other = {**CONFIG, "environment": {**CONFIG["environment"], "jax": "0.11"}}
    with pytest.raises(
        ValueError, match=r'differs in 1: environment\.jax is "0.10.2" there and "0.11"'
    ):
        directory.open_run(tmp_path, other)


def test_a_finished_run_is_refused(tmp_path):
    path = finished(tmp_path / "run")
    with pytest.raises(ValueError, match="is complete"):
        directory.open_run(path, CONFIG)
    with pytest.raises(ValueError, match="another configuration"):
        directory.open_run(path, with_flags(optimizer="adam"))
    assert len(directory.verify(path)) == 5


def test_what_is_no_run_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    leftover = tmp_path / ".thesis.swap.tmp"
    leftover.write_text("")
    with pytest.raises(ValueError, match=r"no run directory: found thesis\.tex"):
        directory.open_run(tmp_path, CONFIG)
    assert leftover.exists()
    assert names(tmp_path) == [".thesis.swap.tmp", "thesis.tex"]
    with pytest.raises(ValueError, match="is a file"):
        directory.open_run(tmp_path / "thesis.tex", CONFIG)


def test_a_damaged_configuration_is_refused(tmp_path):
    directory.open_run(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text('{"experiment": ')
    with pytest.raises(ValueError, match=r"config.json: line 1"):
        directory.open_run(tmp_path, CONFIG)


def test_seal_lists_every_file_and_repeats_itself(tmp_path):
    path = finished(tmp_path / "run")
    sealed = (path / "manifest.json").read_bytes()
    assert directory.verify(path) == [
        "config.json",
        "history.npz",
        "plots/curves.png",
        "results.jsonl",
        "selected.safetensors",
    ]
    directory.seal(path)
    assert (path / "manifest.json").read_bytes() == sealed
    other = finished(tmp_path / "other")
    assert (other / "manifest.json").read_bytes() == sealed
    (path / "notes.txt").write_text("mine")
    assert "notes.txt" not in directory.verify(path)


def test_what_comes_and_goes_is_not_sealed(tmp_path):
    """A page that is drawn at any time, and whatever is half written by then."""
    path = finished(tmp_path / "run")
    before = directory.verify(path)
    for name in ("page.html", ".page.html.0a1b2c3d.tmp", "plots/.curves.png.0a.tmp"):
        (path / name).write_text("<")
    (path / "pieces").mkdir()
    (path / "pieces" / "000000.npz").write_bytes(b"P")
    directory.seal(path, without=("pieces", "page.html"))
    assert directory.verify(path) == before
    directory.seal(path, without="pieces")  # one name is no set of letters
    assert directory.verify(path) == sorted([*before, "page.html"])
    (path / "p").write_text("p")
    directory.seal(path, without="pieces")
    assert "p" in directory.verify(path)


@pytest.mark.parametrize("moment", ["is_file", "open"])
def test_a_file_that_is_removed_while_it_is_measured_ends_no_run(
    moment, tmp_path, monkeypatch
):
    path = finished(tmp_path / "run")
    before = directory.verify(path)
    (path / "page.html").write_text("<")
    method = getattr(type(path), moment)

    def remove_first(self, *arguments, **options):
        if self.name == "page.html":
            self.unlink(missing_ok=True)
        return method(self, *arguments, **options)

    monkeypatch.setattr(type(path), moment, remove_first)
    directory.seal(path)
    assert not (path / "page.html").exists()
    assert directory.verify(path) == before


def test_a_redrawn_file_that_is_gone_again_is_missed(tmp_path):
    path = finished(tmp_path / "run")
    (path / "history.npz").unlink()
    directory.seal(path, ["history.npz"])
    with pytest.raises(ValueError, match=r": history.npz is missing$"):
        directory.verify(path)


def test_sealing_some_files_again_blesses_no_damage_to_others(tmp_path):
    path = finished(tmp_path / "run")
    (path / "history.npz").write_bytes(b"damage")
    (path / "report.html").write_text("new")
    (path / "plots" / "curves.png").write_bytes(b"drawn again")
    redrawn = ["report.html", "plots/curves.png"]
    with pytest.raises(ValueError, match=r": history.npz has changed$"):
        directory.verify(path, besides=redrawn)
    directory.seal(path, redrawn)
    with pytest.raises(ValueError, match=r": history.npz has changed$"):
        directory.verify(path)
    assert "report.html" in directory.verify(path, besides=["history.npz"])
    manifest = directory.read(path / "manifest.json")
    assert list(manifest["files"]) == sorted(manifest["files"])


def test_an_unsealed_folder_cannot_be_sealed_in_part(tmp_path):
    with pytest.raises(ValueError, match=r"has no manifest.json"):
        directory.seal(tmp_path, ["report.html"])


@pytest.mark.parametrize("name", ["results.jsonl", "plots/curves.png", "history.npz"])
def test_damage_is_found_and_named(name, tmp_path):
    path = finished(tmp_path / "run")
    data = (path / name).read_bytes()
    for bit in (0, 4 * len(data), 8 * len(data) - 1):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        (path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=f": {name} has changed$"):
            directory.verify(path)
    for changed in (data[:-1], b"", data + b"\0"):
        (path / name).write_bytes(changed)
        with pytest.raises(ValueError, match=f": {name} has changed$"):
            directory.verify(path)
    (path / name).unlink()
    with pytest.raises(ValueError, match=f": {name} is missing$"):
        directory.verify(path)
    (path / name).write_bytes(data)
    directory.verify(path)


def test_all_that_is_wrong_is_named_at_once(tmp_path):
    path = finished(tmp_path / "run")
    (path / "config.json").unlink()
    (path / "history.npz").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"config\.json is missing, history\.npz has changed$"
    ):
        directory.verify(path)


def test_every_flipped_bit_of_the_manifest_is_found(tmp_path):
    directory.write(tmp_path / "a.txt", "a")
    directory.seal(tmp_path)
    manifest = tmp_path / "manifest.json"
    data = manifest.read_bytes()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        manifest.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"run|manifest|sealed"):
            directory.verify(tmp_path)


def test_verify_wants_a_manifest(tmp_path):
    with pytest.raises(ValueError, match=r"has no manifest.json"):
        directory.verify(tmp_path)
    directory.write(tmp_path / "manifest.json", [])
    with pytest.raises(ValueError, match="damaged"):
        directory.verify(tmp_path)
