"""What the tests of networks share."""

from __future__ import annotations

from typing import Any

import pytest

from fastconv.nn import init


@pytest.fixture
def unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are not drawn: large networks are built in no time and almost without memory."""

    def leave(tensor: Any, *args: Any, **options: Any) -> Any:
        return tensor

    for name in ("uniform_", "normal_", "trunc_normal_"):
        monkeypatch.setattr(init, name, leave)
