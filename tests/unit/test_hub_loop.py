"""The event loops that share a thread with greenlets. Every scenario runs in a Python that gevent has patched."""

from pathlib import Path

import pytest

from tests.support.patched import run_scenario, scenarios

LOOP = "tests.unit.scenarios.loop"
HUB = "tests.unit.scenarios.hub"
TLS = "tests.unit.scenarios.tls"
EXITS = "an_exit_raised_by_a_callback_leaves_the_loop_usable"


@pytest.mark.parametrize("kind", ["hub", "selector"])
@pytest.mark.parametrize("scenario", scenarios(LOOP))
def test_on_either_loop(scenario: str, kind: str) -> None:
    run_scenario(LOOP, scenario, kind)


@pytest.mark.parametrize("scenario", [name for name in scenarios(HUB) if name != EXITS])
def test_on_the_hub_loop(scenario: str) -> None:
    run_scenario(HUB, scenario)


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "SystemExit"])
def test_an_exit_raised_by_a_callback_leaves_the_loop_usable(error: str) -> None:
    run_scenario(HUB, EXITS, error)


@pytest.mark.parametrize("kind", ["hub", "selector"])
def test_https_is_spoken_with_a_server_of_the_same_thread(kind: str, certificate: tuple[Path, Path]) -> None:
    run_scenario(TLS, "https_is_spoken_with_a_server_of_the_same_thread", kind, *map(str, certificate))
