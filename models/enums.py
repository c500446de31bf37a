"""The values of columns that contain one of a few words. A new member needs a migration of its check."""

from __future__ import annotations

from enum import StrEnum


class AgentKind(StrEnum):
    DIFY_AGENT = "dify_agent"


class AgentScope(StrEnum):
    ROSTER = "roster"
    WORKFLOW_ONLY = "workflow_only"


class AgentSource(StrEnum):
    """How an agent was created."""

    AGENT_APP = "agent_app"
    WORKFLOW = "workflow"
    IMPORTED = "imported"
    SYSTEM = "system"
    ROSTER = "roster"


class AgentStatus(StrEnum):
    ACTIVE = "active"
    ARCHIVED = "archived"


class IconType(StrEnum):
    IMAGE = "image"
    EMOJI = "emoji"
    LINK = "link"


class RevisionOperation(StrEnum):
    """What a revision did."""

    CREATE_VERSION = "create_version"
    SAVE_CURRENT_VERSION = "save_current_version"
    SAVE_NEW_VERSION = "save_new_version"
    SAVE_NEW_AGENT = "save_new_agent"
    SAVE_TO_ROSTER = "save_to_roster"
    RESTORE_VERSION = "restore_version"
    PUBLISH_DRAFT = "publish_draft"
    IMPORT_PACKAGE = "import_package"


class BindingType(StrEnum):
    ROSTER_AGENT = "roster_agent"
    INLINE_AGENT = "inline_agent"


class SessionOwner(StrEnum):
    WORKFLOW_RUN = "workflow_run"
    CONVERSATION = "conversation"


class SessionStatus(StrEnum):
    ACTIVE = "active"
    CLEANED = "cleaned"


class KeyKind(StrEnum):
    """What an API key gives access to: a whole workspace, or the service API of one agent."""

    WORKSPACE = "workspace"
    APP = "app"


class SessionState(StrEnum):
    """Whether a session can be used, or only waits for its cleanup."""

    ACTIVE = "active"
    DELETED = "deleted"


class MultitaskStrategy(StrEnum):
    """What becomes of a new turn while another one runs, or of that other one."""

    REJECT = "reject"
    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"


class TurnStatus(StrEnum):
    """Where a turn is. It is ``running`` until it is finalized, even while it waits."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TurnStop(StrEnum):
    """How a later turn has stopped it: the history keeps what it said, or all of it is forgotten."""

    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"


class FeedbackRating(StrEnum):
    LIKE = "like"
    DISLIKE = "dislike"


class FormStatus(StrEnum):
    """Where a form is. After one that was submitted or has timed out, a turn must follow."""

    WAITING = "waiting"
    SUBMITTED = "submitted"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
