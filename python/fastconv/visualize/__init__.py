"""Seeing what a network learnt: numbers first, and pictures of them.

The functions that compute need NumPy alone; those that draw (`plot_...`) need matplotlib, and return
a figure of its own that `save_png` writes.
"""

from __future__ import annotations

from .activations import feature_maps, features_for_tsne
from .attribution import cam_layer, grad_cam, saliency
from .examples import Example, answers, confusion, misclassified, top_losses

__all__ = [
    "Example",
    "answers",
    "cam_layer",
    "confusion",
    "feature_maps",
    "features_for_tsne",
    "grad_cam",
    "misclassified",
    "saliency",
    "top_losses",
]
