"""The server's end of a WebSocket, in a Python that gevent has patched."""

import pytest

from tests.support.patched import run_scenario, scenarios

SUBSCRIBER_SOCKET = "tests.unit.scenarios.subscriber_socket"


@pytest.mark.parametrize("scenario", scenarios(SUBSCRIBER_SOCKET))
def test_subscriber_socket(scenario: str) -> None:
    run_scenario(SUBSCRIBER_SOCKET, scenario)
