"""Leaves no process behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.output import close_shared_pool


@pytest.fixture(scope="package", autouse=True)
def pool_is_closed() -> Iterator[None]:
    yield
    close_shared_pool()
