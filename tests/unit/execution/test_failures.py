"""What a failed run says of itself."""

from __future__ import annotations

import logging

import pytest
from pydantic_ai.exceptions import ModelHTTPError, UnexpectedModelBehavior, UsageLimitExceeded

from errors import OutputCheckUnavailable
from runtime.events.run_log import EventBytesExceeded
from runtime.execution.failures import failed_end
from runtime.protocol.redaction import Redactor

SECRET = "sk-very-secret"


def test_the_step_limit_has_an_error_type_of_its_own() -> None:
    end = failed_end("run", UsageLimitExceeded("too many requests"), Redactor([]))

    assert (end.error, end.error_type) == ("the run reached its limit of model requests", "agent_run_limit_exceeded")


def test_a_providers_body_is_not_told() -> None:
    end = failed_end("run", ModelHTTPError(503, "model", body={"internal": "details"}), Redactor([]))

    assert end.error == "the model provider answered with status 503"


def test_an_agents_error_is_told_without_secrets() -> None:
    end = failed_end("run", UnexpectedModelBehavior(f"no output with {SECRET}"), Redactor([SECRET, SECRET[:6]]))

    assert end.error == "no output with [REDACTED]"


def test_an_output_that_cannot_be_checked_is_no_internal_error() -> None:
    end = failed_end("run", OutputCheckUnavailable(), Redactor([]))

    assert (end.reason, end.error) == ("output_check_unavailable", OutputCheckUnavailable().message)


def test_too_many_event_bytes_are_a_storage_failure() -> None:
    assert failed_end("run", EventBytesExceeded(), Redactor([])).reason == "storage"


def test_an_unforeseen_error_is_logged_without_secrets_and_told_as_internal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        end = failed_end("run-1", RuntimeError(f"boom {SECRET}"), Redactor([SECRET]))

    assert end.error == "the run failed because of an internal error"
    assert "run run-1: unexpected error" in caplog.text
    assert "builtins.RuntimeError" in caplog.text
    assert SECRET not in caplog.text
