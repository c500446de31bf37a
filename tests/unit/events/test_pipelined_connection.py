"""The pipelined connection, in a Python that gevent has patched."""

from __future__ import annotations

import pytest

from tests.support.patched import run_scenario, scenarios

PIPELINED_CONNECTION = "tests.unit.scenarios.pipelined_connection"


@pytest.mark.parametrize("scenario", scenarios(PIPELINED_CONNECTION))
def test_pipelined_connection(scenario: str) -> None:
    run_scenario(PIPELINED_CONNECTION, scenario)
