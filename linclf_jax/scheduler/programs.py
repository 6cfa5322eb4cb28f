"""What is compiled and lies on the devices, once for all batches of a study."""

import concurrent.futures as futures
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from linclf_jax.training import execution, streaming
from linclf_jax.training.execution import Program, Start
from linclf_jax.training.settings import Static
from linclf_jax.training.states import Data

Inputs = tuple[str, str]  # see ``Static.inputs``
Key = tuple[Static, int]  # of a program, see ``Programs.key``


class Programs:
    """Data on the devices, and programs that are compiled in the background."""

    def __init__(
        self, data: Mapping[Inputs, Data], width: int, devices: Sequence[Any]
    ) -> None:
        """Places data, by ``Static.inputs``, on the devices; compiles nothing yet."""
        self.width, self.devices = width, tuple(devices)
        self.mesh = execution.make_mesh(self.devices)
        self.data = {
            key: execution.place(value, self.mesh) if in_memory(value) else value
            for key, value in data.items()
        }
        self._compiler = futures.ThreadPoolExecutor(1)
        self._programs: dict[Key, futures.Future[Program]] = {}

    def program(self, static: Static) -> "futures.Future[Program]":
        """Returns the program of a static choice, compiled once, in the background."""
        key = self.key(static)
        if key not in self._programs:
            data = self.data[static.inputs]
            build = execution.build if in_memory(data) else streaming.build
            self._programs[key] = self._compiler.submit(
                build, key[0], data, self.width, self.mesh
            )
        return self._programs[key]

    def key(self, static: Static) -> Key:
        """Returns what a program depends on; of its data, the number of columns."""
        compiled = dataclasses.replace(static, features="", preprocessing="")
        return compiled, self.data[static.inputs].x.shape[1]

    def cancel(self) -> None:
        """Compiles nothing of what is waiting to be; it may be asked for again."""
        for key, program in [*self._programs.items()]:
            if program.cancel():
                del self._programs[key]


def in_memory(data: Data) -> bool:
    """Returns whether rows are on the devices, or read where they are trained on."""
    return isinstance(data.x, jax.Array)


def run(program: Program, starts: Sequence[Start], data: Data, *options: Any) -> Any:
    """Advances batches as ``execution.run`` does, by what the program was built by."""
    own = execution if in_memory(data) else streaming
    return own.run(program, starts, data, *options)


def choose_devices(text: str) -> list[Any]:
    """Returns the first devices of the machine, as many as ``--devices`` says."""
    available = jax.devices()
    count = len(available) if text == "all" else int(text)
    if count > len(available):
        raise ValueError(
            f"--devices is {text}; expected 1 to {len(available)}, or all "
            f"({available[0].device_kind})"
        )
    return available[:count]
