"""The output of commands: tables for people, JSON for programs, and errors in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from errors import GreenrunError
from runtime.protocol.problems import problems_text

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Adds ``--json`` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Prints the columns of the rows, each as wide as it has to be; null is shown as a dash."""
    lines = [[column.upper() for column in columns]]
    lines += [["-" if row[column] is None else _printable(str(row[column])) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@contextmanager
def errors_told() -> Iterator[None]:
    """Ends a command that fails with an expected error, with the error's message and exit code 1."""
    try:
        yield
    except GreenrunError as error:
        raise click.ClickException(error.message) from None
    except ValidationError as error:
        raise click.ClickException(problems_text(error)) from None


def _printable(text: str) -> str:
    """Returns the text without line breaks and without what a terminal would interpret."""
    return "".join(character if character.isprintable() else " " for character in text)
