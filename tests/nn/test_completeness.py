"""Every layer of PyTorch is here, or in the list of what is left out."""

from __future__ import annotations

import re

import pytest

from fastconv import nn


def test_layers_are_there_or_listed() -> None:
    torch = pytest.importorskip("torch")
    classes = {n: c for n, c in vars(torch.nn).items() if isinstance(c, type)}
    theirs = {n for n, c in classes.items() if issubclass(c, torch.nn.Module)}
    assert nn.__doc__ is not None
    entries = nn.__doc__.partition("and why:")[2].split("\n- ")[1:]
    listed = {name for e in entries for name in re.findall(r"\w+", e.partition(":")[2])}
    missing = {name for name in theirs if not hasattr(nn, name)}
    assert len(missing) < len(theirs) / 2
    assert missing - listed == set(), "neither here nor in the list"
    assert {name for name in listed if hasattr(nn, name)} == set(), "listed, but here"
