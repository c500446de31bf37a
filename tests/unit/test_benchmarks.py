"""Every benchmark can be started, and the page about performance says what it shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "performance.md"
YARDSTICK = "yardstick"
BENCHMARKS = sorted(path.stem for path in (CHECKOUT / "benchmarks").glob("[a-z]*.py") if path.stem != YARDSTICK)


def test_there_are_benchmarks() -> None:
    assert "chunks" in BENCHMARKS


@pytest.mark.parametrize(("name", "start"), [*((name, "main") for name in BENCHMARKS), (YARDSTICK, "serve")])
def test_a_benchmark_imports_and_has_a_start(name: str, start: str) -> None:
    # In a process of its own: one of them patches its process for gevent.
    command = [sys.executable, "-c", f"from benchmarks.{name} import {start}"]

    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_page_about_performance_names_a_benchmark(name: str) -> None:
    assert f"`dev/bench {name}`" in PAGE.read_text()
