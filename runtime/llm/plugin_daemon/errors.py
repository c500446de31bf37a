"""The errors of a model call through the plugin daemon.

Each is the Pydantic AI error of its kind, and each carries what the daemon reported in ``error_type`` and
``daemon_message``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    TransportPhase,
    UserError,
)

from runtime.llm.wire.errors import FAILED, PROTOCOL_ERROR, STREAM_INCOMPLETE


class PluginDaemonError(Exception):
    """A model call through the plugin daemon failed; the base of every error in this file.

    ``error_type`` is the daemon's effective type, or None when it gave none. ``daemon_message`` is a short text for
    people without credentials or provider bodies.
    """

    error_type: str | None = None
    daemon_message: str = ""
    message: str

    def _describe(self, error_type: str | None, daemon_message: str) -> None:
        self.error_type = error_type
        self.daemon_message = daemon_message
        # Pydantic AI's own texts show the provider's body, which is not for people.
        self.message = f"{error_type}: {daemon_message}" if error_type else daemon_message
        self.args = (self.message,)


class PluginDaemonHTTPError(PluginDaemonError, ModelHTTPError):
    """The call ended with an HTTP status, or with a reported type that stands for one."""

    def __init__(
        self,
        status_code: int,
        model_name: str,
        body: object | None = None,
        *,
        error_type: str | None = None,
        daemon_message: str = "",
        headers: Mapping[str, str] | None = None,
        in_stream: bool = False,
    ) -> None:
        super().__init__(
            status_code, model_name, body, headers=headers, provider_error_type=error_type, in_stream=in_stream
        )
        self._describe(error_type, daemon_message)


class PluginDaemonRejectedError(PluginDaemonHTTPError, ModelRequestRejectedError):
    """400 or 422: the request itself was refused."""


class PluginDaemonAuthenticationError(PluginDaemonHTTPError, ModelAuthenticationError):
    """401 or 403: the credentials were refused."""


class PluginDaemonQuotaError(PluginDaemonHTTPError, ModelQuotaExceededError):
    """402: the account has no credit left."""


class PluginDaemonNotFoundError(PluginDaemonHTTPError, ModelNotFoundError):
    """404: no such plugin, provider or model."""


class PluginDaemonRateLimitError(PluginDaemonHTTPError, ModelRateLimitError):
    """429: too many requests."""


class PluginDaemonUnavailableError(PluginDaemonHTTPError, ModelUnavailableError):
    """503: the provider cannot be reached or does not serve."""


class PluginDaemonOverloadedError(PluginDaemonHTTPError, ModelOverloadedError):
    """529: the provider is overloaded."""


class PluginDaemonServerError(PluginDaemonHTTPError, ModelServerError):
    """Any other 5xx."""


class PluginDaemonAPIError(PluginDaemonError, ModelAPIError):
    """The daemon reported an error that stands for no HTTP status."""

    def __init__(
        self, model_name: str, message: str, *, error_type: str | None = None, in_stream: bool = False
    ) -> None:
        super().__init__(model_name, message, provider_error_type=error_type, in_stream=in_stream)
        self._describe(error_type, message)


class PluginDaemonAnswerError(PluginDaemonAPIError):
    """The answer cannot be used. The daemon reported nothing, so ``error_type`` is this server's own."""

    reason: ClassVar[str]

    def __init__(self, model_name: str, message: str) -> None:
        super().__init__(model_name, message, in_stream=True)
        self.error_type = self.reason


class PluginDaemonProtocolError(PluginDaemonAnswerError):
    """The daemon's answer is not the daemon's protocol."""

    reason = PROTOCOL_ERROR


class PluginDaemonIncompleteError(PluginDaemonAnswerError):
    """The answer ended before the plugin said that it was whole."""

    reason = STREAM_INCOMPLETE


class PluginDaemonFailedError(PluginDaemonAnswerError):
    """The model ended its answer with the word that it had failed."""

    reason = FAILED


class PluginDaemonConnectionError(PluginDaemonError, ModelConnectionError):
    """The daemon could not be reached, or the connection broke."""

    def __init__(self, model_name: str, message: str, *, phase: TransportPhase | None = None) -> None:
        super().__init__(model_name, message, phase=phase)
        self._describe(None, message)


class PluginDaemonTimeoutError(PluginDaemonConnectionError, ModelTimeoutError):
    """The daemon, or the wait for a free model stream, took too long."""


class PluginDaemonUserError(PluginDaemonError, UserError):
    """The daemon reported a mistake in how a plugin is set up."""

    def __init__(self, message: str, *, error_type: str | None = None) -> None:
        super().__init__(message)
        self._describe(error_type, message)


_CLASS_OF_STATUS: dict[int, type[PluginDaemonHTTPError]] = {
    400: PluginDaemonRejectedError,
    401: PluginDaemonAuthenticationError,
    402: PluginDaemonQuotaError,
    403: PluginDaemonAuthenticationError,
    404: PluginDaemonNotFoundError,
    422: PluginDaemonRejectedError,
    429: PluginDaemonRateLimitError,
    503: PluginDaemonUnavailableError,
    529: PluginDaemonOverloadedError,
}


def http_error_class(status_code: int) -> type[PluginDaemonHTTPError]:
    """The error class of an HTTP status."""
    found = _CLASS_OF_STATUS.get(status_code)
    if found is not None:
        return found
    return PluginDaemonServerError if status_code >= 500 else PluginDaemonHTTPError
