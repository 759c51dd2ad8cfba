"""Fashion-MNIST: mirrored, shifted and partly hidden clothes, batch normalisation and dropout."""

from __future__ import annotations

from .. import manual_seed, models, nn, optim
from ..data import Loader
from ..data.augment import Compose, Cutout, RandomHorizontalFlip, RandomShift
from ..train import Trainer
from .registry import RecipeSettings, register
from .running import Prepared, load_images, measure, run_config, train

__all__ = ["AUGMENT", "prepare", "run"]

EPOCHS, BATCH, RATE, WEIGHT_DECAY, DROPOUT = 16, 128, 4e-3, 0.02, 0.3
DEV = 0.03  # of the training images, held out
AUGMENT = Compose([RandomHorizontalFlip(), RandomShift(0.07, 0.07), Cutout(8, p=0.5)])


def prepare(settings: RecipeSettings) -> Prepared:
    """Data, augmentation, network and trainer."""
    parts = load_images(settings, "fashion-mnist", dev=DEV)
    training = parts["train"]
    batches = Loader(
        training,
        min(BATCH, len(training)),
        shuffle=True,
        seed=settings.seed,
        drop_last=True,
        augment=AUGMENT,
    )

    manual_seed(settings.seed)
    channels, *size = training.image_shape
    net = models.mnist_cnn_improved(
        len(training.classes), channels, input_size=tuple(size), dropout=DROPOUT
    )

    epochs = settings.epochs or EPOCHS
    optimizer = optim.AdamW(net.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = optim.OneCycleLR(optimizer, max_lr=RATE, total_steps=epochs * len(batches))
    trainer = Trainer(
        net,
        nn.CrossEntropyLoss(),
        optimizer,
        schedule=schedule,
        out_dir=settings.out,
        seed=settings.seed,
        config=run_config(
            settings,
            "fashion-mnist",
            data="fashion-mnist",
            model="mnist_cnn_improved",
            epochs=epochs,
            train=training,
            batch_size=BATCH,
            optimizer="adamw",
            lr=RATE,
            weight_decay=WEIGHT_DECAY,
            dropout=DROPOUT,
            augment=repr(AUGMENT),
        ),
    )
    return Prepared(trainer, batches, parts, epochs)


@register("fashion-mnist", "Fashion-MNIST with batch-norm, flips, shifts and cutout")
def run(settings: RecipeSettings) -> dict[str, float]:
    """Train on Fashion-MNIST's training images but 3 %; the numbers are those after the last epoch."""
    prepared = prepare(settings)
    train(prepared, settings)
    return measure(prepared)
