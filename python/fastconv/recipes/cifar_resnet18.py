"""CIFAR-10: ResNet-18 with a small stem, on cropped, mirrored and partly hidden images."""

from __future__ import annotations

from .. import manual_seed, models, nn, optim
from ..data import Loader, split
from ..data.augment import Compose, Cutout, RandomCrop, RandomHorizontalFlip
from ..train import Trainer
from .registry import Option, RecipeSettings, register
from .running import Prepared, load_images, measure, run_config, train

__all__ = ["run"]

EPOCHS, BATCH, RATE, MOMENTUM, WEIGHT_DECAY, DEV = 30, 128, 0.1, 0.9, 5e-4, 0.02
STEM = {"stem": "cifar"}  # 3x3 with stride 1 and no pooling
OPTIONS = (
    Option("bf16", "activations and gradients in bfloat16, with float32 weights", False),
    Option("images", "training images at most, dev images left out", 100_000),
)


@register(
    "cifar-resnet18",
    "CIFAR-10 (or other small images) with ResNet-18, crops, flips, cutout and a one-cycle schedule",
    OPTIONS,
)
def run(settings: RecipeSettings) -> dict[str, float]:
    """Train on CIFAR-10's training images but 2 %; the numbers are those after the last epoch.

    Sources: He et al., "Deep residual learning for image recognition" (2016); DeVries & Taylor, "Improved
    regularization of convolutional neural networks with cutout" (2017); Smith & Topin, "Super-convergence" (2018).
    """
    parts = load_images(settings, "cifar10", dev=DEV)
    training, images = parts["train"], int(settings.options["images"])
    if images < len(training):
        training = split(
            training, train=images, dev=0, test=0, seed=settings.seed, on_missing="ignore"
        )["train"]
        parts["train"] = training
    channels, *size = training.image_shape
    augment = Compose(
        [RandomCrop(size, padding=4), RandomHorizontalFlip(), Cutout(min(16, min(size) // 2))]
    )
    batches = Loader(
        training,
        min(BATCH, len(training)),
        shuffle=True,
        seed=settings.seed,
        drop_last=True,
        augment=augment,
    )

    manual_seed(settings.seed)
    net = models.resnet18(len(training.classes), channels, **STEM)

    epochs = settings.epochs or EPOCHS
    optimizer = optim.SGD(
        net.parameters(), lr=RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    schedule = optim.OneCycleLR(optimizer, max_lr=RATE, total_steps=epochs * len(batches))
    trainer = Trainer(
        net,
        nn.CrossEntropyLoss(label_smoothing=0.1),
        optimizer,
        schedule=schedule,
        dtype="bfloat16" if settings.options["bf16"] else "float32",
        out_dir=settings.out,
        seed=settings.seed,
        config=run_config(
            settings,
            "cifar-resnet18",
            data="cifar10",
            model="resnet18",
            model_options=STEM,
            epochs=epochs,
            train=training,
            batch_size=BATCH,
            optimizer="sgd",
            lr=RATE,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            augment=repr(augment),
        ),
    )
    prepared = Prepared(trainer, batches, parts, epochs)
    train(prepared, settings)
    return measure(prepared)
