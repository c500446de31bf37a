"""The connection that requests share, in a Python that gevent has patched."""

from __future__ import annotations

import pytest

from tests.support.patched import run_scenario, scenarios

SHARED_LINK = "tests.unit.scenarios.shared_link"


@pytest.mark.parametrize("scenario", scenarios(SHARED_LINK))
def test_shared_link(scenario: str) -> None:
    run_scenario(SHARED_LINK, scenario)
