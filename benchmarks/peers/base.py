"""What an adapter provides: callables that do a case's work, one for each setting worth timing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..cases import Array, Case
from ..exchange import onnx_model


class Unsupported(Exception):
    """The peer has no such operation; the message says what is missing."""


@dataclass
class Job:
    """One way to run a case.

    Attributes:
        variant: name of the setting, for the tables.
        call: does the work once and returns its results, which the timer drops. It does all that a
            user's call would: outputs are allocated inside.
        outputs: runs once and returns the results by name, spatial ones as NCHW, to compare.
        like: the arrays that go in and out have the memory layout of the case.
        enter: sets what the library keeps as global state, once before each turn.
    """

    variant: str
    call: Callable[[], Any]
    outputs: Callable[[], dict[str, Array]]
    like: bool = True
    enter: Callable[[], Any] | None = None


class Peer(ABC):
    """An engine, alive in a process of its own."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]  # what must be importable
    install: ClassVar[str]  # the command that makes it so

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.skipped: dict[str, str] = {}  # variants of the case that cannot run, and why

    @classmethod
    def missing(cls) -> str | None:
        """One line saying what to install, or None where everything is there."""
        lacking = [p for p in cls.packages if importlib.util.find_spec(p) is None]
        if not lacking:
            return None
        return f"peer {cls.name} needs {', '.join(lacking)}, which is not installed: {cls.install}"

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions and settings that a reader needs to repeat the measurement."""

    @abstractmethod
    def prepare(self, case: Case, inputs: dict[str, Any]) -> list[Job]:
        """The jobs of a case; `inputs` are those of `cases.make_inputs`. Raises Unsupported."""

    def limits(self, footprint: int, seconds: float) -> dict[str, float]:
        """FMA peak (GFLOP/s) and stream bandwidth at `footprint` bytes (GB/s), on all threads."""
        raise Unsupported(f"{self.name} does not measure the machine")


class FilePeer(Peer):
    """An engine that runs networks from files: inference of the `network` cases, and nothing else."""

    def prepare(self, case: Case, inputs: dict[str, Any]) -> list[Job]:
        if case.op != "network" or case.direction != "inference":
            raise Unsupported(f"{self.name} runs whole networks, inference only")
        return self.infer(case, inputs["x"])

    @abstractmethod
    def infer(self, case: Case, x: Array) -> list[Job]:
        """The jobs of a network on one batch (N, C, H, W)."""

    def converted(
        self, case: Case, command: Sequence[str], batch: int | None = None
    ) -> tempfile.TemporaryDirectory[str]:
        """A folder with the network as `model.onnx` and what the converter `command` makes of it there."""
        folder = tempfile.TemporaryDirectory(prefix="fastconv-bench-")
        with open(f"{folder.name}/model.onnx", "wb") as file:
            file.write(onnx_model(case.params["network"], batch or case.shape[0]))
        program = shutil.which(command[0], path=os.path.dirname(sys.executable)) or command[0]
        done = subprocess.run(
            [program, *command[1:]], cwd=folder.name, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unsupported(f"{self.name}: conversion failed: {done.stderr.strip()[-200:]}")
        return folder
