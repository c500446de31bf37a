"""The error, type and reason of a failed run."""

from __future__ import annotations

import logging
import re

import pytest
from pydantic_ai.exceptions import (
    AgentRunError,
    ContentFilterError,
    IncompleteToolCall,
    ModelAPIError,
    ModelHTTPError,
    OutputTokenLimitExceeded,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
    UserError,
)
from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelResponse, ThinkingPart

from errors import OutputCheckUnavailable
from runtime.events.run_log import EventBytesExceeded
from runtime.execution.failures import failed_end
from runtime.llm.unsupported import UnsupportedRequest
from runtime.protocol.redaction import Redactor

SECRET = "sk-very-secret"


def test_the_step_limit_has_an_error_type_of_its_own() -> None:
    end = failed_end("run", UsageLimitExceeded("too many requests"), Redactor([]))

    assert (end.error, end.error_type) == ("the run reached its limit of model requests", "agent_run_limit_exceeded")


def test_a_providers_response_body_is_not_shown() -> None:
    end = failed_end("run", ModelHTTPError(503, "model", body={"internal": "details"}), Redactor([]))

    assert end.error == "the model provider answered with status 503"


ANSWER = "what-the-model-wrote at https://models.example.com/v1"


def answer(**details: str) -> str:
    """An answer as the library quotes it."""
    return ModelMessagesTypeAdapter.dump_json(
        [ModelResponse(parts=[ThinkingPart(ANSWER)], provider_url=ANSWER, provider_details=dict(details))]
    ).decode()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ContentFilterError(f"Content filter triggered. {ANSWER}", answer(finish_reason="SAFETY")), "content_filter"),
        (ContentFilterError(ANSWER, answer(finish_reason="refusal")), "refusal"),
        (ContentFilterError(ANSWER, answer(refusal=ANSWER)), "refusal"),
        (ContentFilterError(ANSWER), "content_filter"),
        (ContentFilterError(ANSWER, ANSWER), "content_filter"),
        (IncompleteToolCall(f"{ANSWER} Increase the `max_tokens` model setting"), "model_output_limit"),
        (OutputTokenLimitExceeded(ANSWER), "model_output_limit"),
        (UnexpectedModelBehavior(ANSWER, answer()), "unexpected_model_behavior"),
        (ModelAPIError("model", ANSWER), "model_error"),
        (UserError(f"Please use another class. {ANSWER}"), "model_request_unsupported"),
        (AgentRunError(ANSWER), "agent_run_error"),
    ],
)
def test_an_error_of_the_library_becomes_a_short_sentence(
    error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    end = failed_end("run", error, Redactor([]))

    assert end.reason == reason
    assert end.error is not None
    assert len(end.error) < 80
    assert not re.search(r"what-the-model-wrote|http|max_tokens|class|retries", end.error)
    assert "what-the-model-wrote" not in caplog.text


def test_the_tool_that_a_model_cannot_handle_is_named_and_nothing_else() -> None:
    text = "Tool 'search' exceeded max retries count of 1. Consider raising the retry budget."

    end = failed_end("run", UnexpectedModelBehavior(text), Redactor([]))
    quoted = failed_end("run", UnexpectedModelBehavior(text.replace("search", ANSWER)), Redactor([]))

    assert end.error == "the model kept calling the tool search in a way that cannot be run"
    assert quoted.error == "the model answered in a way that the run cannot go on with"
    assert end.reason == quoted.reason == "unexpected_model_behavior"


def test_an_unsupported_request_is_reported_without_secrets() -> None:
    end = failed_end("run", UnsupportedRequest(f"no files with {SECRET}"), Redactor([SECRET, SECRET[:6]]))

    assert end.error == "no files with [REDACTED]"


def test_an_output_that_cannot_be_checked_is_no_internal_error() -> None:
    end = failed_end("run", OutputCheckUnavailable(), Redactor([]))

    assert (end.reason, end.error) == ("output_check_unavailable", OutputCheckUnavailable().message)


def test_too_many_event_bytes_are_a_storage_failure() -> None:
    assert failed_end("run", EventBytesExceeded(), Redactor([])).reason == "storage"


def test_an_unexpected_error_is_logged_without_secrets_and_reported_as_internal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        end = failed_end("run-1", RuntimeError(f"boom {SECRET}"), Redactor([SECRET]))

    assert end.error == "the run failed because of an internal error"
    assert "run run-1: unexpected error" in caplog.text
    assert "builtins.RuntimeError" in caplog.text
    assert SECRET not in caplog.text
