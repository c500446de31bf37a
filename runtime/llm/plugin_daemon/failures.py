"""Turns what goes wrong in a model call into an error that is safe to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import httpx2
from pydantic_ai.exceptions import TransportPhase
from pydantic_core import from_json

from runtime.llm.plugin_daemon.errors import (
    PluginDaemonAPIError,
    PluginDaemonConnectionError,
    PluginDaemonError,
    PluginDaemonFailedError,
    PluginDaemonIncompleteError,
    PluginDaemonProtocolError,
    PluginDaemonTimeoutError,
    PluginDaemonUserError,
    http_error_class,
)
from runtime.llm.plugin_daemon.reports import DaemonReport, read_report
from runtime.llm.wire.errors import FailedAnswer, IncompleteAnswer, WireError
from runtime.protocol.redaction import Redactor

STATUS_OF_TYPE: Mapping[str, int] = {
    "PluginDaemonBadRequestError": 400,
    "InvokeBadRequestError": 400,
    "CredentialsValidateFailedError": 400,
    "PluginUniqueIdentifierError": 400,
    "PluginDaemonUnauthorizedError": 401,
    "InvokeAuthorizationError": 401,
    "PluginPermissionDeniedError": 403,
    "PluginDaemonNotFoundError": 404,
    "PluginNotFoundError": 404,
    "InvokeRateLimitError": 429,
    "PluginDaemonInternalServerError": 500,
    "PluginDaemonInnerError": 500,
    "InvokeConnectionError": 503,
    "InvokeServerUnavailableError": 503,
}
USER_ERROR_TYPES = frozenset({"EndpointSetupFailedError", "TriggerProviderCredentialValidationError"})
TYPE_OF_BARE_STATUS: Mapping[int, str] = {429: "InvokeRateLimitError"}

MAX_MESSAGE_CHARS = 1000
NO_MESSAGE = "the plugin daemon reported an error without a message"


class Failures:
    """The errors of one model call. Its texts never show a credential of that call."""

    def __init__(self, model_name: str, secrets: Iterable[str]) -> None:
        self._model_name = model_name
        self._redactor = Redactor(secrets)

    def reported(self, message: object) -> PluginDaemonError:
        """The error for a failure reported inside an open stream."""
        report = self._read(message)
        if report.error_type in USER_ERROR_TYPES:
            return PluginDaemonUserError(report.message, error_type=report.error_type)
        status = STATUS_OF_TYPE.get(report.error_type or "")
        if status is None:
            return PluginDaemonAPIError(self._model_name, report.message, error_type=report.error_type, in_stream=True)
        return self._http_error(status, report, in_stream=True)

    def refused(self, status: int, body: bytes, headers: Mapping[str, str]) -> PluginDaemonError:
        """The error for an HTTP status other than 200. The status wins over the one its type stands for."""
        report = self._read(_json_or_none(body), f"the plugin daemon answered with HTTP status {status}")
        if report.error_type is None:
            report = report._replace(error_type=TYPE_OF_BARE_STATUS.get(status))
        retry_after = {name: value for name, value in headers.items() if name.lower() == "retry-after"}
        return self._http_error(status, report, headers=retry_after)

    def broken(self, error: httpx2.HTTPError, *, answered: bool) -> PluginDaemonError:
        """The error for a transport failure, before (``answered=False``) or in the daemon's answer."""
        match error:
            case httpx2.ConnectTimeout():
                return self.timed_out("connecting to the plugin daemon took too long", "connect")
            case httpx2.WriteTimeout():
                return self.timed_out("sending the request to the plugin daemon took too long", "write")
            case httpx2.TimeoutException():
                return self.timed_out("the plugin daemon sent nothing for too long", "read")
            case httpx2.ConnectError():
                return self._lost("the plugin daemon cannot be reached", "connect")
            case httpx2.WriteError() | httpx2.LocalProtocolError():
                return self._lost("the request could not be sent to the plugin daemon", "write")
            case httpx2.DecodingError():
                return self.protocol("the plugin daemon's answer cannot be decompressed")
        if answered:
            return self._lost("the plugin daemon's answer broke off", "read")
        return self._lost("the plugin daemon closed the connection without an answer", "read")

    def timed_out(self, text: str, phase: TransportPhase) -> PluginDaemonError:
        """The error for something that took too long."""
        return PluginDaemonTimeoutError(self._model_name, text, phase=phase)

    def protocol(self, text: str) -> PluginDaemonError:
        """The error for an answer that is not the daemon's protocol."""
        return PluginDaemonProtocolError(self._model_name, self._clean(text))

    def unusable(self, error: WireError) -> PluginDaemonError:
        """The error for an answer that cannot be used."""
        match error:
            case IncompleteAnswer():
                return PluginDaemonIncompleteError(self._model_name, str(error))
            case FailedAnswer():
                return PluginDaemonFailedError(self._model_name, str(error))
        return self.protocol(str(error))

    def _lost(self, text: str, phase: TransportPhase) -> PluginDaemonError:
        return PluginDaemonConnectionError(self._model_name, text, phase=phase)

    def _http_error(
        self, status: int, report: DaemonReport, *, headers: Mapping[str, str] | None = None, in_stream: bool = False
    ) -> PluginDaemonError:
        return http_error_class(status)(
            status,
            self._model_name,
            error_type=report.error_type,
            daemon_message=report.message,
            headers=headers,
            in_stream=in_stream,
        )

    def _read(self, raw: object, default: str = NO_MESSAGE) -> DaemonReport:
        report = read_report(raw)
        error_type = None if report.error_type is None else self._clean(report.error_type)
        return DaemonReport(error_type, self._clean(report.message) or default)

    def _clean(self, text: str) -> str:
        text = self._redactor.clean(text)
        return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def _json_or_none(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError:
        return None
