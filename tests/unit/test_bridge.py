"""The bridge from greenlets to coroutines, over both kinds of loop, in a Python that gevent has patched."""

import pytest

from tests.support.patched import run_scenario, scenarios

BRIDGE = "tests.unit.scenarios.bridge"


@pytest.mark.parametrize("kind", ["hub", "selector"])
@pytest.mark.parametrize("scenario", scenarios(BRIDGE))
def test_bridge(scenario: str, kind: str) -> None:
    run_scenario(BRIDGE, scenario, kind)


def test_a_failed_scenario_is_reported_with_its_output() -> None:
    with pytest.raises(AssertionError, match="no_such_scenario"):
        run_scenario(BRIDGE, "no_such_scenario", "hub")
