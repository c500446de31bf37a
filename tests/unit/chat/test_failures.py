"""The errors that a chat client gets for failed runs."""

from __future__ import annotations

from typing import Any

import pytest

from services.chat.failures import chat_failure

RUN = "run-1"


def failure(error: str = "it broke", **rest: Any) -> tuple[str, int]:
    failed = chat_failure({"error": error, **rest}, RUN)
    return failed.code, failed.status


def message(error: str, **rest: Any) -> str:
    return chat_failure({"error": error, **rest}, RUN).message


@pytest.mark.parametrize(
    ("data", "code", "status"),
    [
        ({}, "completion_request_error", 400),
        ({"reason": "model_unavailable"}, "completion_request_error", 400),
        ({"reason": "InvokeServerUnavailableError"}, "completion_request_error", 400),
        ({"reason": "something of a plugin's own"}, "completion_request_error", 400),
        ({"reason": "worker_lost"}, "completion_request_error", 400),
        ({"reason": "timeout"}, "completion_request_error", 400),
        ({"reason": "output_validation_failed"}, "completion_request_error", 400),
        ({"reason": "model_quota_exceeded"}, "provider_quota_exceeded", 400),
        ({"reason": "model_rate_limited"}, "rate_limit_error", 429),
        ({"reason": "InvokeRateLimitError"}, "rate_limit_error", 429),
        ({"error_type": "agent_run_limit_exceeded"}, "agent_run_limit_exceeded", 400),
        ({"reason": None, "error_type": None}, "completion_request_error", 400),
    ],
)
def test_the_reason_decides_the_code(data: dict[str, Any], code: str, status: int) -> None:
    assert failure(**data) == (code, status)


@pytest.mark.parametrize(
    "reason", ["InvokeAuthorizationError", "CredentialsValidateFailedError", "model_credentials_refused"]
)
def test_refused_credentials_are_reported_in_one_sentence(reason: str) -> None:
    assert message("key sk-canary is wrong", reason=reason) == "Incorrect API key provided"
    assert failure(reason=reason) == ("completion_request_error", 400)


def test_the_text_names_the_run() -> None:
    assert message("gpt-5: the provider failed (status 500)") == (
        "gpt-5: the provider failed (status 500) (agent_run_id=run-1)"
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            "[openai] Server Error, Error code: 500 - {'error': {'message': 'canary'}}",
            "[openai] Server Error, Error code: 500",
        ),
        ("bad gateway:\n<html><body>canary</body></html>", "bad gateway"),
        ('[{"canary": 1}]', "the run failed"),
        ('{"canary": 1}', "the run failed"),
        ("failed: ['canary', 'b']", "failed"),
        ("<!DOCTYPE html>canary", "the run failed"),
        ("", "the run failed"),
        ("1 < 2 [really]", "1 < 2 [really]"),
        ("a\0b", "ab"),
    ],
)
def test_no_body_of_a_provider_is_repeated(error: str, told: str) -> None:
    assert message(error) == f"{told} (agent_run_id=run-1)"
