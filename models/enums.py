"""The values of columns that hold one of a few words. A new member takes a migration of its check."""

from __future__ import annotations

from enum import StrEnum


class AgentKind(StrEnum):
    DIFY_AGENT = "dify_agent"


class AgentScope(StrEnum):
    ROSTER = "roster"
    WORKFLOW_ONLY = "workflow_only"


class AgentSource(StrEnum):
    """How an agent came to be."""

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
    """What an API key opens: a whole workspace, or the service API of one agent."""

    WORKSPACE = "workspace"
    APP = "app"


class SessionState(StrEnum):
    """Whether a session can be used, or only waits for its layers to be told that it is over."""

    ACTIVE = "active"
    DELETED = "deleted"


class MultitaskStrategy(StrEnum):
    """What becomes of a turn that comes while another one runs, or of that other one."""

    REJECT = "reject"
    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"


class TurnStatus(StrEnum):
    """Where a turn is. It is ``running`` until it is finalized, also while it waits."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TurnStop(StrEnum):
    """How a turn was stopped by a later one: what it said stays in the history, or nothing of it stays anywhere."""

    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"


class FeedbackRating(StrEnum):
    LIKE = "like"
    DISLIKE = "dislike"


class FormStatus(StrEnum):
    """Where a form is. A turn is to follow one that was submitted or has timed out."""

    WAITING = "waiting"
    SUBMITTED = "submitted"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
