"""Checks beside greenlets and coroutines of one worker, in a Python that gevent has patched."""

from __future__ import annotations

import pytest

from tests.support.patched import run_scenario, scenarios

OUTPUT = "tests.unit.scenarios.output"


@pytest.mark.parametrize("scenario", scenarios(OUTPUT))
def test_output(scenario: str) -> None:
    run_scenario(OUTPUT, scenario)


def test_output_on_the_other_loop() -> None:
    run_scenario(OUTPUT, "coroutines_of_both_loops_can_check", "selector")
