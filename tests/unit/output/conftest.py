"""Leaves no process behind, and lets what is generated take its time on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from runtime.output import close_shared_pool

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="package", autouse=True)
def pool_is_closed() -> Iterator[None]:
    yield
    close_shared_pool()
