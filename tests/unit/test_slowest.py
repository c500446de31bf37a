"""What a run of the tests prints about slow ones."""

from __future__ import annotations

from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

pytest_plugins = ["pytester"]

TESTS = """
import time
import pytest

@pytest.fixture
def slow():
    time.sleep(1)

@pytest.fixture
def needing(slow):
    pass

def test_quick(needing): pass
def test_second(slow): time.sleep(1)
"""


@pytest.mark.parametrize("processes", [0, 2])
def test_the_slowest_tests_and_fixtures_are_printed_in_order(
    processes: int, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_them=TESTS)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    plugins = ["-p", "tests.support.slowest", "-p", "no:cacheprovider"]

    run = pytester.runpytest_subprocess(*plugins, "--slowest=2", "-n", str(processes))

    run.stdout.fnmatch_lines(
        [
            "*slowest 2 tests*",
            " * s  test_them.py::test_second",
            " * s  test_them.py::test_quick",
            "*slowest 2 fixtures*",
            " * s     2 * s  slow (test_them)",
            " * s     1 * s  needing (test_them)",
        ],
        consecutive=True,
    )
