"""Arrays in ONNX files: their declared type and shape are checked against the bytes that are there."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from .._arrays import NDArray
from ..errors import FormatError

MAX_DIMS = 32
# Arrays may share bytes of a file: so many beyond twice the file's.
MAX_SHARED_BYTES = 1 << 26
# Numbers of TensorProto.DataType. Those that fastconv does not compute in are read as float32.
_PLAIN: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
    12: np.dtype(np.uint32),
    13: np.dtype(np.uint64),
}
BFLOAT16 = 16
_FIELDS = {
    **dict.fromkeys((2, 3, 4, 5, 6, 9, 10, BFLOAT16), "int32_data"),
    1: "float_data",
    7: "int64_data",
    11: "double_data",
    12: "uint64_data",
    13: "uint64_data",
}


def element_type(what: str, code: int) -> np.dtype[Any]:
    """The element type that values of an ONNX type have here: float16 and bfloat16 become float32."""
    if code in (10, BFLOAT16):
        return _PLAIN[1]
    if code not in _PLAIN:
        raise FormatError(
            f"onnx.load: {what} has element type {code}, expected one of real numbers of 8 to 64 bits or bool"
        )
    return _PLAIN[code]


class TensorReader:
    """Reads the tensors of one file.

    Args:
        folder: where files with external data must lie; None where the model came as bytes.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else os.path.realpath(folder)
        self._sizes: dict[str, int] = {}  # of the files that were read from
        self._read = 0  # bytes of them, those that several arrays share counted for each

    def read(self, tensor: Any, what: str) -> NDArray:
        """The contents of a TensorProto as a new array, or a read-only view of the file's bytes.

        Raises:
            FormatError: the type is not one of numbers, or shape and contents do not fit.
        """
        result_type = element_type(what, tensor.data_type)
        shape = tuple(tensor.dims)
        if len(shape) > MAX_DIMS or min(shape, default=0) < 0:
            raise FormatError(f"onnx.load: {what} has the shape {shape[: MAX_DIMS + 1]}")
        if tensor.HasField("segment"):
            raise FormatError(f"onnx.load: {what} is stored in segments, which ONNX never defined")
        stored = np.dtype(np.uint16) if tensor.data_type == BFLOAT16 else _PLAIN[tensor.data_type]
        if tensor.data_location == 1:
            found = self._external(tensor, what, shape, stored)
        elif tensor.HasField("raw_data"):
            found = _from_bytes(tensor.raw_data, what, shape, stored)
        else:
            found = _from_field(tensor, what, shape, stored)
        if tensor.data_type == BFLOAT16:  # the upper half of a float32
            upper: NDArray = found.astype(np.uint32) << np.uint32(16)
            return upper.view(np.float32)
        return found.astype(result_type, copy=False)

    def _external(
        self, tensor: Any, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> NDArray:
        entries = {e.key: e.value for e in tensor.external_data}
        if not all(isinstance(text, str) for entry in entries.items() for text in entry):
            raise FormatError(f"onnx.load: {what}: external data at names that are no text")
        path = self._inside_folder(entries.get("location", ""), what)
        size = math.prod(shape) * dtype.itemsize
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(size)))
        except ValueError as error:
            raise FormatError(f"onnx.load: {what}: external data at {entries}") from error
        if length != size:
            raise FormatError(
                f"onnx.load: {what} of shape {shape} has {size} bytes, the external data {length}"
            )
        try:
            available = os.path.getsize(path)
            if offset < 0 or offset + size > available:
                raise FormatError(
                    f"onnx.load: {what}: bytes {offset} to {offset + size} of a file of {available}"
                )
            self._sizes[path] = available
            self._read += size
            if self._read > MAX_SHARED_BYTES + 2 * sum(self._sizes.values()):
                raise FormatError(
                    f"onnx.load: {what}: the arrays in external data have {self._read} bytes, the files "
                    f"{sum(self._sizes.values())}"
                )
            with open(path, "rb") as file:
                file.seek(offset)
                return _from_bytes(file.read(size), what, shape, dtype)
        except OSError as error:
            raise FormatError(
                f"onnx.load: {what}: external data cannot be read: {error}"
            ) from error

    def _inside_folder(self, location: str, what: str) -> str:
        """The path of an external file, which must be a plain file below the model's folder."""
        if self._folder is None:
            raise FormatError(
                f"onnx.load: {what} lies in the file {location!r}; load the model by its path"
            )
        path = os.path.join(self._folder, location)
        # realpath follows links, so none can lead out of the folder.
        inside = not os.path.isabs(location) and "\0" not in location and location != ""
        if inside:
            real = os.path.realpath(path)
            inside = os.path.commonpath([self._folder, real]) == self._folder
        if not inside:
            raise FormatError(
                f"onnx.load: {what}: external data at {location!r} is not inside the model's folder"
            )
        if not os.path.isfile(real):
            raise FormatError(f"onnx.load: {what}: external data at {location!r} is missing")
        return real


def _from_bytes(content: bytes, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
    size = math.prod(shape) * dtype.itemsize
    if len(content) != size:
        raise FormatError(
            f"onnx.load: {what} of shape {shape} and type {dtype} has {size} bytes, got {len(content)}"
        )
    return np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)


def _from_field(tensor: Any, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
    values = getattr(tensor, _FIELDS[tensor.data_type])
    if len(values) != math.prod(shape):
        raise FormatError(
            f"onnx.load: {what} of shape {shape} has {math.prod(shape)} elements, got {len(values)}"
        )
    if tensor.data_type == 10:  # the bits of each number
        return _integers(values, what, np.dtype(np.uint16)).view(np.float16).reshape(shape)
    if dtype.kind in "iub":
        return _integers(values, what, dtype).reshape(shape)
    return np.array(values, dtype).reshape(shape)


def _integers(values: Any, what: str, dtype: np.dtype[Any]) -> NDArray:
    wide = np.array(values, np.uint64 if dtype.kind == "u" and dtype.itemsize > 2 else np.int64)
    if dtype.kind != "b" and wide.size:
        limits = np.iinfo(dtype)
        if int(wide.min()) < limits.min or int(wide.max()) > limits.max:
            raise FormatError(f"onnx.load: {what} has values that do not fit {dtype}")
    return wide.astype(dtype)
