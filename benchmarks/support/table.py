"""Tables of measurements, and the options that all comparisons have."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.support.servers import machine
from benchmarks.support.transport import Transport

BOTH = "both"
CLIENT_CPU = "client CPU"
"""The column with the load process's own share of a core: near 100 % the load was measured, not the server."""


@dataclass(frozen=True, slots=True)
class Options:
    """``rounds``, in each of which all servers take turns, and the transports to measure."""

    rounds: int
    transports: tuple[Transport, ...]


def rounds(description: str | None, *, default: int) -> int:
    """Returns the number of rounds from the command line."""
    return int(_parser(description, default).parse_args().rounds)


def options(description: str | None, *, rounds: int) -> Options:
    """Returns rounds and transports from the command line; ``rounds`` is the default number."""
    parser = _parser(description, rounds)
    parser.add_argument(
        "--transport", choices=[*(one.value for one in Transport), BOTH], default=BOTH, help="how readers follow runs"
    )
    given = parser.parse_args()
    return Options(given.rounds, tuple(Transport) if given.transport == BOTH else (Transport(given.transport),))


def head(title: str, columns: Sequence[str]) -> None:
    """Prints a title, the machine, and the heads of columns."""
    print(f"\n{title}\n{machine()}")
    row("", columns)


def row(name: str, cells: Sequence[str]) -> None:
    """Prints one row."""
    print(f"{name:34}" + "".join(f"{cell:>15}" for cell in cells), flush=True)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ratio(one: float, other: float) -> str:
    """Returns how many times ``other`` goes into ``one``."""
    return f"{one / other:.2f}x" if other else "-"


def _parser(description: str | None, default_rounds: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=default_rounds, help="rounds, in each of which all take turns")
    return parser
