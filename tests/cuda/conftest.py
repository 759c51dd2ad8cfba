"""Builds the program that runs kernels on the emulation of a CUDA device, once, and runs its cases."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "cuda-emulation"


class Fault(Exception):
    """What the emulation found wrong with a kernel."""


@dataclass
class Emulation:
    program: Path

    def run(
        self,
        case: str,
        *parameters: int,
        words: np.ndarray | None = None,
        seed: int = 0,
        system_threads: int = 1,
    ) -> tuple[np.ndarray, dict[str, int]]:
        """The words that a case gives, as uint32, and the counters of its launch."""
        command = [str(self.program), case, str(seed), str(system_threads)]
        command += [str(parameter) for parameter in parameters]
        given = b"" if words is None else np.ascontiguousarray(words).tobytes()
        done = subprocess.run(command, input=given, capture_output=True, timeout=120)
        said = done.stderr.decode()
        if done.returncode == 3:
            raise Fault(said.strip())
        assert done.returncode == 0, said
        counters = {name: int(count) for name, count in re.findall(r"^(\w+) (\d+)$", said, re.M)}
        return np.frombuffer(done.stdout, np.uint32), counters


@pytest.fixture(scope="session")
def emulation() -> Emulation:
    """The program of FASTCONV_CUDA_EMULATION_TESTS, or one built here with CMake and the host's compiler."""
    built = os.environ.get("FASTCONV_CUDA_EMULATION_TESTS")
    if built:
        return Emulation(Path(built))
    cmake = shutil.which("cmake")
    if cmake is None or shutil.which("c++") is None:
        pytest.skip("needs cmake and a C++ compiler")
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:  # of workers that test side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = ["-DFASTCONV_CUDA_EMULATION=ON", "-DFASTCONV_CUDA=OFF"]
        configure = [cmake, "-S", str(ROOT / "csrc" / "cuda"), "-B", str(BUILD), *options]
        for command in (configure, [cmake, "--build", str(BUILD), "-j", "2"]):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    return Emulation(BUILD / "cuda_emulation_tests")
