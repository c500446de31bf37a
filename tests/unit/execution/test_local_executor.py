"""The executor of a worker, in a Python that gevent has patched."""

from __future__ import annotations

import pytest

from tests.support.patched import run_scenario, scenarios

EXECUTOR = "tests.unit.scenarios.local_executor"


@pytest.mark.parametrize("scenario", scenarios(EXECUTOR))
def test_local_executor(scenario: str) -> None:
    run_scenario(EXECUTOR, scenario)
