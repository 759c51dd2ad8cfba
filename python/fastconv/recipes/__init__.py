"""Recipes: from data to a trained network and its numbers, one command each.

fastconv recipe                          # what there is
fastconv recipe mnist --out runs/digits  # data, augmentation, network, training, result

`recipes.run("mnist", epochs=5)` does the same from Python. Each recipe is a module that reads from top to bottom:
the place to start from for one's own.
"""

from . import cifar_resnet18, experiments, fashion_mnist, mnist, multi_task
from .registry import RESULTS, Option, Recipe, RecipeSettings, info, list_recipes, register, run

# fastconv.recipes.list() reads best from outside; in here it would hide the builtin.
list = list_recipes

__all__ = [
    "RESULTS",
    "Option",
    "Recipe",
    "RecipeSettings",
    "cifar_resnet18",
    "experiments",
    "fashion_mnist",
    "info",
    "list",
    "mnist",
    "multi_task",
    "register",
    "run",
]
