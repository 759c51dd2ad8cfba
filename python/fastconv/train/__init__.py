"""Training: the loop, what is reported while it runs, and checkpoints that continue it bit for bit.

trainer = fc.train.Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.05),
out_dir="runs/a") trainer.fit(Loader(train, 64, shuffle=True), Loader(test, 256), epochs=10)
trainer.evaluate(Loader(test, 256))        # {"loss": ..., "accuracy": ..., "images": ...}
"""

from __future__ import annotations

from .callbacks import Callback
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .evaluation import evaluate, predict
from .history import plot_history, write_history
from .losses import ClassWeighted, MultiLoss, balanced_weights, soft_sharing
from .metrics import (
    F1,
    Accuracy,
    ConfusionMatrix,
    MeanLoss,
    Metric,
    Precision,
    Recall,
    Running,
    TopK,
    count_correct,
)
from .trainer import Trainer

__all__ = [
    "F1",
    "Accuracy",
    "Callback",
    "Checkpoint",
    "ClassWeighted",
    "ConfusionMatrix",
    "MeanLoss",
    "Metric",
    "MultiLoss",
    "Precision",
    "Recall",
    "Running",
    "TopK",
    "Trainer",
    "balanced_weights",
    "count_correct",
    "evaluate",
    "load_checkpoint",
    "plot_history",
    "predict",
    "save_checkpoint",
    "soft_sharing",
    "write_history",
]
