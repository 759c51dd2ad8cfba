"""Weights in files: what reads and writes them, and writing that never leaves half a file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arrays import NDArray
from .formats import read_arrays
from .formats.safetensors import read, require_safetensors, serialize

if TYPE_CHECKING:
    from .nn import Module

__all__ = [
    "load",
    "load_metadata",
    "read",
    "remove_stale_temporaries",
    "require_safetensors",
    "save",
    "serialize",
    "write_atomically",
]

PathLike = str | os.PathLike[str]


def save(
    net_or_dict: Module | Mapping[str, Any],
    path: PathLike,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the arrays of a network or of a dictionary to a safetensors file.

    The file appears whole or not at all: until the last byte is on the disk, an older file of the
        same name
    stays as it was.

    Args:
        net_or_dict: a `nn.Module`, whose `state_dict()` is written, or a mapping of names to arrays
            (NumPy, `Tensor` or DLPack): bool, integers of 8 to 64 bits, bfloat16, float16, float32
            or float64, of any shape.
        path: the file to write. A symbolic link is followed.
        metadata: names and values, both strings, to keep in the file's header.

    Raises:
        DTypeError: what is given is neither, or an array has an element type that is not listed
            above, or a name or a piece of metadata is not a string.
        ImportError: the package safetensors is not installed.
        OSError: the file cannot be written.
    """
    content = serialize("save", net_or_dict, metadata)
    write_atomically(path, content)


def load(
    path: PathLike,
    *,
    key: str | None = None,
    prefix: str = "",
    flatten_shape: Sequence[int] | None = None,
) -> dict[str, NDArray]:
    """Read the arrays of a file of weights, whatever wrote it: its contents tell the format.

    - safetensors, by the package of that name.
    - PyTorch's `torch.save` of a state dict, in the zip format and the one before version 1.6. The
      pickle inside is read by a machine that knows tensors, numbers, strings and containers and runs
      no code; anything else in it is an error. PyTorch is not needed. Tensors that shared memory
      when they were saved are views of one array.
    - Keras's `.keras`, `.weights.h5` and `.h5`, with names and shapes as in PyTorch: see
      `fastconv.load_keras`, which also puts them into a network. HDF5 is not needed.

    bfloat16 becomes float32, which holds each of its numbers exactly. Sizes that a file claims are
    checked against the file's own before memory is allocated.

    Args:
        path: the file.
        key: where the state dict lies in a PyTorch checkpoint that holds more than that, for
            instance "state_dict"; dots lead into inner dictionaries.
        prefix: a start to take off the names that have it, such as the "module." of DataParallel.
        flatten_shape: for Keras files, (H, W, C) in front of Flatten where the file does not say.

    Returns:
        Names and new writable arrays; those of safetensors sorted by name, others in the file's
        order. For a network: `net.load_state_dict(fc.load(path))`.

    Raises:
        FormatError: the file is damaged, truncated, too long or of an unknown format, has an element
            type that NumPy lacks (8-bit floats), a pickle that does more than hold weights, or
            nothing at `key`; or two names are one without `prefix`.
        DTypeError, ShapeError: `key`, `prefix` or `flatten_shape` is of another kind.
        ImportError: the package safetensors is needed and not installed.
        OSError: the file is missing (FileNotFoundError) or cannot be read.
    """
    return read_arrays("load", path, key=key, prefix=prefix, flatten_shape=flatten_shape)


def load_metadata(path: PathLike) -> dict[str, str]:
    """The metadata that a safetensors file was saved with; no array is read. Raises as `load`
    does."""
    return read("load_metadata", path, arrays=False)[1]


def write_atomically(path: PathLike, content: bytes) -> None:
    """Write a file that appears whole or not at all, whatever happens meanwhile.

    The bytes go to a temporary file in the same folder and to the disk, then take the name (POSIX
    rename), then the folder goes to the disk. When any of that fails, the temporary file is
    removed.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write the file {os.fspath(path)}: it is a folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write the file {os.fspath(path)}: there is no folder {target.parent}"
        )
    temporary = target.with_name(f"{_temporary_start()}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_stale_temporaries(folder: PathLike) -> None:
    """Remove temporary files left in `folder` by processes of this machine killed while writing."""
    start = _temporary_start()
    for leftover in Path(folder).glob(".fastconv-*.tmp"):
        pid = leftover.name.removeprefix(start).partition("-")[0]
        if leftover.name.startswith(start) and pid.isdigit() and not _is_running(int(pid)):
            leftover.unlink(missing_ok=True)


def _temporary_start() -> str:
    return f".fastconv-{os.uname().nodename}-"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
