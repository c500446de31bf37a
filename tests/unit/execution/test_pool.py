"""The run pool, in a Python that gevent has patched."""

from __future__ import annotations

import pytest

from tests.support.patched import run_scenario, scenarios

POOL = "tests.unit.scenarios.pool"


@pytest.mark.parametrize("scenario", scenarios(POOL))
def test_pool(scenario: str) -> None:
    run_scenario(POOL, scenario)
