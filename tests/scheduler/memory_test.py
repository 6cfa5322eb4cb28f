"""Sizes, what systems and devices report of their memory, and how much fits it."""

import itertools
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
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
def test_another_text_is_refused(text):
    with pytest.raises(ValueError, match=r"--memory_budget is .* as 8GiB") as refusal:
        memory.parse_size(text)
    assert repr(text) in str(refusal.value)


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


def test_a_plan_is_the_largest_that_fits():
    sizes = ((500, 999, 1000), (0, 150), (0, 1, 250, 333), (1, 7), (1, 3, 9))
    for budget, resident, per_batch, num_batches, most in itertools.product(*sizes):
        plan = memory.plan(
            budget=budget,
            resident=resident,
            per_batch=per_batch,
            num_batches=num_batches,
            most=most,
        )
        fitting = [
            count
            for count in range(1, min(num_batches, most) + 1)
            if resident + count * per_batch <= budget
        ]
        assert plan.at_once == max(fitting)
        assert plan.predicted == resident + plan.at_once * per_batch


def test_what_does_not_fit_is_refused_with_the_numbers_and_what_helps():
    sizes = {"budget": 2000 * MIB, "resident": 500 * MIB, "per_batch": 1500 * MIB + 1}
    with pytest.raises(ValueError, match="--trials_per_batch smaller") as refusal:
        memory.plan(**sizes, num_batches=4, most=4)
    for part in ("1,500.0 MiB", "500.0 MiB", "2,000.0 MiB", "--memory_budget larger"):
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("function", "options", "size"),
    [
        (lambda x: (x @ x.T) @ x, {}, 4 * (300 * 200 + 300 * 300 + 300 * 200)),
        (lambda x: x + 1, {}, 2 * 4 * 300 * 200),
        # An output in the place of an argument counts once.
        (lambda x: x + 1, {"donate_argnums": 0}, 4 * 300 * 200),
    ],
)
def test_a_program_takes_its_arguments_its_outputs_and_what_lies_between(
    function, options, size
):
    x = jax.ShapeDtypeStruct((300, 200), jnp.float32)
    compiled = jax.jit(function, **options).lower(x).compile()
    assert memory.program_bytes(compiled.memory_analysis()) == pytest.approx(
        size, rel=0.05
    )


def test_a_platform_that_does_not_say_counts_as_nothing():
    assert memory.program_bytes(None) == 0


def test_a_real_allocation_that_is_too_large_is_recognised():
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jnp.zeros((2**46,), jnp.uint8).block_until_ready()
    assert memory.is_exhausted(caught.value)


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        (MemoryError(), True),
        (jax.errors.JaxRuntimeError("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY"), True),
        (jax.errors.JaxRuntimeError("INTERNAL: a bug"), False),
        (ValueError("RESOURCE_EXHAUSTED"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_other_errors_are_told_apart(error, exhausted):
    assert memory.is_exhausted(error) == exhausted


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
def test_where_devices_say_nothing_the_host_counts(devices, monkeypatch):
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
    ("files", "available", "limit"),
    [
        ({}, 10**6 * 1024, 999999999 * 1024),
        (VERSION_2, 5000 - 2000 + 500, 5000),
        (VERSION_1, 7000 - 4000 + 1000, 7000),
        (EXCEEDED, 0, 10),
    ],
)
def test_the_host_and_its_control_groups_limit(files, available, limit, tmp_path):
    host = {"proc/meminfo": "MemTotal: 999999999 kB\nMemAvailable: 1000000 kB\n"}
    for name, text in (host | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.host_available(tmp_path) == available
    assert memory.host_limit(tmp_path) == limit


def test_the_smallest_memory_limits_whatever_is_in_use(monkeypatch):
    monkeypatch.setattr(memory, "host_limit", lambda: 9 * GIB)
    assert memory.limit([gpu(10 * GIB, 1 * GIB), gpu(8 * GIB, 7 * GIB)]) == 8 * GIB
    assert memory.limit([gpu(80 * GIB, 0)]) == memory.limit(CPU) == 9 * GIB


def test_a_host_that_does_not_say_is_still_used(tmp_path):
    assert memory.host_available(tmp_path) > MIB
    assert memory.host_limit(tmp_path) > MIB


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


def test_without_proc_the_peak_is_what_posix_reports(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "clear_refs")
    memory.forget_peak()
    in_kib = memory.peak(CPU)
    assert 10 * MIB < in_kib < 2**40  # KiB taken for bytes are neither
    monkeypatch.setattr(sys, "platform", "darwin")  # which counts bytes
    assert memory.peak(CPU) == pytest.approx(in_kib / 1024, rel=0.1)
