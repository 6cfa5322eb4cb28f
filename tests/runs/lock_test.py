"""One writer for each run directory."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from linclf_jax.runs import lock

fcntl = pytest.importorskip("fcntl", reason="Windows locks no folder")

HOLD = """
import sys, time
from linclf_jax.runs import lock
with lock.locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_new_folder_is_made_and_nothing_is_left_in_it(tmp_path):
    folder = tmp_path / "deep" / "run"
    with lock.locked(str(folder)) as path:
        assert path == folder
        assert path.is_dir()
    assert not list(folder.iterdir())


def test_the_second_writer_is_refused_until_the_first_has_ended(tmp_path):
    with lock.locked(tmp_path):
        with (
            pytest.raises(ValueError, match=f"{tmp_path} is being written by another"),
            lock.locked(tmp_path),
        ):
            pass
        with lock.locked(tmp_path / "other"):
            pass
    with lock.locked(tmp_path):
        pass


def test_an_error_inside_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyboardInterrupt), lock.locked(tmp_path):
        raise KeyboardInterrupt
    with lock.locked(tmp_path):
        pass


def test_a_killed_process_cannot_keep_it(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another process"), lock.locked(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    with lock.locked(tmp_path):
        pass


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match="is a file, expected a run directory"),
        lock.locked(tmp_path / "file"),
    ):
        pass


def test_a_file_system_without_locks_goes_without(tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with lock.locked(tmp_path), lock.locked(tmp_path):
        pass
