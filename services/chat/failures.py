"""Maps failed runs to the errors of Dify's service API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.sessions.answers import storable


@dataclass(frozen=True, slots=True)
class ChatFailure:
    """Why a turn has no answer, for the ``error`` frame and for the blocking response."""

    code: str
    status: int
    message: str


STREAM_BROKE_OFF = ChatFailure("internal_server_error", 500, "The server lost sight of the run. Please try again.")
"""The run's events ended without a terminal event."""

REFUSED_CREDENTIALS = ChatFailure("completion_request_error", 400, "Incorrect API key provided")

NO_TEXT = "the run failed"

# Direct providers give the reason in lower case, the plugin daemon in capitals.
_REFUSES_CREDENTIALS = frozenset(
    {"model_credentials_refused", "InvokeAuthorizationError", "CredentialsValidateFailedError"}
)
_CODES: Mapping[str, tuple[str, int]] = {
    "agent_run_limit_exceeded": ("agent_run_limit_exceeded", 400),
    "model_quota_exceeded": ("provider_quota_exceeded", 400),
    "model_rate_limited": ("rate_limit_error", 429),
    "InvokeRateLimitError": ("rate_limit_error", 429),
    "session_busy": ("conversation_busy", 409),
    "run_gone": ("internal_server_error", 500),
}
_OTHERWISE = ("completion_request_error", 400)

_BODY = re.compile(r"[\s:,\-]*(?:\{|\[\s*[{\[\"']|<[A-Za-z!?/]).*", re.DOTALL)
"""Where a text begins to repeat the provider's response, as plugins often do."""


def chat_failure(data: Mapping[str, Any], run_id: str) -> ChatFailure:
    """Maps the data of a ``run_failed`` event to the client's error, without any of the provider's body."""
    reasons = [reason for reason in (data.get("error_type"), data.get("reason")) if reason is not None]
    if not _REFUSES_CREDENTIALS.isdisjoint(reasons):
        return REFUSED_CREDENTIALS
    code, status = next((_CODES[reason] for reason in reasons if reason in _CODES), _OTHERWISE)
    text = _BODY.sub("", storable(data["error"])).strip() or NO_TEXT
    return ChatFailure(code, status, f"{text} (agent_run_id={run_id})")
