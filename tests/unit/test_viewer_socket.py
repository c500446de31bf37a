"""The server's end of a WebSocket, in a Python that gevent has patched."""

import pytest

from tests.support.patched import run_scenario, scenarios

VIEWER_SOCKET = "tests.unit.scenarios.viewer_socket"


@pytest.mark.parametrize("scenario", scenarios(VIEWER_SOCKET))
def test_viewer_socket(scenario: str) -> None:
    run_scenario(VIEWER_SOCKET, scenario)
