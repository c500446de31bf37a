"""Tables of what was measured, and the options that all comparisons have."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

from benchmarks.support.servers import machine


def rounds(description: str | None, *, default: int) -> int:
    """The number of rounds from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=default, help="rounds, in each of which all take turns")
    return int(parser.parse_args().rounds)


def head(title: str, columns: Sequence[str]) -> None:
    """Print a title, the machine, and the heads of columns."""
    print(f"\n{title}\n{machine()}")
    row("", columns)


def row(name: str, cells: Sequence[str]) -> None:
    """Print one row."""
    print(f"{name:34}" + "".join(f"{cell:>15}" for cell in cells), flush=True)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ratio(one: float, other: float) -> str:
    """How many times ``other`` goes into ``one``."""
    return f"{one / other:.2f}x" if other else "-"
