"""The run directory: one writer, whole files or none, damage by its name."""

import errno
import os
import re
import signal
import subprocess
import sys

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


def changed(section, **changes):
    return {**CONFIG, section: {**CONFIG[section], **changes}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def finished(tmp_path):
    """A sealed run directory: a file of every kind, one of them in a folder below."""
    path = directory.open_run(tmp_path / "run", CONFIG)
    directory.write(path / "results.jsonl", [{"trial": 0, "val_loss": 0.5}])
    directory.write(path / "history.npz", {"val_loss": np.ones((2, 3))})
    directory.write(path / "selected.safetensors", ({"W": np.ones((2, 3))}, {}))
    (path / "plots").mkdir()
    directory.write(path / "plots" / "curves.png", bytes(range(256)))
    directory.seal(path)
    return path


class TestFiles:
    @pytest.mark.parametrize("name", VALUES)
    def test_what_is_written_is_read_back(self, name, tmp_path):
        folder = tmp_path / "a folder"
        folder.mkdir()
        directory.write(folder / name, VALUES[name])
        chex.assert_trees_all_equal(directory.read(folder / name), VALUES[name])
        assert names(folder) == [name]

    @pytest.mark.parametrize(
        ("broken", "error"),
        [
            ("fsync", OSError(errno.ENOSPC, "No space left on device")),
            ("replace", OSError(errno.ENOSPC, "No space left on device")),
            ("fsync", KeyboardInterrupt()),
        ],
    )
    def test_a_full_disk_or_an_interrupt_leaves_the_old_file_and_nothing_else(
        self, broken, error, tmp_path, monkeypatch
    ):
        path = tmp_path / "a.npz"
        path.write_bytes(b"old")

        def fail(*arguments):
            raise error

        monkeypatch.setattr(os, broken, fail)
        with pytest.raises(type(error)) as caught:
            directory.write(path, VALUES["a.npz"])
        assert names(tmp_path) == ["a.npz"]
        assert path.read_bytes() == b"old"
        if isinstance(error, OSError):
            assert caught.value.filename == str(path)
            message = r"No space left on device, [\d,]+ bytes free; expected room "
            assert re.match(message, caught.value.strerror)

    def test_data_reach_the_disk_before_the_name_does(self, tmp_path, monkeypatch):
        """Renaming first would leave an empty file under the final name in a crash."""
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

    def test_files_have_the_usual_permissions(self, tmp_path):
        (tmp_path / "usual").write_text("")
        directory.write(tmp_path / "ours", "")
        modes = {(tmp_path / name).stat().st_mode for name in ("usual", "ours")}
        assert len(modes) == 1

    @pytest.mark.parametrize(
        ("name", "where"),
        [
            ("a.json", "line 1"),
            ("a.jsonl", "line 1"),
            ("a.npz", "damaged"),
            ("a.safetensors", "damaged"),
        ],
    )
    def test_a_damaged_file_is_named(self, name, where, tmp_path):
        path = tmp_path / name
        path.write_bytes(b"{damage")
        with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{where}"):
            directory.read(path)


class TestOpening:
    def test_a_new_folder_gets_its_configuration(self, tmp_path):
        path = tmp_path / "deep" / "run"
        assert directory.open_run(str(path), CONFIG) == path
        assert names(path) == ["config.json"]
        stored = directory.read(path / "config.json")
        assert stored["flags"] == {**CONFIG["flags"], "l2": [0.1, 0.01]}
        assert list(stored) == list(CONFIG)

    def test_values_that_no_file_can_hold_make_no_folder(self, tmp_path):
        with pytest.raises(ValueError, match=r"config\.flags\.l2: found set"):
            directory.open_run(tmp_path / "run", changed("flags", l2={1}))
        assert names(tmp_path) == []

    def test_an_unfinished_run_is_resumed(self, tmp_path):
        """Test rows may change until they are read, and so may the commit."""
        directory.open_run(tmp_path, changed("data", test=40))
        directory.write(tmp_path / "results.jsonl", [{"trial": 0}])
        later = changed("data", test=39)
        later["environment"] = {**CONFIG["environment"], "git": {"commit": "decade"}}
        assert directory.open_run(tmp_path, later) == tmp_path
        stored = directory.read(tmp_path / "config.json")
        assert stored["data"] == {**CONFIG["data"], "test": 39}
        assert stored["environment"] == CONFIG["environment"]
        assert directory.read(tmp_path / "results.jsonl") == [{"trial": 0}]

    def test_leftovers_of_a_killed_writer_are_removed(self, tmp_path):
        directory.open_run(tmp_path, CONFIG)
        (tmp_path / ".config.json.0a1b2c3d.tmp").write_text("{")
        (tmp_path / "pieces").mkdir()
        (tmp_path / "pieces" / ".000001.npz.0a1b2c3d.tmp").write_bytes(b"P")
        (tmp_path / "pieces" / "000000.npz").write_bytes(b"P")
        directory.open_run(tmp_path, CONFIG)
        assert names(tmp_path) == ["config.json", "pieces"]
        assert names(tmp_path / "pieces") == ["000000.npz"]

    def test_a_leftover_whose_writer_is_alive_may_go_by_itself(
        self, tmp_path, monkeypatch
    ):
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

    def test_another_configuration_is_refused_with_all_differences(self, tmp_path):
        directory.open_run(tmp_path, CONFIG)
        before = (tmp_path / "config.json").read_bytes()
        other = changed("flags", optimizer="adam", seed=1)
        message = (
            r"made by another configuration, it differs in 2: flags.optimizer is .sgd. "
            r"there and .adam. here; flags.seed is absent there and 1 here$"
        )
        with pytest.raises(ValueError, match=message):
            directory.open_run(tmp_path, other)
        assert (tmp_path / "config.json").read_bytes() == before

    def test_a_finished_run_is_refused(self, finished):
        with pytest.raises(ValueError, match="is complete"):
            directory.open_run(finished, CONFIG)
        with pytest.raises(ValueError, match="another configuration"):
            directory.open_run(finished, changed("flags", optimizer="adam"))
        assert len(directory.verify(finished)) == 5

    def test_what_is_no_run_folder_is_refused_and_left_alone(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("years")
        (tmp_path / ".thesis.swap.tmp").write_text("")
        with pytest.raises(ValueError, match=r"no run directory: found thesis\.tex"):
            directory.open_run(tmp_path, CONFIG)
        assert names(tmp_path) == [".thesis.swap.tmp", "thesis.tex"]
        with pytest.raises(ValueError, match="is a file"):
            directory.open_run(tmp_path / "thesis.tex", CONFIG)

    def test_a_damaged_configuration_is_refused(self, tmp_path):
        directory.open_run(tmp_path, CONFIG)
        (tmp_path / "config.json").write_text('{"experiment": ')
        with pytest.raises(ValueError, match=r"config.json: line 1"):
            directory.open_run(tmp_path, CONFIG)


class TestSealing:
    def test_every_file_is_listed_and_those_that_come_and_go_are_not(self, finished):
        """A page that is drawn at any time, and whatever is half written by then."""
        sealed = (finished / "manifest.json").read_bytes()
        before = directory.verify(finished)
        assert before == [
            "config.json",
            "history.npz",
            "plots/curves.png",
            "results.jsonl",
            "selected.safetensors",
        ]
        for name in ("p", ".p.0a1b2c3d.tmp", "plots/.curves.png.0a.tmp"):
            (finished / name).write_text("<")
        (finished / "pieces").mkdir()
        (finished / "pieces" / "000000.npz").write_bytes(b"P")
        directory.seal(finished, without=("pieces", "p"))
        assert (finished / "manifest.json").read_bytes() == sealed
        directory.seal(finished, without=("pieces",))
        assert directory.verify(finished) == sorted([*before, "p"])

    @pytest.mark.parametrize("moment", ["is_file", "open"])
    def test_a_file_that_is_removed_while_it_is_measured_ends_no_run(
        self, moment, finished, monkeypatch
    ):
        before = directory.verify(finished)
        (finished / "page.html").write_text("<")
        method = getattr(type(finished), moment)

        def remove_first(self, *arguments, **options):
            if self.name == "page.html":
                self.unlink(missing_ok=True)
            return method(self, *arguments, **options)

        monkeypatch.setattr(type(finished), moment, remove_first)
        directory.seal(finished)
        assert directory.verify(finished) == before

    def test_sealing_some_files_again_blesses_no_damage_to_others(self, finished):
        (finished / "history.npz").write_bytes(b"damage")
        (finished / "report.html").write_text("new")
        (finished / "plots" / "curves.png").write_bytes(b"drawn again")
        redrawn = ["report.html", "plots/curves.png"]
        for check in ({"besides": redrawn}, {}):
            with pytest.raises(ValueError, match=r": history.npz has changed$"):
                directory.verify(finished, **check)
            directory.seal(finished, redrawn)
        assert "report.html" in directory.verify(finished, besides=["history.npz"])
        manifest = directory.read(finished / "manifest.json")
        assert list(manifest["files"]) == sorted(manifest["files"])

    @pytest.mark.parametrize("name", ["results.jsonl", "plots/curves.png"])
    def test_damage_is_named(self, name, finished):
        data = (finished / name).read_bytes()
        flipped = data[:-1] + bytes([data[-1] ^ 128])
        for changed in (flipped, data[:-1], b"", data + b"\0"):
            (finished / name).write_bytes(changed)
            with pytest.raises(ValueError, match=f": {name} has changed$"):
                directory.verify(finished)
        (finished / "config.json").unlink()
        with pytest.raises(ValueError, match=r"config\.json is missing, .* has chang"):
            directory.verify(finished)
        directory.seal(finished, ["config.json"])  # made again, and gone again
        with pytest.raises(ValueError, match=r"config\.json is missing, .* has chang"):
            directory.verify(finished)

    def test_flipped_bits_of_the_manifest_are_seen(self, tmp_path):
        directory.write(tmp_path / "a.txt", "a")
        directory.seal(tmp_path)
        manifest = tmp_path / "manifest.json"
        data = manifest.read_bytes()
        for bit in range(0, 8 * len(data), 5):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            manifest.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"run|manifest|sealed"):
                directory.verify(tmp_path)

    def test_without_a_manifest_nothing_is_verified_or_renewed(self, tmp_path):
        with pytest.raises(ValueError, match=r"has no manifest.json"):
            directory.verify(tmp_path)
        with pytest.raises(ValueError, match=r"has no manifest.json"):
            directory.seal(tmp_path, ["report.html"])
        directory.write(tmp_path / "manifest.json", [])
        with pytest.raises(ValueError, match="damaged"):
            directory.verify(tmp_path)


class TestLock:
    fcntl = pytest.importorskip("fcntl", reason="Windows locks no folder")
    HOLD = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""

    def test_the_second_writer_is_refused_until_the_first_has_ended(self, tmp_path):
        run = tmp_path / "deep" / "run"
        with directory.locked(str(run)) as path:
            assert path == run
            assert names(run) == []
            refused = f"{run} is being written by another"
            with pytest.raises(ValueError, match=refused), directory.locked(run):
                pass
            with directory.locked(tmp_path / "other"):
                pass
        with pytest.raises(KeyboardInterrupt), directory.locked(run):
            raise KeyboardInterrupt
        with directory.locked(run):
            pass

    def test_a_killed_process_cannot_keep_it(self, tmp_path):
        command = [sys.executable, "-c", self.HOLD, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "held\n"
            refused = pytest.raises(ValueError, match="another process")
            with refused, directory.locked(tmp_path):
                pass
            process.send_signal(signal.SIGKILL)
        with directory.locked(tmp_path):
            pass

    def test_a_file_system_without_locks_goes_without(self, tmp_path, monkeypatch):
        def unsupported(*arguments):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(self.fcntl, "flock", unsupported)
        with directory.locked(tmp_path), directory.locked(tmp_path):
            pass
