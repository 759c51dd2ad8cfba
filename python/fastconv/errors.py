"""The exception classes of fastconv: every error is a `FastconvError` and a standard kind too."""

from __future__ import annotations

__all__ = [
    "CaptureError",
    "DTypeError",
    "DeviceError",
    "FastconvError",
    "FormatError",
    "ShapeError",
]


class FastconvError(Exception):
    """Base class of every error that fastconv raises on purpose."""


class ShapeError(FastconvError, ValueError):
    """A size, shape, stride, padding or another value does not fit the operation."""


class DTypeError(FastconvError, TypeError):
    """An array or argument has an element type or Python type that the operation does not take."""


class DeviceError(FastconvError, RuntimeError):
    """The device asked for is missing or cannot do what was asked."""


class FormatError(FastconvError, ValueError):
    """A file is damaged, truncated or not of the expected format."""


class CaptureError(FastconvError, RuntimeError):
    """A network cannot be recorded, because what it computes depends on the contents of arrays, or what was
    recorded cannot be written in the form asked for."""
