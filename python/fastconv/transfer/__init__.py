"""Transfer learning: a network that was trained on much data, taught another task with little.

net = fc.models.create("vgg16", weights="vgg16.safetensors")
history = fc.transfer.fine_tune(net, train, val, num_classes=4, head_epochs=20, epochs=5)
"""

from __future__ import annotations

from .features import extract_features
from .freezing import freeze, unfreeze
from .heads import find_heads, replace_head
from .insertion import insert_batch_norm
from .rates import param_groups
from .recipe import fine_tune

__all__ = [
    "extract_features",
    "find_heads",
    "fine_tune",
    "freeze",
    "insert_batch_norm",
    "param_groups",
    "replace_head",
    "unfreeze",
]
