"""A pytest plugin that prints the slowest tests and fixtures at the end of a run: ``--slowest=20`` turns it on.

A fixture's time is that of its set-up, over all tests and processes, without that of the fixtures it needs.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

MEASURED = "slowest_fixtures"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slowest", type=int, default=0, metavar="N", help="print the N slowest tests and fixtures")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.slowest:
        config.pluginmanager.register(Slowest(config), "slowest tests and fixtures")


@dataclass
class Setups:
    """The set-ups of one fixture, in seconds."""

    count: int = 0
    total: float = 0.0
    longest: float = 0.0

    def add(self, count: int, total: float, longest: float) -> None:
        self.count += count
        self.total += total
        self.longest = max(self.longest, longest)


class Slowest:
    """Measures fixtures in each process, and prints the result in the main one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._fixtures: dict[str, Setups] = {}
        self._tests: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        begun = time.perf_counter()
        try:
            return (yield)
        finally:
            took = time.perf_counter() - begun
            self._fixture(f"{fixturedef.argname} ({fixturedef.func.__module__})").add(1, took, took)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._tests[report.nodeid] = report.duration

    def pytest_sessionfinish(self) -> None:
        output = getattr(self._config, "workeroutput", None)  # only a worker process of pytest-xdist has it
        if output is not None:
            output[MEASURED] = [[name, one.count, one.total, one.longest] for name, one in self._fixtures.items()]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for name, *measured in getattr(node, "workeroutput", {}).get(MEASURED, []):  # a process that crashed has none
            self._fixture(name).add(*measured)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        most = self._config.option.slowest
        terminalreporter.section(f"slowest {most} tests")
        for name, took in sorted(self._tests.items(), key=lambda item: -item[1])[:most]:
            terminalreporter.line(f"{took:8.2f} s  {name}")
        terminalreporter.section(f"slowest {most} fixtures: all set-ups, how many, the longest")
        for name, one in sorted(self._fixtures.items(), key=lambda item: -item[1].total)[:most]:
            terminalreporter.line(f"{one.total:8.2f} s {one.count:5} {one.longest:8.2f} s  {name}")

    def _fixture(self, name: str) -> Setups:
        return self._fixtures.setdefault(name, Setups())
