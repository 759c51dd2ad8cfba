"""What an adapter provides: callables that do a case's work, one for each setting worth timing."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..cases import Array, Case


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
