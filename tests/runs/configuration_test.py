"""Configurations: what makes two runs the same run, and what the environment says."""

import platform
import shutil
import subprocess
from pathlib import Path

import jax
import pytest

from linclf_jax.runs import configuration, directory

ENVIRONMENT = {
    **{"linclf_jax": "0.1", "jax": "0.10.2", "jaxlib": "0.10.2", "optax": "0.2.8"},
    **{"numpy": "2.4.0", "x64": False, "python": "3.12.1", "platform": "Linux"},
    "devices": {"backend": "cpu", "kinds": ["cpu"], "count": 1},
}
CONFIG = {
    "experiment": "sweep",
    "flags": {"l2": 1, "a": {"b": 1}, "none": None},
    "data": {"train": 5, "test": 40},
    "environment": ENVIRONMENT,
}


def changed(section, **changes):
    return {**CONFIG, section: {**CONFIG[section], **changes}}


def devices(**changes):
    return changed("environment", devices={**ENVIRONMENT["devices"], **changes})


@pytest.mark.parametrize(
    ("here", "text"),
    [
        (changed("flags", l2=True), "flags.l2 is 1 there and true here"),
        (changed("flags", l2=1.0), "flags.l2 is 1 there and 1.0 here"),
        (changed("flags", more=2), "flags.more is absent there and 2 here"),
        (changed("flags", a={"b": 2}), "flags.a.b is 1 there and 2 here"),
        (changed("flags", none=0), "flags.none is null there and 0 here"),
        (changed("data", train=6), "data.train is 5 there and 6 here"),
        (changed("environment", x64=True), "environment.x64 is false there and true"),
        (devices(backend="gpu"), 'devices.backend is "cpu" there and "gpu" here'),
        (devices(kinds=["H100"]), 'devices.kinds is ["cpu"] there and ["H100"] here'),
        *(
            (
                changed("environment", **{name: "9.9"}),
                f'environment.{name} is "{ENVIRONMENT[name]}" there and "9.9" here',
            )
            for name in ("linclf_jax", "jax", "jaxlib", "optax", "numpy")
        ),
    ],
)
def test_what_may_change_a_result_is_a_difference(here, text):
    (difference,) = configuration.differences(CONFIG, here)
    assert text in difference


def test_what_changes_no_result_is_no_difference():
    git, others = {"commit": "c0ffee"}, {"python": "3.11.9", "platform": "Linux-6.8"}
    for here in (
        CONFIG,
        {**CONFIG, "flags": dict(reversed(CONFIG["flags"].items()))},
        changed("data", test=39),
        changed("environment", git=git, **others),
        devices(count=8),
    ):
        assert configuration.differences(CONFIG, here) == []


def test_every_name_that_is_compared_is_in_the_environment():
    flat = configuration.environment()
    flat |= {f"devices.{name}": value for name, value in flat["devices"].items()}
    assert set(configuration.BEARING) <= set(flat)


@pytest.mark.parametrize("there", [None, [1], {}, {"flags": 3}])
def test_a_foreign_config_is_a_difference(there):
    assert configuration.differences(there, CONFIG)


def test_environment(tmp_path):
    found = configuration.environment()
    assert found["python"] == platform.python_version()
    assert found["jax"] == jax.__version__
    assert found["devices"]["count"] == jax.device_count()
    assert found["devices"]["kinds"] == [jax.devices()[0].device_kind]
    assert found["x64"] is True
    with jax.enable_x64(False):
        assert configuration.environment()["x64"] is False
    directory.write(tmp_path / "environment.json", found)
    assert directory.read(tmp_path / "environment.json") == found


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout whose only committed file is `package/code.py`."""
    if shutil.which("git") is None:
        pytest.fail("these tests need git")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("x = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(
        tmp_path,
        *("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"),
        *("commit", "--quiet", "--no-verify", "--message", "code"),
    )
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_commit_and_whether_the_code_was_changed(checkout):
    package = checkout / "package"
    commit = git(checkout, "rev-parse", "HEAD")
    assert configuration.git_state(package) == {"commit": commit, "dirty": False}
    (checkout / "results.jsonl").write_text("{}")  # which is no code
    assert configuration.git_state(package) == {"commit": commit, "dirty": False}
    (package / "code.py").write_text("x = 2\n")
    assert configuration.git_state(package) == {"commit": commit, "dirty": True}
    git(checkout, "checkout", "--quiet", ".")
    # A new file counts, whatever the user wants to see of new files.
    git(checkout, "config", "status.showUntrackedFiles", "no")
    (checkout / "new").mkdir()
    (checkout / "new" / "experiment.py").write_text("")
    assert configuration.git_state(package) == {"commit": commit, "dirty": True}


def test_no_commit_outside_a_checkout_or_in_a_foreign_one(checkout, monkeypatch):
    installed = checkout / "site-packages"
    installed.mkdir()
    (installed / "code.py").write_text("")
    assert configuration.git_state(installed) is None
    assert configuration.git_state(checkout.parent) is None
    monkeypatch.setenv("PATH", "")
    assert configuration.git_state(checkout / "package") is None
