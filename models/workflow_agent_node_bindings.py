"""The bindings of workflow nodes: which agent a node uses, and which version of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, PrimaryKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OTHERS_ID, OUR_ID, Base, Identified, Tenanted, Updated
from models.enums import BindingType
from models.types import JSON_VALUE, EnumText, is_member

DRAFT = "draft"
"""The workflow version of rows that are still edited."""


class WorkflowAgentNodeBinding(Identified, Tenanted, Updated, Base):
    """The agent of one node in one version of a workflow, and the node's job for it."""

    __tablename__ = "workflow_agent_node_bindings"

    app_id: Mapped[str] = mapped_column(OTHERS_ID)
    workflow_id: Mapped[str] = mapped_column(OTHERS_ID)
    workflow_version: Mapped[str] = mapped_column(String(255))
    node_id: Mapped[str] = mapped_column(String(255))
    binding_type: Mapped[BindingType] = mapped_column(EnumText(BindingType))
    agent_id: Mapped[str | None] = mapped_column(OUR_ID)
    current_snapshot_id: Mapped[str | None] = mapped_column(OUR_ID)
    node_job_config: Mapped[dict[str, Any]] = mapped_column(JSON_VALUE)
    created_by: Mapped[str | None] = mapped_column(OTHERS_ID)
    updated_by: Mapped[str | None] = mapped_column(OTHERS_ID)

    __table_args__ = (
        PrimaryKeyConstraint("id", name="workflow_agent_node_binding_pkey"),
        ForeignKeyConstraint(["agent_id"], ["agents.id"], name="workflow_agent_node_binding_agent_fkey"),
        ForeignKeyConstraint(
            ["current_snapshot_id"],
            ["agent_config_snapshots.id"],
            name="workflow_agent_node_binding_current_snapshot_fkey",
        ),
        UniqueConstraint(
            "tenant_id",
            "workflow_id",
            "workflow_version",
            "node_id",
            name="workflow_agent_node_binding_node_version_unique",
        ),
        is_member("binding_type", BindingType, name="workflow_agent_node_binding_type_check"),
        Index("workflow_agent_node_binding_agent_idx", "tenant_id", "agent_id"),
        Index("workflow_agent_node_binding_current_snapshot_idx", "tenant_id", "current_snapshot_id"),
        Index("workflow_agent_node_binding_app_idx", "tenant_id", "app_id"),
        Index("workflow_agent_node_binding_workflow_version_idx", "tenant_id", "workflow_id", "workflow_version"),
    )
