"""Networks by name."""

from __future__ import annotations

import re

import pytest

import fastconv as fc
from fastconv import models, nn
from fastconv.models import registry


def test_names_and_creation() -> None:
    assert "lenet5" in fc.models.list() and fc.models.list() == sorted(fc.models.list())
    net = fc.models.create("lenet5", num_classes=3)
    assert isinstance(net, nn.Module) and net.fc3.weight.shape == (3, 84)
    entry = models.info("lenet5")
    assert entry.input_shape == (1, 28, 28) and "1998" in entry.source
    assert entry.builder is models.lenet5


def test_unknown_names() -> None:
    with pytest.raises(fc.ShapeError, match=r"no network named 'lenet6'; there are .*lenet5"):
        fc.models.create("lenet6")
    with pytest.raises(fc.DTypeError, match="must be a string, got int"):
        fc.models.create(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="colour"):
        fc.models.create("lenet5", colour="red")


def test_registering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_networks", dict(registry._networks))

    @models.register(input_shape=(3, 8, 8), source="here")
    def tiny(width: int = 2) -> nn.Module:
        return nn.Linear(width, width)

    assert "tiny" in models.list() and models.create("tiny", width=4).in_features == 4
    with pytest.raises(fc.ShapeError, match="already a network named 'tiny'"):
        models.register(input_shape=(3, 8, 8), source="again")(tiny)


@pytest.mark.parametrize("name", fc.models.list())
def test_docstrings_name_the_paper(name: str) -> None:
    assert re.search(r"Sources?: .*\w+.*\(?(19|20)\d\d", fc.models.info(name).builder.__doc__, re.S)
