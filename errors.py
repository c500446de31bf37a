"""Every error a caller can meet: its status, its code and when it happens.

Raise one of these anywhere; ``blueprints.errors`` renders it. The docstring of a class is its default message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

ErrorItems = Sequence[Mapping[str, Any]]
"""Validation errors as the wire has them: ``type``, ``loc``, ``msg``, ``input`` and sometimes ``ctx``."""


MAX_PROBLEMS_IN_MESSAGE = 5
MAX_MESSAGE_CHARS = 1000
"""Of the message of a malformed request, which may have keys of any length."""


class GreenrunError(Exception):
    """something went wrong on the server"""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_server_error"

    def __init__(
        self,
        message: str | None = None,
        *,
        detail: str | ErrorItems | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.detail: str | ErrorItems = self.message if detail is None else detail
        self.headers: Mapping[str, str] = headers or {}
        super().__init__(self.message)


class Unauthorized(GreenrunError):
    """a valid bearer token is required"""

    status = 401
    code = "unauthorized"

    def __init__(self, message: str | None = None, *, realm: str = "greenrun") -> None:
        super().__init__(message, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})


class InvalidToken(GreenrunError):
    """the stream token is not valid here, or no longer"""

    status = 401
    code = "invalid_token"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="greenrun", error="invalid_token"'})


class OriginNotAllowed(GreenrunError):
    """pages of this origin may not open a socket here"""

    status = 403
    code = "origin_not_allowed"


class HostNotAllowed(GreenrunError):
    """this server is not called by the name in the Host header"""

    status = 421
    code = "host_not_allowed"


class KeyNotAllowed(GreenrunError):
    """this key does not open this route"""

    status = 403
    code = "key_not_allowed"


class TenantNotAllowed(GreenrunError):
    """this key acts for its own tenant alone"""

    status = 403
    code = "tenant_not_allowed"


class RunNotFound(GreenrunError):
    """run not found"""

    status = 404
    code = "run_not_found"


class SessionNotFound(GreenrunError):
    """session not found"""

    status = 404
    code = "session_not_found"


class TurnNotFound(GreenrunError):
    """the session has no such turn"""

    status = 404
    code = "turn_not_found"


class SessionBusy(GreenrunError):
    """a turn of the session is running"""

    status = 409
    code = "session_busy"


class HumanInputPending(GreenrunError):
    """a question of the agent waits for its answer"""

    status = 409
    code = "human_input_pending"


class FormSubmitted(GreenrunError):
    """the form has been answered already"""

    status = 409
    code = "human_input_form_submitted"


class FormCancelled(GreenrunError):
    """the conversation went on without an answer to the form"""

    status = 409
    code = "human_input_form_cancelled"


class FormExpired(GreenrunError):
    """the form was not answered in time"""

    status = 410
    code = "human_input_form_expired"


class AgentNotFound(GreenrunError):
    """agent not found"""

    status = 404
    code = "agent_not_found"


class AgentVersionNotFound(GreenrunError):
    """the agent has no such version"""

    status = 404
    code = "agent_version_not_found"


class AgentTagNotFound(GreenrunError):
    """the agent has no such tag"""

    status = 404
    code = "agent_tag_not_found"


class AgentArchived(GreenrunError):
    """the agent is archived and cannot be changed"""

    status = 409
    code = "agent_archived"


class AgentNameTaken(GreenrunError):
    """another active agent of the roster has this name"""

    status = 409
    code = "agent_name_taken"


class AgentVersionConflict(GreenrunError):
    """somebody else has saved a version in the meantime: look at it and save again"""

    status = 409
    code = "agent_version_conflict"


class PreconditionFailed(GreenrunError):
    """If-Match does not name the agent's active version"""

    status = 412
    code = "precondition_failed"


class AgentSoulLocked(GreenrunError):
    """Agent Soul is locked: a save with agent_soul needs soul_lock with locked false"""

    status = 400
    code = "agent_soul_locked"


class InvalidComposer(GreenrunError):
    """the composer cannot save this"""

    status = 400
    code = "invalid_composer_config"


class KeyNotFound(GreenrunError):
    """key not found"""

    status = 404
    code = "key_not_found"


class KeyNotActive(GreenrunError):
    """the key was revoked, has expired or was rotated already"""

    status = 409
    code = "key_not_active"


class CredentialNotFound(GreenrunError):
    """credential not found"""

    status = 404
    code = "credential_not_found"


class CredentialInUse(GreenrunError):
    """active agents need this credential"""

    status = 409
    code = "credential_in_use"


class AppForbidden(GreenrunError):
    """the app is no longer there: its agent is archived"""

    status = 403
    code = "forbidden"


class AppUnavailable(GreenrunError):
    """the app's agent has no published version"""

    status = 400
    code = "app_unavailable"


class ItemNotFound(GreenrunError):
    """there is no such thing for this user of this app"""

    status = 404
    code = "not_found"


class ParameterRefused(GreenrunError):
    """a parameter is missing or cannot be used"""

    status = 400
    code = "invalid_param"

    def __init__(self, message: str, *, params: str) -> None:
        self.params = params
        super().__init__(message)


