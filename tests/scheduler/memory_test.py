"""Sizes as people write them, and what systems and devices tell of their memory."""

import sys
from typing import NamedTuple

import numpy as np
import pytest

from linclf_jax.scheduler import memory

MIB, GIB = 2**20, 2**30
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Device(NamedTuple):
    """A device as far as its memory goes."""

    platform: str
    stats: dict | None = None

    def memory_stats(self):
        return self.stats


CPU = (Device("cpu"), Device("cpu"))


def gpu(limit, used, most=0):
    stats = {"bytes_limit": limit, "bytes_in_use": used, "peak_bytes_in_use": most}
    return Device("gpu", stats)


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def host(available):
    return {"proc/meminfo": f"MemTotal: 999999999 kB\nMemAvailable: {available} kB\n"}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 * GIB),
        ("512MiB", 512 * MIB),
        ("1.5GB", 1_500_000_000),
        ("1.001KB", 1001),  # 1000.99 in binary
        ("0.5KiB", 512),
        ("200000", 200_000),
        (" 3 kB ", 3000),
        ("2tib", 2 * 2**40),
        ("1B", 1),
        ("1.9", 1),
    ],
)
def test_a_size_is_understood(text, size):
    assert memory.parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "0GiB", "0.5", "-1GiB", "8G", "GiB", "1e9", "0x10", "nan", "inf"),
        *("1.5.5GB", "1,5GB", "8GiB 8GiB", "\uff18GiB", "9" * 5000, "8 G iB"),
    ],
)
def test_another_text_is_refused_with_what_was_found(text):
    with pytest.raises(ValueError, match="--memory_budget is") as refusal:
        memory.parse_size(text)
    assert repr(text) in str(refusal.value)
    assert "8GiB" in str(refusal.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (int(3.2 * GIB), "3.2 GiB"),
        (5000 * 2**40, "5000.0 TiB"),
    ],
)
def test_a_size_is_readable(size, text):
    assert memory.format_size(size) == text


def test_the_fullest_gpu_decides():
    devices = [gpu(10 * GIB, 1 * GIB, 5), gpu(10 * GIB, 4 * GIB, 8), gpu(80 * GIB, 0)]
    assert memory.available(devices) == int(0.9 * 6 * GIB)
    assert memory.resident(devices) == 4 * GIB
    assert memory.peak(devices) == 8
    assert memory.available([gpu(GIB, 2 * GIB)]) == 0  # in excess of its limit


@pytest.mark.parametrize(
    "devices",
    [
        CPU,
        (Device("cpu", {"bytes_limit": 9, "bytes_in_use": 1}),),  # of the host's memory
        (Device("gpu"),),
        (Device("gpu", {}),),
    ],
)
def test_where_devices_do_not_tell_the_host_counts(devices, monkeypatch):
    monkeypatch.setattr(memory, "host_available", lambda: 1000)
    assert memory.available(devices) == 900
    assert memory.resident(devices) > MIB  # of a Python with NumPy
    assert memory.peak(devices) >= memory.resident(devices) - MIB


VERSION_1 = {
    "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/docker/1f\n0::/\n",
    # Inside the container its own folder is at the top.
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "7000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
    "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 1000\n",
}
VERSION_2 = {
    "proc/self/cgroup": "0::/batch/job\n",
    "sys/fs/cgroup/batch/job/memory.max": "max\n",
    "sys/fs/cgroup/batch/job/memory.current": "900\n",
    "sys/fs/cgroup/batch/memory.max": "5000\n",
    "sys/fs/cgroup/batch/memory.current": "2000\n",
    "sys/fs/cgroup/batch/memory.stat": "anon 1500\ninactive_file 500\n",
}
EXCEEDED = {
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/memory.max": "10",
    "sys/fs/cgroup/memory.current": "20",
}


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, 10**6 * 1024),
        (VERSION_2, 5000 - 2000 + 500),
        (VERSION_1, 7000 - 4000 + 1000),
        (EXCEEDED, 0),
    ],
)
def test_the_host_and_its_control_groups_limit(files, available, tmp_path):
    write(tmp_path, host(10**6) | files)
    assert memory.host_available(tmp_path) == available


def test_a_host_that_does_not_tell_is_still_used(tmp_path):
    assert memory.host_available(tmp_path) > MIB


@linux
def test_this_host_has_some_of_its_memory_left():
    assert MIB < memory.host_available() < memory._installed()


@linux
def test_the_peak_shows_what_was_freed_long_before():
    memory.forget_peak()
    before = memory.resident(CPU)
    block = np.ones(200 * MIB, np.uint8)  # touched, so that it is resident
    assert memory.resident(CPU) - before == pytest.approx(200 * MIB, abs=8 * MIB)
    del block
    assert memory.peak(CPU) - before == pytest.approx(200 * MIB, abs=8 * MIB)
    assert memory.resident(CPU) - before < 100 * MIB
    memory.forget_peak()
    assert memory.peak(CPU) - before < 100 * MIB


def test_without_proc_the_peak_is_what_posix_tells(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "clear_refs")
    memory.forget_peak()
    assert 10 * MIB < memory.peak(CPU) < 2**40  # KiB taken for bytes are neither


def test_macos_counts_in_bytes(monkeypatch):
    in_kib = memory._most_since_start()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory._most_since_start() == pytest.approx(in_kib / 1024, rel=0.1)
