"""Optimisers, learning-rate schedules and gradient clipping, as in `torch.optim`."""

from . import schedules
from .adam import Adam, AdamW
from .clip import clip_grad_norm_, clip_grad_value_
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .scheduler import LRScheduler
from .schedules import (
    CosineAnnealingLR,
    LambdaLR,
    LinearWarmup,
    OneCycleLR,
    StepLR,
)
from .sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LRScheduler",
    "LambdaLR",
    "LinearWarmup",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
    "schedules",
]
