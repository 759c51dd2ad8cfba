"""Data for training: file readers, data sets by name, and batches.

train = load_dataset("bundled", "train")
for images, labels in Loader(train, batch_size=64, shuffle=True):
    ...                               # float32 (64, 1, 28, 28), int64 (64,)
"""

from __future__ import annotations

from .catalogue import DatasetInfo, class_names, dataset_info
from .dataset import ArrayDataset
from .idx import load_idx
from .image import load_image
from .loader import Batch, Loader, Transform, epoch_order
from .preprocessing import PRESETS, Preprocess, Scaling, imagenet_classes
from .sources import cache_folder, load_dataset
from .transforms import Resize, Standardize

__all__ = [
    "PRESETS",
    "ArrayDataset",
    "Batch",
    "DatasetInfo",
    "Loader",
    "Preprocess",
    "Resize",
    "Scaling",
    "Standardize",
    "Transform",
    "cache_folder",
    "class_names",
    "dataset_info",
    "epoch_order",
    "imagenet_classes",
    "load_dataset",
    "load_idx",
    "load_image",
]
