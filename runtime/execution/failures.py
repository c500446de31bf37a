"""What a failed run says of itself: text for people, a reason for programs, and never a secret or a stack trace."""

from __future__ import annotations

import logging

from pydantic_ai.exceptions import AgentRunError, ModelHTTPError, UsageLimitExceeded, UserError

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


class RunCannotProceed(Exception):
    """The run cannot go on; the message is for the caller."""


def failed_end(run_id: str, error: BaseException, redactor: Redactor) -> RunEnd:
    """The end of a run that ``error`` broke. An error that nobody foresaw is logged and told only as such."""
    match error:
        case PluginDaemonError():
            return RunEnd.failed(redactor.clean(error.daemon_message), reason=error.error_type)
        case UsageLimitExceeded():
            return RunEnd.failed("the run reached its limit of model requests", error_type=RUN_LIMIT_EXCEEDED)
        case ProviderError():
            return RunEnd.failed(redactor.clean(str(error)), reason=error.reason)
        case ModelHTTPError():
            return RunEnd.failed(f"the model provider answered with status {error.status_code}")
        case RunCannotProceed() | UserError() | AgentRunError():
            return RunEnd.failed(redactor.clean(str(error)))
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


def log_unexpected(run_id: str, error: BaseException) -> None:
    """Log an error that nobody foresaw."""
    logger.error("run %s: unexpected error", run_id, exc_info=wordless(error))
