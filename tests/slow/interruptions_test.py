"""Runs as processes: killed at random, told to stop, on eight devices."""

import subprocess
import sys
import time

import pytest

from linclf_jax.config import flat
from linclf_jax.scheduler import signals
from tests import kill_sweep, sweeps

SCRIPT = (sys.executable, "-m", "experiments.sweep")


@pytest.mark.parametrize("more", [(), ("--halving=3",)], ids=["all", "halving"])
def test_a_sweep_survives_kills_at_random_moments(more, tmp_path):
    """Five of them; ``python -m tests.kill_sweep`` does fifty."""
    assert kill_sweep.run(tmp_path, *more, kills=5).total() == 5


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_process_with_75_within_ten_seconds(name, tmp_path):
    # What a shell runs in the background is told to ignore Ctrl-C: this one is not.
    heeding = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    command = (
        *(sys.executable, "-c", heeding, "-m", "experiments.sweep", "--dataset=iris"),
        *("--epochs=100000", "--trials_per_batch=1", "--checkpoint_every=0"),
        *(f"--out_dir={tmp_path / 'run'}", "--compilation_cache=none"),
    )
    process = subprocess.Popen(
        command, cwd=sweeps.ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        started = kill_sweep.wait_for(process, tmp_path / "run", "pieces/*.npz")
        assert started, process.stderr.read()
        began = time.monotonic()
        process.send_signal(getattr(signals.signal, name))
        _, printed = process.communicate(timeout=60)
    finally:
        process.kill()  # or a failure would wait for it
        process.wait()
    assert process.returncode == signals.EXIT_STATUS == 75, printed
    assert time.monotonic() - began < 10
    assert f"{name}: stopping as soon as the state is saved" in printed
    assert f"stopped by {name}: 0 of 1024 trials are done and saved; the sa" in printed
    assert list((tmp_path / "run" / "pieces").glob("*.state-*.npz"))


def test_eight_devices_write_the_bytes_of_one(tmp_path):
    flagfile = tmp_path / "flags.txt"
    flagfile.write_text(flat.to_flagfile(sweeps.SMALL))
    for devices in ("1", "all"):
        done = subprocess.run(
            [
                *(*SCRIPT, f"--flagfile={flagfile}", f"--devices={devices}"),
                f"--out_dir={tmp_path / devices}",
                f"--compilation_cache={tmp_path / 'cache'}",
            ],
            cwd=sweeps.ROOT,
            env={
                "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
                "HOME": str(tmp_path),
                "JAX_PLATFORMS": "cpu",
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert sweeps.contents(tmp_path / "all") == sweeps.contents(tmp_path / "1")
