"""Seeing what a network learnt: numbers first, and pictures of them.

The functions that compute need NumPy alone; those that draw (`plot_...`) need matplotlib, and return
a figure of its own that `save_png` writes.
"""

from __future__ import annotations

from .activations import feature_maps, features_for_tsne
from .attribution import cam_layer, grad_cam, saliency
from .augmentations import augmentations_grid
from .charts import plot_confusion, plot_curves, plot_examples, plot_samples
from .classical import (
    CLASSICAL_FILTERS,
    classical_filter,
    plot_classical_filters,
    plot_geometry,
)
from .comparison import plot_comparison
from .examples import Example, answers, confusion, misclassified, top_losses
from .filters import layer_filters, plot_filters
from .maps import plot_feature_maps, plot_overlay
from .report import Report, write_report
from .style import save_png

__all__ = [
    "CLASSICAL_FILTERS",
    "Example",
    "Report",
    "answers",
    "augmentations_grid",
    "cam_layer",
    "classical_filter",
    "confusion",
    "feature_maps",
    "features_for_tsne",
    "grad_cam",
    "layer_filters",
    "misclassified",
    "plot_classical_filters",
    "plot_comparison",
    "plot_confusion",
    "plot_curves",
    "plot_examples",
    "plot_feature_maps",
    "plot_filters",
    "plot_geometry",
    "plot_overlay",
    "plot_samples",
    "saliency",
    "save_png",
    "top_losses",
    "write_report",
]
