"""What the model is told when a tool could not do its work."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx2
import pytest

from runtime.llm.plugin_daemon.errors import PluginDaemonError
from runtime.llm.plugin_daemon.failures import Failures
from runtime.llm.plugin_tools.refusals import refusal

CANARY = "sk-canary-7f3a9"

CREDENTIALS = "refused its credentials"
NOT_FOUND = "There is no tool named search"
PARAMETERS = "did not take its parameters"
LATER = "Try again later"


def in_stream(error_type: str, message: str = "went wrong", *, wraps: int = 0) -> PluginDaemonError:
    report = json.dumps({"error_type": error_type, "message": message})
    for _ in range(wraps):
        report = json.dumps({"error_type": "PluginInvokeError", "message": report})
    return Failures("search", [CANARY]).reported(report)


@pytest.mark.parametrize(
    ("error_type", "told"),
    [
        ("CredentialsValidateFailedError", CREDENTIALS),
        ("ToolProviderCredentialValidationError", CREDENTIALS),
        ("InvokeAuthorizationError", CREDENTIALS),
        ("PluginDaemonUnauthorizedError", CREDENTIALS),
        ("PluginUnauthorizedError", CREDENTIALS),
        ("PluginPermissionDeniedError", CREDENTIALS),
        ("ToolNotFoundError", NOT_FOUND),
        ("ToolProviderNotFoundError", NOT_FOUND),
        ("PluginDaemonNotFoundError", NOT_FOUND),
        ("PluginNotFoundError", NOT_FOUND),
        ("PluginDaemonBadRequestError", PARAMETERS),
        ("ToolParameterValidationError", PARAMETERS),
        ("ValidationError", PARAMETERS),
        ("InvokeRateLimitError", "The tool search failed: went wrong."),
        ("ToolInvokeError", "The tool search failed: went wrong."),
        ("FileNotFoundError", "The tool search failed: went wrong."),
        ("PluginDaemonInternalServerError", "The tool search failed: went wrong."),
        ("KeyError", "The tool search failed: went wrong."),
    ],
)
@pytest.mark.parametrize("wraps", [0, 2])
def test_each_kind_of_refusal_says_what_the_model_can_do(error_type: str, told: str, wraps: int) -> None:
    assert told in refusal("search", in_stream(error_type, wraps=wraps))


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, PARAMETERS),
        (401, CREDENTIALS),
        (403, CREDENTIALS),
        (404, NOT_FOUND),
        (422, PARAMETERS),
        (500, "The tool search failed"),
    ],
)
def test_an_http_status_says_as_much(status: int, told: str) -> None:
    assert told in refusal("search", Failures("search", []).refused(status, b"<html>", {}))


@pytest.mark.parametrize(
    "make",
    [
        lambda failures: failures.timed_out("all tool calls of this worker were in use for 5 seconds", "pool"),
        lambda failures: failures.broken(httpx2.ReadTimeout("x"), answered=True),
        lambda failures: failures.broken(httpx2.ConnectError("x"), answered=False),
        lambda failures: failures.broken(httpx2.RemoteProtocolError("x"), answered=True),
    ],
)
def test_a_tool_that_cannot_be_reached_may_be_tried_later(make: Callable[[Failures], PluginDaemonError]) -> None:
    assert LATER in refusal("search", make(Failures("search", [])))


@pytest.mark.parametrize("error_type", ["ToolInvokeError", "ValidationError", "ToolNotFoundError"])
def test_a_message_is_shown_without_the_credentials_in_it(error_type: str) -> None:
    told = refusal("search", in_stream(error_type, f"key {CANARY} has no access"))

    assert "[REDACTED] has no access" in told
    assert CANARY not in told
