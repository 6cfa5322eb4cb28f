"""A folder in the user's cache is private from its first moment, or refused."""

import os
import stat
from pathlib import Path

import pytest

from linclf_jax.data import private_folder

posix = pytest.mark.skipif(os.name == "nt", reason="no modes")


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


@posix
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_new_folder_is_private_from_its_first_moment(tmp_path, monkeypatch, umask):
    monkeypatch.setattr(Path, "chmod", lambda *_: pytest.fail("closed too late"))
    before = os.umask(umask)
    try:
        private_folder.make(tmp_path / "new" / "kept")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new" / "kept") == 0o700


@posix
@pytest.mark.parametrize("loose", [0o777, 0o755, 0o770, 0o701])
def test_a_folder_that_is_open_to_others_is_closed(tmp_path, loose):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept").chmod(loose)
    private_folder.make(tmp_path / "kept")
    assert mode(tmp_path / "kept") == 0o700
