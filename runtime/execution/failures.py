"""Turns errors into the ends of failed runs: text for people, a reason for programs, no secrets, no stack traces."""

from __future__ import annotations

import logging
import re

from pydantic_ai.exceptions import (
    AgentRunError,
    ContentFilterError,
    ModelAPIError,
    ModelHTTPError,
    OutputTokenLimitExceeded,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
    UserError,
)
from pydantic_core import from_json

from errors import OutputCheckUnavailable
from runtime.events.run_log import EventBytesExceeded
from runtime.execution.checked_output import OutputValidationFailed
from runtime.execution.limits import RunLimitExceeded
from runtime.llm.plugin_daemon import PluginDaemonError
from runtime.llm.providers import ProviderError
from runtime.protocol.events import RunEnd
from runtime.protocol.redaction import Redactor
from runtime.protocol.wordless import wordless
from runtime.runs.ends import STORAGE

logger = logging.getLogger(__name__)

RUN_LIMIT_EXCEEDED = "agent_run_limit_exceeded"
UNKNOWN = "the run failed because of an internal error"

OWN = __name__.partition(".")[0]

_SAME_NAME = re.compile(r"[^\n]* defines a tool whose name conflicts with existing tool from [^\n]*$")
"""The library's text for two tools of one name. It names the layers that have them and what to do about it."""

_GIVEN_UP = re.compile(r"Tool '([\w-]{1,64})' exceeded max retries", re.ASCII)
"""The library's text for a tool whose calls it has refused too often. Callers are shown only the tool's name."""


class RunCannotProceed(Exception):
    """Raised when the run cannot go on; the message is for the caller."""


def failed_end(run_id: str, error: BaseException, redactor: Redactor) -> RunEnd:
    """Returns the end of a run that failed with ``error``.

    An unforeseen error is logged, and the end shows no details of it.
    """
    match error:
        case PluginDaemonError():
            return RunEnd.failed(redactor.clean(error.daemon_message), reason=error.error_type)
        case UsageLimitExceeded():
            return RunEnd.failed("the run reached its limit of model requests", error_type=RUN_LIMIT_EXCEEDED)
        case ProviderError():
            return RunEnd.failed(redactor.clean(str(error)), reason=error.reason)
        case RunCannotProceed():
            return RunEnd.failed(redactor.clean(str(error)))
        case UserError() | AgentRunError() if _is_for_callers(error):
            return RunEnd.failed(redactor.clean(str(error)))
        case ModelHTTPError():
            return RunEnd.failed(f"the model provider answered with status {error.status_code}")
        case UserError() | AgentRunError():
            logger.warning(
                "run %s: %s", run_id, type(error).__name__
            )  # no text: it is for programmers, or quotes the model
            return _model_failure(error)
        case OutputValidationFailed():
            return RunEnd.failed(redactor.clean(str(error)), reason="output_validation_failed")
        case OutputCheckUnavailable():
            return RunEnd.failed(error.message, reason=error.code)
        case RunLimitExceeded():
            return RunEnd.failed(redactor.clean(str(error)), reason=error.reason)
        case EventBytesExceeded():
            return RunEnd.failed("the run wrote more events than this server stores for one run", reason=STORAGE)
        case _:
            log_unexpected(run_id, error)
            return RunEnd.failed(UNKNOWN)


def _is_for_callers(error: UserError | AgentRunError) -> bool:
    """Returns whether callers may read the text: it is from a class of this server, or it only names layers."""
    return type(error).__module__.partition(".")[0] == OWN or _SAME_NAME.match(str(error)) is not None


def _model_failure(error: UserError | AgentRunError) -> RunEnd:
    """Returns the end of a run that failed in the model or the library, in a way that has a name."""
    match error:
        case ContentFilterError() if _is_refusal(error):
            return RunEnd.failed("the model refused to answer", reason="refusal")
        case ContentFilterError():
            return RunEnd.failed("the provider's content filter kept the answer back", reason="content_filter")
        case OutputTokenLimitExceeded():
            text = "the model's answer was cut off by its limit of tokens"
            return RunEnd.failed(text, reason="model_output_limit")
        case UnexpectedModelBehavior() if (tool := _GIVEN_UP.match(error.message)) is not None:
            text = f"the model kept calling the tool {tool[1]} in a way that cannot be run"
            return RunEnd.failed(text, reason="unexpected_model_behavior")
        case UnexpectedModelBehavior():
            text = "the model answered in a way that the run cannot go on with"
            return RunEnd.failed(text, reason="unexpected_model_behavior")
        case ModelAPIError():
            return RunEnd.failed("the model could not be called", reason="model_error")
        case UserError():
            text = "the model cannot be asked what the run wants to ask it"
            return RunEnd.failed(text, reason="model_request_unsupported")
        case _:
            return RunEnd.failed("the run could not go on", reason="agent_run_error")


def _is_refusal(error: ContentFilterError) -> bool:
    """Returns whether the model itself declined. Only the answer quoted in the error shows this."""
    try:
        [answer] = from_json(error.body or "")
        details = answer["provider_details"]
        return bool(details.get("refusal")) or details.get("finish_reason") == "refusal"
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def log_unexpected(run_id: str, error: BaseException) -> None:
    """Logs an unforeseen error."""
    logger.error("run %s: unexpected error", run_id, exc_info=wordless(error))
