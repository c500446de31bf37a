"""The libraries of Dify's clients, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.pydantic_ai.environments import Libraries


@pytest.fixture(scope="session")
def libraries() -> Iterator[Libraries]:
    with Libraries() as libraries:
        yield libraries
