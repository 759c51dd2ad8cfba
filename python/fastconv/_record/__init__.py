"""What the native functions add to a graph while it is recorded, a file for each room of ops."""

from . import conv, loss, norm, pointwise, shape
from .pool import Pooling
from .registry import Recorder, recorders

__all__ = ["Pooling", "Recorder", "conv", "loss", "norm", "pointwise", "recorders", "shape"]
