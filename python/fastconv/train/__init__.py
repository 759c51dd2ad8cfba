"""Training: the loop, what is reported while it runs, and checkpoints that continue it bit for bit.

trainer = fc.train.Trainer(net, F.cross_entropy, fc.optim.SGD(net.parameters(), lr=0.05),
out_dir="runs/a") trainer.fit(Loader(train, 64, shuffle=True), Loader(test, 256), epochs=10)
trainer.evaluate(Loader(test, 256))        # {"loss": ..., "accuracy": ..., "images": ...}
"""

from __future__ import annotations

from .callbacks import (
    EMA,
    BestCheckpoint,
    Callback,
    CSVLog,
    EarlyStopping,
    LearningRateSchedule,
    ReduceOnPlateau,
    TensorBoard,
    WarmUp,
)
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .diagnosis import Diagnosis, Share, diagnose, evaluate_parts, read_evaluations
from .estimator import ConvClassifier
from .evaluation import evaluate, predict
from .history import plot_history, write_history
from .image_weights import ImageWeighted
from .keras_style import History, KerasStyle
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
from .rate_finder import LearningRates, find_learning_rate
from .trainer import Trainer

__all__ = [
    "EMA",
    "F1",
    "Accuracy",
    "BestCheckpoint",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "ClassWeighted",
    "ConfusionMatrix",
    "ConvClassifier",
    "Diagnosis",
    "EarlyStopping",
    "History",
    "ImageWeighted",
    "KerasStyle",
    "LearningRateSchedule",
    "LearningRates",
    "MeanLoss",
    "Metric",
    "MultiLoss",
    "Precision",
    "Recall",
    "ReduceOnPlateau",
    "Running",
    "Share",
    "TensorBoard",
    "TopK",
    "Trainer",
    "WarmUp",
    "balanced_weights",
    "count_correct",
    "diagnose",
    "evaluate",
    "evaluate_parts",
    "find_learning_rate",
    "load_checkpoint",
    "plot_history",
    "predict",
    "read_evaluations",
    "save_checkpoint",
    "soft_sharing",
    "write_history",
]
