"""Augmentation of training images, whole batches at a time.

augment = Compose([RandomRotation(10), RandomShift(0.1, 0.1), RandomHorizontalFlip(), Brightness(0.2)])
Loader(train, 64, shuffle=True, augment=augment, mix=MixUp(num_classes=10))

Augmentations take uint8 or float32 images (n, C, H, W) and a `numpy.random.Generator`; `mix` takes float32
images and labels. Parameters are drawn for a whole batch, and native code on all threads then makes each
image once.
"""

from __future__ import annotations

from .color import Brightness, ChannelShift, ColorJitter, Contrast, Hue, Saturation
from .compose import Compose, OneOf, RandomApply
from .crop import CenterCrop, Pad, RandomCrop, RandomResizedCrop
from .geometry import (
    RandomAffine,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomTranslation,
    RandomVerticalFlip,
    RandomZoom,
    warp_affine,
)
from .keras_generator import ImageDataGenerator
from .mixing import CutMix, MixUp
from .noise import Cutout, GaussianBlur, GaussianNoise
from .policy import RandAugment

__all__ = [
    "Brightness",
    "CenterCrop",
    "ChannelShift",
    "ColorJitter",
    "Compose",
    "Contrast",
    "CutMix",
    "Cutout",
    "GaussianBlur",
    "GaussianNoise",
    "Hue",
    "ImageDataGenerator",
    "MixUp",
    "OneOf",
    "Pad",
    "RandAugment",
    "RandomAffine",
    "RandomApply",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShear",
    "RandomShift",
    "RandomTranslation",
    "RandomVerticalFlip",
    "RandomZoom",
    "Saturation",
    "warp_affine",
]
