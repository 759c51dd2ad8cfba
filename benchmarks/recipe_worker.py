"""One engine that trains a recipe, in a process of its own, started by `recipes.py` with its name and the threads.

Requests and replies are JSON, one object a line, as those of `worker.py`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import peers
from .worker import own_stdout, serve

WARM_UP = 8  # batches


class OurRecipe:
    """The shipped recipe, `fastconv.recipes.<module>`, epoch by epoch."""

    def __init__(self, module: str, data: str | None, epochs: int, seed: int) -> None:
        import importlib

        recipe = importlib.import_module(f"fastconv.recipes.{module}")
        from fastconv.recipes import RecipeSettings

        self._folder = tempfile.TemporaryDirectory()
        for name in ("warm-up", "run"):
            out = Path(self._folder.name) / name
            settings = RecipeSettings(data=data, epochs=epochs, out=out, seed=seed, quiet=True)
            self.made = recipe.prepare(settings)
            if name == "warm-up":
                for (x, labels), _ in zip(self.made.batches, range(WARM_UP), strict=False):
                    self.made.trainer.step(x, labels)

    def close(self) -> None:
        self._folder.cleanup()

    def choose(self, batches: int = 0) -> dict[str, float]:
        return {}

    def epoch(self) -> float:
        """Train for an epoch, its checkpoint and history included; seconds."""
        trainer = self.made.trainer
        began = time.perf_counter()
        trainer.fit(self.made.batches, epochs=trainer.epoch + 1, progress=False)
        return time.perf_counter() - began

    def accuracy(self) -> float:
        from fastconv.data import Loader

        result = self.made.trainer.evaluate(Loader(self.made.parts["test"], 256))
        return float(result["accuracy"])


class RecipeWorker:
    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.peer = peers.load(name)(threads)
        self.recipe: Any = None

    def start(
        self,
        module: str,
        data: str | None,
        epochs: int,
        seed: int,
        arrays: str,
        told: dict[str, Any],
    ) -> dict[str, Any]:
        if self.name == "fastconv":
            self.recipe = OurRecipe(module, data, epochs, seed)
        else:
            from .recipe_torch import TorchRecipe

            with np.load(arrays) as kept:
                held = {name: kept[name] for name in kept.files}
            self.recipe = TorchRecipe(held, told, epochs, seed, workers=self.peer.threads)
        return {}

    def choose(self, batches: int) -> dict[str, Any]:
        pieces = self.recipe.choose(batches)
        chosen = max(pieces, key=lambda name: pieces[name]) if pieces else ""
        return {"pieces": pieces, "chosen": chosen}

    def epoch(self) -> dict[str, Any]:
        return {"seconds": self.recipe.epoch()}

    def accuracy(self) -> dict[str, Any]:
        return {"accuracy": self.recipe.accuracy()}

    def versions(self) -> dict[str, Any]:
        return {"versions": self.peer.versions()}


def main(argv: list[str]) -> int:
    replies = own_stdout()
    worker = RecipeWorker(argv[0], int(argv[1]))
    names = ("start", "choose", "epoch", "accuracy", "versions")
    code = serve({name: getattr(worker, name) for name in names}, replies)
    sys.stderr.flush()
    os._exit(code)  # the workers of a DataLoader may hang on


if __name__ == "__main__":
    main(sys.argv[1:])
