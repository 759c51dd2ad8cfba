"""What holds for every test, and two options that spare a second run what a first one showed:
`pytest --passed-to FILE`, then, with more packages installed, `pytest --without FILE`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The choice of algorithms, which some tests look at, is the built-in one, not that of this machine's file.
os.environ.setdefault("FASTCONV_TUNING", "off")


class _Passed:
    """Writes the names of the tests that pass, in the process that gathers the workers' reports."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.names.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.file.write_text("\n".join(self.names), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastconv")
    group.addoption("--passed-to", metavar="FILE", type=Path, help="write which tests passed")
    group.addoption("--without", metavar="FILE", type=Path, help="leave out the tests in FILE")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("passed_to")
    if file is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Passed(file))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    file = config.getoption("without")
    if file is None:
        return
    passed = set(file.read_text(encoding="utf-8").splitlines())
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]
