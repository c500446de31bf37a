"""The messages and error types of failed model calls."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    UserError,
)

from runtime.llm.plugin_daemon import PluginDaemonError
from runtime.llm.plugin_daemon.failures import Failures
from runtime.llm.plugin_daemon.reports import MAX_DEPTH, DaemonReport, read_report

SECRET = 'sk-"secret"-key'


def failures(*secrets: str) -> Failures:
    return Failures("gpt", secrets)


def report(error_type: str, message: Any = "it broke", args: Any = None) -> str:
    return json.dumps({"message": message, "error_type": error_type, "args": args})


@pytest.mark.parametrize(
    ("error_type", "status", "category"),
    [
        ("PluginDaemonUnauthorizedError", 401, ModelAuthenticationError),
        ("InvokeAuthorizationError", 401, ModelAuthenticationError),
        ("PluginPermissionDeniedError", 403, ModelAuthenticationError),
        ("PluginDaemonBadRequestError", 400, ModelRequestRejectedError),
        ("InvokeBadRequestError", 400, ModelRequestRejectedError),
        ("CredentialsValidateFailedError", 400, ModelRequestRejectedError),
        ("PluginUniqueIdentifierError", 400, ModelRequestRejectedError),
        ("PluginDaemonNotFoundError", 404, ModelNotFoundError),
        ("PluginNotFoundError", 404, ModelNotFoundError),
        ("InvokeRateLimitError", 429, ModelRateLimitError),
        ("PluginDaemonInternalServerError", 500, ModelServerError),
        ("PluginDaemonInnerError", 500, ModelServerError),
        ("InvokeConnectionError", 503, ModelUnavailableError),
        ("InvokeServerUnavailableError", 503, ModelUnavailableError),
    ],
)
def test_a_reported_error_type_means_a_status(error_type: str, status: int, category: type[ModelAPIError]) -> None:
    error = failures().reported(report(error_type))

    assert isinstance(error, ModelHTTPError)
    assert isinstance(error, category)
    assert error.status_code == status
    assert error.error_type == error_type
    assert error.daemon_message == "it broke"
    assert error.in_stream
    assert str(error) == f"{error_type}: it broke"


@pytest.mark.parametrize("error_type", ["EndpointSetupFailedError", "TriggerProviderCredentialValidationError"])
def test_a_mistake_in_the_setup_is_a_user_error(error_type: str) -> None:
    error = failures().reported(report(error_type))

    assert isinstance(error, UserError)
    assert isinstance(error, PluginDaemonError)
    assert (error.error_type, error.daemon_message) == (error_type, "it broke")


@pytest.mark.parametrize("error_type", ["PluginInvokeError", "ConnectionClosedError", "unknown", "KeyError"])
def test_any_other_type_is_an_api_error_that_names_it(error_type: str) -> None:
    error = failures().reported(report(error_type))

    assert isinstance(error, ModelAPIError)
    assert not isinstance(error, ModelHTTPError)
    assert str(error) == f"{error_type}: it broke"


def test_a_wrapped_report_counts_whatever_the_depth() -> None:
    inner = report("InvokeRateLimitError", "slow down")
    for _ in range(3):
        inner = report("PluginInvokeError", inner)

    error = failures().reported(inner)

    assert isinstance(error, ModelRateLimitError)
    assert (error.error_type, error.daemon_message) == ("InvokeRateLimitError", "slow down")


def test_unwrapping_ends() -> None:
    inner = report("InvokeRateLimitError")
    for _ in range(MAX_DEPTH):
        inner = report("PluginInvokeError", inner)

    assert read_report(inner) == DaemonReport("PluginInvokeError", "")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("plain text", DaemonReport(None, "plain text")),
        (report("A", report("B", "b")), DaemonReport("A", "b")),
        (report("PluginInvokeError", report("B", "b")), DaemonReport("B", "b")),
        ({"message": report("A", "a")}, DaemonReport("A", "a")),
        ({"error_type": "A", "message": "a"}, DaemonReport("A", "a")),
        (report("A", "", {"description": "described"}), DaemonReport("A", "described")),
        (report("A", "[openai] Rate limit reached"), DaemonReport("A", "[openai] Rate limit reached")),
        (report("A", '{"error": {"message": "raw"}}'), DaemonReport("A", "")),
        (report("A", '{"cut off": '), DaemonReport("A", "")),
        (report("A", '[{"raw": true}]'), DaemonReport("A", "")),
        (report("A", " <!DOCTYPE html><html>raw"), DaemonReport("A", "")),
        (report("A", {"raw": True}), DaemonReport("A", "")),
        ({"detail": "raw"}, DaemonReport(None, "")),
        (None, DaemonReport(None, "")),
        ([1], DaemonReport(None, "")),
        (5, DaemonReport(None, "")),
    ],
)
def test_the_innermost_message_for_people_is_found(raw: object, expected: DaemonReport) -> None:
    assert read_report(raw) == expected


def test_an_http_refusal_is_unwrapped_and_its_status_wins() -> None:
    body = json.dumps({"code": -400, "message": report("PluginNotFoundError", "no such plugin"), "data": None})

    error = failures().refused(400, body.encode(), {"Retry-After": "3", "Set-Cookie": "a=b"})

    assert isinstance(error, ModelHTTPError)
    assert isinstance(error, ModelRequestRejectedError)
    assert error.status_code == 400
    assert (error.error_type, error.daemon_message) == ("PluginNotFoundError", "no such plugin")
    assert error.retry_after == 3
    assert error.headers == {"retry-after": "3"}
    assert error.body is None


def test_a_bare_429_is_a_rate_limit() -> None:
    error = failures().refused(429, b"<html>slow down</html>", {})

    assert isinstance(error, ModelRateLimitError)
    assert error.error_type == "InvokeRateLimitError"
    assert "html" not in str(error)


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"\xff", b'{"detail": "raw"}', b"[]"])
def test_a_body_that_is_no_report_is_not_shown(body: bytes) -> None:
    error = failures().refused(502, body, {})

    assert isinstance(error, ModelServerError)
    assert error.error_type is None
    assert str(error) == "the plugin daemon answered with HTTP status 502"


def test_credentials_are_taken_out_of_every_text() -> None:
    told = f"Incorrect API key {SECRET} or {json.dumps(SECRET)}"

    error = failures(SECRET, "sk", "").reported(report("InvokeAuthorizationError", told))

    assert error.daemon_message == 'Incorrect API key [REDACTED] or "[REDACTED]"'
    assert SECRET not in repr(error)
    assert SECRET not in repr(error.args)


def test_a_secret_inside_another_does_not_leave_its_rest() -> None:
    error = failures("abcd", "abcdefgh").reported(report("X", "key abcdefgh"))

    assert error.daemon_message == "key [REDACTED]"


def test_a_long_message_is_cut() -> None:
    assert len(failures().reported("x" * 5000).daemon_message) == 1000


@pytest.mark.parametrize(
    ("raised", "answered", "category", "phase"),
    [
        (httpx2.ConnectTimeout("x"), False, ModelTimeoutError, "connect"),
        (httpx2.ReadTimeout("x"), False, ModelTimeoutError, "read"),
        (httpx2.ReadTimeout("x"), True, ModelTimeoutError, "read"),
        (httpx2.WriteTimeout("x"), False, ModelTimeoutError, "write"),
        (httpx2.ConnectError("x"), False, ModelConnectionError, "connect"),
        (httpx2.WriteError("x"), False, ModelConnectionError, "write"),
        (httpx2.ReadError("x"), False, ModelConnectionError, "read"),
        (httpx2.RemoteProtocolError("x"), True, ModelConnectionError, "read"),
    ],
)
def test_a_broken_transport_is_a_connection_error(
    raised: httpx2.HTTPError, answered: bool, category: type[ModelConnectionError], phase: str
) -> None:
    error = failures().broken(raised, answered=answered)

    assert isinstance(error, category)
    assert isinstance(error, PluginDaemonError)
    assert error.phase == phase
    assert error.error_type is None
    assert "plugin daemon" in error.daemon_message
