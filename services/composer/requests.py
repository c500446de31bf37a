"""The requests of a composer: one form for the nodes of workflows and for Agent Apps. Unknown keys are refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from errors import AgentSoulLocked, InvalidComposer
from models.enums import BindingType, IconType
from runtime.protocol.requests import MAX_IDEMPOTENCY_KEY_LENGTH
from services.agents.texts import AgentName, Lines, ShortLine
from services.souls import AgentSoulConfig, WorkflowNodeJobConfig

Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class ComposerVariant(StrEnum):
    """The kind of a composer."""

    WORKFLOW = "workflow"
    AGENT_APP = "agent_app"


class SaveStrategy(StrEnum):
    NODE_JOB_ONLY = "node_job_only"
    SAVE_TO_CURRENT_VERSION = "save_to_current_version"
    SAVE_AS_NEW_VERSION = "save_as_new_version"
    SAVE_AS_NEW_AGENT = "save_as_new_agent"
    SAVE_TO_ROSTER = "save_to_roster"


class BindingChoice(BaseModel):
    """The agent that a node should have.

    A client may send the binding back as it was given, so other keys are accepted.
    """

    binding_type: BindingType | None = None
    agent_id: Id | None = None
    current_snapshot_id: Id | None = None


class SoulLock(BaseModel):
    """Whether the user has unlocked the Soul, which other nodes may share."""

    model_config = ConfigDict(extra="forbid")

    locked: bool = Field(default=True, strict=True)
    unlocked_from_version_id: Id | None = None


class ComposerSaveRequest(BaseModel):
    """A save. Its strategy says what it does."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    variant: ComposerVariant
    save_strategy: SaveStrategy
    binding: BindingChoice | None = None
    soul_lock: SoulLock = Field(default_factory=SoulLock)
    agent_soul: AgentSoulConfig | None = None
    node_job: WorkflowNodeJobConfig | None = None
    version_note: Lines | None = None
    idempotency_key: str | None = Field(default=None, max_length=MAX_IDEMPOTENCY_KEY_LENGTH, pattern=r"\S")
    client_revision_id: Id | None = None
    """The version that the user has edited: nothing is saved when another one has become the current one."""
    new_agent_name: AgentName | None = None
    description: Lines | None = None
    icon_type: IconType | None = None
    icon: ShortLine | None = None
    icon_background: ShortLine | None = None
    role: ShortLine | None = None
    """Sent by newer clients of Dify, and without effect."""

    def require_soul(self) -> AgentSoulConfig:
        """Returns the Soul. Raises InvalidComposer without one."""
        if self.agent_soul is None:
            raise InvalidComposer(f"agent_soul is needed for {self.save_strategy.value}")
        return self.agent_soul


class SaveToRosterRequest(ComposerSaveRequest):
    """A save for whose strategy there is only one choice."""

    variant: ComposerVariant = ComposerVariant.WORKFLOW
    save_strategy: SaveStrategy = SaveStrategy.SAVE_TO_ROSTER


class ImpactRequest(ComposerSaveRequest):
    """A save that a user considers; only its binding matters."""

    variant: ComposerVariant = ComposerVariant.WORKFLOW
    save_strategy: SaveStrategy = SaveStrategy.NODE_JOB_ONLY


def check_save(wanted: ComposerSaveRequest, variant: ComposerVariant) -> None:
    """Checks what can be checked without the database. Raises InvalidComposer and AgentSoulLocked."""
    if wanted.variant is not variant:
        raise InvalidComposer(f"this route takes the variant {variant.value}")
    if variant is ComposerVariant.AGENT_APP:
        if wanted.node_job is not None:
            raise InvalidComposer("an Agent App has no node_job")
        return
    soul = wanted.agent_soul
    if soul is None:
        return
    if soul.app_variables or soul.app_features:
        raise InvalidComposer("app_variables and app_features belong to Agent Apps: a workflow cannot set them")
    if wanted.soul_lock.locked and wanted.save_strategy is not SaveStrategy.NODE_JOB_ONLY:
        raise AgentSoulLocked