class RequestRefused(GreenrunError):
    """the request cannot be answered"""

    status = 400
    code = "bad_request"


class WrongContentType(GreenrunError):
    """the body must be of the type application/json"""

    status = 415
    code = "unsupported_media_type"


class RunAlreadyEnded(GreenrunError):
    """the run has already ended"""

    status = 409
    code = "run_already_ended"


class IdempotencyKeyReused(GreenrunError):
    """the idempotency key was already used for another request"""

    status = 409
    code = "idempotency_key_reused"


class RequestTimedOut(GreenrunError):
    """the request body did not arrive in time"""

    status = 408
    code = "request_timeout"


class ValueTooLarge(GreenrunError):
    """a value of the request is larger than it may be"""

    status = 422
    code = "value_too_large"


class RequestTooLarge(GreenrunError):
    """the request body is larger than this server accepts"""

    status = 413
    code = "request_too_large"


class UpgradeRequired(GreenrunError):
    """this route speaks WebSocket: ask for an upgrade"""

    status = 426
    code = "upgrade_required"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(
            message, headers={"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        )


class InvalidRequest(GreenrunError):
    """the request is malformed"""

    status = 422
    code = "invalid_param"

    def __init__(self, items: ErrorItems) -> None:
        self.items = items
        super().__init__(_problems_told(items), detail=items)


class MalformedRequest(InvalidRequest):
    """the request is malformed"""

    status = 400


class OutputSchemaRefused(GreenrunError):
    """the output schema cannot be used"""

    status = 400
    code = "invalid_output_schema"


class RateLimited(GreenrunError):
    """too many requests; try again shortly"""

    status = 429
    code = "rate_limited"

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(headers={"Retry-After": str(retry_after_seconds)})


class SessionQueueFull(GreenrunError):
    """as many turns of the session wait as may; try again once one of them has begun"""

    status = 429
    code = "session_queue_full"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class InvalidComposition(GreenrunError):
    """the composition cannot run"""

    status = 422
    code = "invalid_composition"


class AgentModelNotConfigured(GreenrunError):
    """the agent has no model"""

    status = 400
    code = "agent_model_not_configured"


class AgentToolNameDuplicated(GreenrunError):
    """two enabled tools of the agent have the same name"""

    status = 400
    code = "agent_tool_name_duplicated"


class AgentCredentialNotFound(GreenrunError):
    """a credential that the agent names is not there"""

    status = 422
    code = "agent_credential_not_found"


class AgentExportRefused(GreenrunError):
    """the version holds what looks like a secret, and is not exported"""

    status = 409
    code = "agent_export_refused"


class DigestMismatch(GreenrunError):
    """the digest is not that of the soul: one of them has changed"""

    status = 422
    code = "digest_mismatch"


class ShuttingDown(GreenrunError):
    """run scheduler is shutting down"""

    status = 503
    code = "shutting_down"


class CapacityReached(GreenrunError):
    """this worker has taken on as many runs as it may; try again shortly"""

    status = 503
    code = "run_capacity_reached"

    def __init__(self, retry_after_seconds: int = 1, *, message: str | None = None) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after_seconds)})


class TenantLimitReached(CapacityReached):
    """the tenant has as much here as it may; try again shortly"""

    status = 429
    code = "tenant_limit_reached"

    def __init__(self, bound: str, retry_after_seconds: int = 1) -> None:
        super().__init__(retry_after_seconds, message=f"the tenant has reached its limit: {bound}; try again shortly")


class StorageUnavailable(GreenrunError):
    """the run storage cannot be reached; try again shortly"""

    status = 503
    code = "storage_unavailable"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class OutputCheckUnavailable(GreenrunError):
    """the process that checks large outputs is busy or has died; try again shortly"""

    status = 503
    code = "output_check_unavailable"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class StreamTokensUnavailable(GreenrunError):
    """this server makes no stream tokens: DIFY_AGENT_SECRET_KEYS is not set"""

    status = 503
    code = "stream_tokens_unavailable"


class CredentialsUnavailable(GreenrunError):
    """this server opens and keeps no credentials: DIFY_AGENT_SECRET_KEYS is not set"""

    status = 503
    code = "credentials_unavailable"


class CredentialUnreadable(GreenrunError):
    """no key of DIFY_AGENT_SECRET_KEYS opens the credential"""

    status = 503
    code = "credential_unreadable"


class DatabaseUnavailable(GreenrunError):
    """the database cannot be reached or is busy; try again shortly"""

    status = 503
    code = "database_unavailable"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, headers={"Retry-After": "1"})


class MigrationsPending(DatabaseUnavailable):
    """the database is not there yet or is older than this server: run flask --app app db upgrade"""

    code = "migrations_pending"


def _problems_told(items: ErrorItems) -> str:
    """The first problems of a request, each with its place: many clients show their users nothing but the message."""
    told = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in items[:MAX_PROBLEMS_IN_MESSAGE])
    return "; ".join(told)[:MAX_MESSAGE_CHARS]
