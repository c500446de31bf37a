"""Agents, their versions and bindings; sessions, keys, tags, credentials, idempotency claims."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agent_runtime_sessions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("owner_type", sa.String(32), nullable=False),
        sa.Column("app_id", sa.String(64)),
        sa.Column("workflow_id", sa.String(64)),
        sa.Column("workflow_run_id", sa.String(64)),
        sa.Column("node_id", sa.String(255)),
        sa.Column("node_execution_id", sa.String(64)),
        sa.Column("binding_id", sa.String(64)),
        sa.Column("conversation_id", sa.String(64)),
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("agent_config_snapshot_id", sa.String(64), nullable=False),
        sa.Column("backend_run_id", sa.String(36)),
        sa.Column("session_snapshot", sa.JSON(), nullable=False),
        sa.Column("composition_layer_specs", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("cleaned_at", sa.DateTime()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint(
            "NOT (owner_type = 'conversation') OR conversation_id IS NOT NULL",
            name="agent_runtime_session_conversation_scope_check",
        ),
        sa.CheckConstraint(
            "NOT (owner_type = 'workflow_run') OR "
            "(workflow_run_id IS NOT NULL AND node_id IS NOT NULL AND binding_id IS NOT NULL)",
            name="agent_runtime_session_workflow_scope_check",
        ),
        sa.CheckConstraint(
            "owner_type IN ('workflow_run', 'conversation')", name="agent_runtime_session_owner_type_check"
        ),
        sa.CheckConstraint("status IN ('active', 'cleaned')", name="agent_runtime_session_status_check"),
        sa.PrimaryKeyConstraint("id", name="agent_runtime_session_pkey"),
    )
    op.create_index(
        "conversation_agent_runtime_session_scope_unique",
        "agent_runtime_sessions",
        ["tenant_id", "conversation_id", "agent_id", "agent_config_snapshot_id"],
        unique=True,
        sqlite_where=sa.text("owner_type = 'conversation'"),
        postgresql_where=sa.text("owner_type = 'conversation'"),
    )
    op.create_index("workflow_agent_runtime_session_backend_run_idx", "agent_runtime_sessions", ["backend_run_id"])
    op.create_index(
        "workflow_agent_runtime_session_lookup_idx",
        "agent_runtime_sessions",
        ["tenant_id", "workflow_run_id", "node_id", "status"],
    )
    op.create_index(
        "workflow_agent_runtime_session_scope_unique",
        "agent_runtime_sessions",
        ["tenant_id", "workflow_run_id", "node_id", "binding_id", "agent_id"],
        unique=True,
        sqlite_where=sa.text("owner_type = 'workflow_run'"),
        postgresql_where=sa.text("owner_type = 'workflow_run'"),
    )

    op.create_table(
        "agents",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("icon_type", sa.String(32)),
        sa.Column("icon", sa.String(255)),
        sa.Column("icon_background", sa.String(255)),
        sa.Column("agent_kind", sa.String(32), nullable=False),
        sa.Column("scope", sa.String(32), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("app_id", sa.String(64)),
        sa.Column("workflow_id", sa.String(64)),
        sa.Column("workflow_node_id", sa.String(255)),
        sa.Column("active_config_snapshot_id", sa.String(36)),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column(
            "roster_unique_name",
            sa.String(255),
            sa.Computed("CASE WHEN scope = 'roster' AND status = 'active' THEN name END", persisted=True),
        ),
        sa.Column("created_by", sa.String(64)),
        sa.Column("updated_by", sa.String(64)),
        sa.Column("archived_by", sa.String(64)),
        sa.Column("archived_at", sa.DateTime()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("agent_kind IN ('dify_agent')", name="agent_kind_check"),
        sa.CheckConstraint("icon_type IN ('image', 'emoji', 'link')", name="agent_icon_type_check"),
        sa.CheckConstraint("scope IN ('roster', 'workflow_only')", name="agent_scope_check"),
        sa.CheckConstraint(
            "source IN ('agent_app', 'workflow', 'imported', 'system', 'roster')", name="agent_source_check"
        ),
        sa.CheckConstraint("status IN ('active', 'archived')", name="agent_status_check"),
        sa.PrimaryKeyConstraint("id", name="agent_pkey"),
        sa.UniqueConstraint("tenant_id", "roster_unique_name", name="agent_tenant_roster_unique_name"),
    )
    op.create_index("agent_active_config_snapshot_id_idx", "agents", ["active_config_snapshot_id"])
    op.create_index("agent_tenant_app_id_idx", "agents", ["tenant_id", "app_id"])
    op.create_index("agent_tenant_scope_idx", "agents", ["tenant_id", "scope"])
    op.create_index("agent_tenant_updated_at_idx", "agents", ["tenant_id", "updated_at"])
    op.create_index("agent_tenant_workflow_id_idx", "agents", ["tenant_id", "workflow_id"])

    op.create_table(
        "credentials",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("provider", sa.String(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("encrypted_values", sa.Text(), nullable=False),
        sa.Column("last4", sa.String(4), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_by", sa.String(64)),
        sa.Column("updated_by", sa.String(64)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="credential_pkey"),
        sa.UniqueConstraint("tenant_id", "name", name="credential_tenant_name_unique"),
    )
    op.create_index("credential_tenant_updated_at_idx", "credentials", ["tenant_id", "updated_at"])

    op.create_table(
        "idempotency_claims",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("made_id", sa.String(36), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="idempotency_claim_pkey"),
        sa.UniqueConstraint("tenant_id", "digest", name="idempotency_claim_tenant_digest_unique"),
    )
    op.create_index("idempotency_claim_expires_at_idx", "idempotency_claims", ["expires_at"])

    op.create_table(
        "agent_config_snapshots",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("agent_id", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("config_snapshot", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("summary", sa.Text()),
        sa.Column("version_note", sa.Text()),
        sa.Column("created_by", sa.String(64)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="agent_config_snapshot_agent_fkey"),
        sa.PrimaryKeyConstraint("id", name="agent_config_snapshot_pkey"),
        sa.UniqueConstraint("agent_id", "version", name="agent_config_snapshot_agent_version_unique"),
    )
    op.create_index(
        "agent_config_snapshot_tenant_agent_created_at_idx",
        "agent_config_snapshots",
        ["tenant_id", "agent_id", "created_at"],
    )
    op.create_index(
        "agent_config_snapshot_tenant_created_at_idx", "agent_config_snapshots", ["tenant_id", "created_at"]
    )

    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("agent_id", sa.String(36)),
        sa.Column("name", sa.String(255)),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("expires_at", sa.DateTime()),
        sa.Column("revoked_at", sa.DateTime()),
        sa.Column("replaced_by", sa.String(36)),
        sa.Column("last_used_at", sa.DateTime()),
        sa.Column("created_by", sa.String(64)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("(kind = 'app') = (agent_id IS NOT NULL)", name="api_key_agent_check"),
        sa.CheckConstraint("kind IN ('workspace', 'app')", name="api_key_kind_check"),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="api_key_agent_fkey"),
        sa.PrimaryKeyConstraint("id", name="api_key_pkey"),
        sa.UniqueConstraint("digest", name="api_key_digest_unique"),
    )
    op.create_index("api_key_tenant_agent_idx", "api_keys", ["tenant_id", "agent_id"])
    op.create_index("api_key_tenant_created_at_idx", "api_keys", ["tenant_id", "created_at"])

    op.create_table(
        "agent_config_revisions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("agent_id", sa.String(36), nullable=False),
        sa.Column("previous_snapshot_id", sa.String(36)),
        sa.Column("current_snapshot_id", sa.String(36), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("operation", sa.String(64), nullable=False),
        sa.Column("summary", sa.Text()),
        sa.Column("version_note", sa.Text()),
        sa.Column("created_by", sa.String(64)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint(
            "operation IN ('create_version', 'save_current_version', 'save_new_version', 'save_new_agent', "
            "'save_to_roster', 'restore_version', 'publish_draft', 'import_package')",
            name="agent_config_revision_operation_check",
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="agent_config_revision_agent_fkey"),
        sa.ForeignKeyConstraint(
            ["current_snapshot_id"], ["agent_config_snapshots.id"], name="agent_config_revision_current_snapshot_fkey"
        ),
        sa.ForeignKeyConstraint(
            ["previous_snapshot_id"], ["agent_config_snapshots.id"], name="agent_config_revision_previous_snapshot_fkey"
        ),
        sa.PrimaryKeyConstraint("id", name="agent_config_revision_pkey"),
        sa.UniqueConstraint("agent_id", "revision", name="agent_config_revision_agent_revision_unique"),
    )
    op.create_index(
        "agent_config_revision_tenant_agent_created_at_idx",
        "agent_config_revisions",
        ["tenant_id", "agent_id", "created_at"],
    )
    op.create_index(
        "agent_config_revision_tenant_current_snapshot_created_at_idx",
        "agent_config_revisions",
        ["tenant_id", "current_snapshot_id", "created_at"],
    )

    op.create_table(
        "agent_tags",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("agent_id", sa.String(36), nullable=False),
        sa.Column("tag", sa.String(64), nullable=False),
        sa.Column("snapshot_id", sa.String(36), nullable=False),
        sa.Column("updated_by", sa.String(64)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="agent_tag_agent_fkey"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["agent_config_snapshots.id"], name="agent_tag_snapshot_fkey"),
        sa.PrimaryKeyConstraint("id", name="agent_tag_pkey"),
        sa.UniqueConstraint("agent_id", "tag", name="agent_tag_agent_tag_unique"),
    )
    op.create_index("agent_tag_tenant_agent_idx", "agent_tags", ["tenant_id", "agent_id"])

    op.create_table(
        "workflow_agent_node_bindings",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("app_id", sa.String(64), nullable=False),
        sa.Column("workflow_id", sa.String(64), nullable=False),
        sa.Column("workflow_version", sa.String(255), nullable=False),
        sa.Column("node_id", sa.String(255), nullable=False),
        sa.Column("binding_type", sa.String(32), nullable=False),
        sa.Column("agent_id", sa.String(36)),
        sa.Column("current_snapshot_id", sa.String(36)),
        sa.Column("node_job_config", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(64)),
        sa.Column("updated_by", sa.String(64)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint(
            "binding_type IN ('roster_agent', 'inline_agent')", name="workflow_agent_node_binding_type_check"
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="workflow_agent_node_binding_agent_fkey"),
        sa.ForeignKeyConstraint(
            ["current_snapshot_id"],
            ["agent_config_snapshots.id"],
            name="workflow_agent_node_binding_current_snapshot_fkey",
        ),
        sa.PrimaryKeyConstraint("id", name="workflow_agent_node_binding_pkey"),
        sa.UniqueConstraint(
            "tenant_id",
            "workflow_id",
            "workflow_version",
            "node_id",
            name="workflow_agent_node_binding_node_version_unique",
        ),
    )
    op.create_index("workflow_agent_node_binding_agent_idx", "workflow_agent_node_bindings", ["tenant_id", "agent_id"])
    op.create_index("workflow_agent_node_binding_app_idx", "workflow_agent_node_bindings", ["tenant_id", "app_id"])
    op.create_index(
        "workflow_agent_node_binding_current_snapshot_idx",
        "workflow_agent_node_bindings",
        ["tenant_id", "current_snapshot_id"],
    )
    op.create_index(
        "workflow_agent_node_binding_workflow_version_idx",
        "workflow_agent_node_bindings",
        ["tenant_id", "workflow_id", "workflow_version"],
    )


def downgrade() -> None:
    op.drop_table("workflow_agent_node_bindings")
    op.drop_table("agent_tags")
    op.drop_table("agent_config_revisions")
    op.drop_table("api_keys")
    op.drop_table("agent_config_snapshots")
    op.drop_table("idempotency_claims")
    op.drop_table("credentials")
    op.drop_table("agents")
    op.drop_table("agent_runtime_sessions")
