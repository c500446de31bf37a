"""Token buckets in a real Redis, from a Python that gevent has patched."""

from __future__ import annotations

import pytest

from tests.support.patched import run_scenario, scenarios
from tests.support.redis_server import RedisServer

TOKEN_BUCKETS = "tests.unit.scenarios.token_buckets"


@pytest.mark.parametrize("scenario", scenarios(TOKEN_BUCKETS))
def test_token_buckets(redis_server: RedisServer, scenario: str) -> None:
    run_scenario(TOKEN_BUCKETS, scenario, redis_server.url)
