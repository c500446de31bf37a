"""What goes wrong in a call of a direct provider, told in our words: a provider's own text may repeat anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
)

from runtime.llm.address_guard import AddressNotAllowed
from runtime.llm.wire.errors import FAILED, PROTOCOL_ERROR, STREAM_INCOMPLETE, FailedAnswer, IncompleteAnswer, WireError

REQUEST_TIMEOUT = 408
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500


class ProviderError(ModelAPIError):
    """A call of a direct provider failed. The text is for the caller and holds nothing that the provider wrote.

    ``reason`` is for programs. ``passes_on`` is whether another model is worth a try, if nothing was streamed yet.
    """

    def __init__(self, model: str, text: str, *, reason: str, passes_on: bool) -> None:
        super().__init__(model, text)
        self.reason = reason
        self.passes_on = passes_on


@contextmanager
def told_plainly(model: str) -> Iterator[None]:
    """Raise what a provider's package raises as a ProviderError. Other errors pass through."""
    try:
        yield
    except ProviderError:
        raise
    except (ModelAPIError, httpx2.HTTPError) as error:
        raise _provider_error(model, error) from error
    except WireError as error:
        raise _wire_error(model, error) from error
    except UnexpectedModelBehavior as error:
        if error.body is None:
            raise
        raise _not_understood(model) from error


def _provider_error(model: str, error: ModelAPIError | httpx2.HTTPError) -> ProviderError:
    if any(isinstance(cause, AddressNotAllowed) for cause in _causes(error)):
        text = "base_url leads to a private address, which this server's operator does not allow"
        return ProviderError(model, f"{model}: {text}", reason="base_url_not_allowed", passes_on=False)
    status = error.status_code if isinstance(error, ModelHTTPError) else None
    told = _kind(error, status)
    if told is None and isinstance(error, ModelAPIError) and error.in_stream:
        return _not_understood(model, "the provider reported an error inside its answer")
    if told is None:
        return _not_understood(model)
    reason, text = told
    if status is not None:
        text += f" (status {status})"
    if isinstance(error, ModelAPIError) and error.retry_after is not None:
        text += f"; it asks to wait {error.retry_after:g} seconds"
    return ProviderError(model, f"{model}: {text}", reason=reason, passes_on=_passes_on(error, status))


def _kind(error: ModelAPIError | httpx2.HTTPError, status: int | None) -> tuple[str, str] | None:
    """The reason and the text, or None for an answer that is not the provider's protocol."""
    match error:
        case ModelRateLimitError():
            return "model_rate_limited", "the provider takes no more calls for now"
        case ModelQuotaExceededError():
            return "model_quota_exceeded", "the quota or the credit of the account is used up"
        case ModelUnavailableError():
            return "model_unavailable", "the provider is unavailable or overloaded"
        case ModelAuthenticationError():
            return "model_credentials_refused", "the provider refused the credentials"
        case ModelNotFoundError():
            return "model_not_found", "the provider does not know the model, or base_url is not the address of its API"
        case ModelContextWindowExceededError():
            return "model_context_window_exceeded", "the conversation is longer than the model can take"
        case ModelRequestRejectedError():
            return "model_request_rejected", "the provider rejected the request"
        case ModelTimeoutError() | httpx2.TimeoutException():
            return "model_timeout", "the provider took too long"
        case ModelConnectionError(phase="connect" | "pool") | httpx2.ConnectError():
            return "model_unreachable", "the provider cannot be reached"
        case ModelConnectionError() | httpx2.HTTPError():
            return "model_connection_lost", "the connection to the provider broke off"
    if status is None:
        return None
    if status >= SERVER_ERROR:
        return "model_server_error", "the provider failed"
    return "model_request_rejected", "the provider rejected the request"


def _passes_on(error: ModelAPIError | httpx2.HTTPError, status: int | None) -> bool:
    if status is not None:
        return status >= SERVER_ERROR or status in (REQUEST_TIMEOUT, TOO_MANY_REQUESTS)
    return isinstance(error, ModelConnectionError | ModelUnavailableError | httpx2.HTTPError)


def _wire_error(model: str, error: WireError) -> ProviderError:
    reasons = {IncompleteAnswer: STREAM_INCOMPLETE, FailedAnswer: FAILED}
    reason = reasons.get(type(error), PROTOCOL_ERROR)
    return ProviderError(model, f"{model}: {error}", reason=reason, passes_on=True)


def _not_understood(model: str, text: str = "the answer is not in the form of the provider's API") -> ProviderError:
    return ProviderError(model, f"{model}: {text}", reason=PROTOCOL_ERROR, passes_on=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
