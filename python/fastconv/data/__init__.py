"""Data for training: file readers, data sets by name, and batches.

train = load_dataset("bundled", "train")
for images, labels in Loader(train, batch_size=64, shuffle=True):
    ...                               # float32 (64, 1, 28, 28), int64 (64,)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .arrays import load_arrays
from .batching import Augment, Batch, Mix, Transform, batch_rng
from .catalogue import DatasetInfo, class_names, dataset_info
from .cifar import load_cifar
from .dataset import ArrayDataset, Dataset
from .folder import ImageFiles, ImageFolder
from .idx import load_idx
from .image import load_image
from .loader import Loader
from .parts import load_parts, statistics
from .preprocessing import PRESETS, Preprocess, Scaling, imagenet_classes
from .sampling import BalancedSampler, Sampler, WeightedSampler, epoch_order
from .sources import cache_folder, load_dataset
from .splitting import split
from .subset import ConcatDataset, Subset, WeightedDataset
from .table import CsvImages
from .transforms import Resize, Standardize

if TYPE_CHECKING:
    from . import augment as augment

__all__ = [
    "PRESETS",
    "ArrayDataset",
    "Augment",
    "BalancedSampler",
    "Batch",
    "ConcatDataset",
    "CsvImages",
    "Dataset",
    "DatasetInfo",
    "ImageFiles",
    "ImageFolder",
    "Loader",
    "Mix",
    "Preprocess",
    "Resize",
    "Sampler",
    "Scaling",
    "Standardize",
    "Subset",
    "Transform",
    "WeightedDataset",
    "WeightedSampler",
    "augment",
    "batch_rng",
    "cache_folder",
    "class_names",
    "dataset_info",
    "epoch_order",
    "imagenet_classes",
    "load_arrays",
    "load_cifar",
    "load_dataset",
    "load_idx",
    "load_image",
    "load_parts",
    "split",
    "statistics",
]


def __getattr__(name: str) -> Any:
    if name == "augment":  # loaded on first use
        return importlib.import_module(f"{__name__}.augment")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
