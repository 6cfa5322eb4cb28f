"""The cache folder is private or refused, and a second process compiles nothing."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from linclf_jax.cli import compilation_cache

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="no modes")

# Prints the folder, how many programs came from it, and the bits of a result.
SCRIPT = """
import sys
import jax, jax.numpy as jnp
from linclf_jax.cli import compilation_cache

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
folder = compilation_cache.enable_cache(sys.argv[1] if sys.argv[1:] else None)

@jax.jit
def train(W, x):
    def step(W, _):
        for _ in range(8):  # long enough to compile that it is kept
            W = W - 0.1 * jnp.sort(jnp.tanh(x.T @ jnp.exp(x @ W)), axis=0)
        return W, jnp.linalg.norm(W)
    return jax.lax.scan(step, W, None, length=5)

W, _ = train(jnp.ones((6, 3)), jnp.ones((7, 6)))
print(folder, events.count("/jax/compilation_cache/cache_hits"), W.tobytes().hex())
"""


def start(*arguments, complaint="", **environment):
    hidden = ("JAX_", "XDG_", "PYTHONWARNINGS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert complaint in done.stderr if complaint else not done.stderr
    folder, hits, result = done.stdout.split()
    return folder, int(hits), result


@pytest.fixture
def settings():
    """Takes back what a call has set for the whole process."""
    names = (
        *("jax_compilation_cache_dir", "jax_enable_compilation_cache"),
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_a_second_process_takes_its_programs_from_the_cache(tmp_path):
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    folder, hits, result = start(**cache)
    assert Path(folder) == tmp_path / "linclf_jax" / "xla"
    assert hits == 0
    (entry,) = Path(folder).glob("jit_train-*")
    same_folder, hits, same_bits = start(**cache)
    assert (same_folder, same_bits) == (folder, result)
    assert hits >= 1
    assert [*Path(folder).glob("jit_train-*")] == [entry]
    for path in Path(folder).iterdir():
        path.write_bytes(path.read_bytes()[:-100])  # as a full disk leaves it
    again = start(complaint="Error reading persistent compilation cache", **cache)
    assert again == (folder, 0, result)


def test_without_a_cache_nothing_is_kept(tmp_path):
    names = "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"
    wanted = dict.fromkeys(names, str(tmp_path))
    wanted |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    assert start("none", **wanted)[:2] == ("None", 0)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_the_user_has_set_up_is_used(tmp_path, monkeypatch, settings):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    assert compilation_cache.enable_cache(None) == tmp_path / "mine"
    assert not list(tmp_path.iterdir())


@posix
def test_a_folder_of_somebody_else_is_refused(tmp_path, monkeypatch, settings):
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ValueError, match=f"--compilation_cache.*by user {owner}"):
        compilation_cache.enable_cache(str(tmp_path))
    assert jax.config.jax_compilation_cache_dir is None


@posix
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("link", r"is a symbolic link to .*elsewhere"),
        ("file", "is no folder"),
        ("file/xla", "cannot be used"),
    ],
)
def test_what_is_no_private_folder_is_refused(name, message, tmp_path, settings):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"--compilation_cache.*{message}") as refusal:
        compilation_cache.enable_cache(str(tmp_path / name))
    assert str(refusal.value).endswith("or none")
    assert jax.config.jax_compilation_cache_dir is None


def home_is_a_file(monkeypatch, tmp_path):
    (tmp_path / "home").write_text("no folder can be made below a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)


def has_no_home(monkeypatch, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)


@pytest.mark.parametrize("user", [home_is_a_file, cannot_be_written, has_no_home])
def test_a_default_that_cannot_be_used_is_logged_and_stops_nothing(
    user, tmp_path, monkeypatch, settings, caplog
):
    user(monkeypatch, tmp_path)
    with caplog.at_level("INFO", "linclf_jax"):
        assert compilation_cache.enable_cache(None) is None
    (message,) = caplog.messages
    assert message.startswith("no compilation cache, programs are compiled anew: ")
    assert len(message.splitlines()) == 1
    assert jax.config.jax_compilation_cache_dir is None


def test_the_default_lies_in_the_cache_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compilation_cache.default_folder() == tmp_path / "linclf_jax" / "xla"
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        expected = tmp_path / "home" / ".cache" / "linclf_jax" / "xla"
        assert compilation_cache.default_folder() == expected
