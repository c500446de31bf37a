"""Makes skipped tests fail in CI, where everything that a test may need is installed.

A pytest plugin, on when the environment has CI=true. Expected failures (xfail) are left alone.
"""

import os
from collections.abc import Generator

import pytest


def is_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if is_ci() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which fails in CI: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if is_ci() and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped while collecting, which fails in CI: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    # pytest gives the place and reason of a skip as (path, line, reason).
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
