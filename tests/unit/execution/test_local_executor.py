"""The executor of a worker, in a Python that gevent has patched."""

from __future__ import annotations

import pytest

from runtime.execution.failures import log_unexpected
from tests.support.patched import run_scenario, scenarios

EXECUTOR = "tests.unit.scenarios.local_executor"


@pytest.mark.parametrize("scenario", scenarios(EXECUTOR))
def test_local_executor(scenario: str) -> None:
    run_scenario(EXECUTOR, scenario)


def test_the_text_of_such_an_error_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    log_unexpected("run-1", ValueError("what the model wrote"), "its end could not be made")

    assert "run-1: ValueError: its end could not be made" in caplog.text
    assert "what the model wrote" not in caplog.text
