"""Sessions with their turns, end users, and the forms of questions to people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "end_users",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("agent_id", sa.String(36), nullable=False),
        sa.Column("external_user_id", sa.String(255), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="end_user_agent_fkey"),
        sa.PrimaryKeyConstraint("id", name="end_user_pkey"),
        sa.UniqueConstraint("agent_id", "external_user_id", name="end_user_agent_external_user_unique"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("agent_id", sa.String(36)),
        sa.Column("version_id", sa.String(36)),
        sa.Column("sealed_composition", sa.Text()),
        sa.Column("end_user_id", sa.String(36)),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("multitask_strategy", sa.String(32), nullable=False),
        sa.Column("session_snapshot", sa.JSON()),
        sa.Column("layer_specs", sa.JSON(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("unfinished", sa.Integer(), nullable=False),
        sa.Column("last_run_id", sa.String(36)),
        sa.Column("waiting_form_id", sa.String(36)),
        sa.Column("created_by", sa.String(64)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint(
            "multitask_strategy IN ('reject', 'enqueue', 'interrupt', 'rollback')",
            name="session_multitask_strategy_check",
        ),
        sa.CheckConstraint("state IN ('active', 'deleted')", name="session_state_check"),
        sa.CheckConstraint(
            "(agent_id IS NULL) = (version_id IS NULL) AND (agent_id IS NULL) = (sealed_composition IS NOT NULL)",
            name="session_source_check",
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="session_agent_fkey"),
        sa.ForeignKeyConstraint(["end_user_id"], ["end_users.id"], name="session_end_user_fkey"),
        sa.ForeignKeyConstraint(["version_id"], ["agent_config_snapshots.id"], name="session_version_fkey"),
        sa.PrimaryKeyConstraint("id", name="session_pkey"),
    )
    op.create_index("session_agent_idx", "sessions", ["agent_id"])
    op.create_index("session_end_user_created_at_idx", "sessions", ["end_user_id", "created_at"])
    op.create_index("session_end_user_updated_at_idx", "sessions", ["end_user_id", "updated_at"])
    op.create_index("session_state_updated_at_idx", "sessions", ["state", "updated_at"])
    op.create_index("session_tenant_state_idx", "sessions", ["tenant_id", "state", "id"])
    op.create_table(
        "human_input_forms",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("turn_id", sa.String(36), nullable=False),
        sa.Column("tool_call_id", sa.Text(), nullable=False),
        sa.Column("question", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("result", sa.JSON()),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('waiting', 'submitted', 'timeout', 'cancelled')", name="human_input_form_status_check"
        ),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="human_input_form_session_fkey"),
        sa.PrimaryKeyConstraint("id", name="human_input_form_pkey"),
        sa.UniqueConstraint("token", name="human_input_form_token_unique"),
    )
    op.create_index("human_input_form_session_status_idx", "human_input_forms", ["session_id", "status"])
    op.create_index("human_input_form_status_expires_at_idx", "human_input_forms", ["status", "expires_at"])
    op.create_table(
        "session_turns",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("task_id", sa.String(36), nullable=False),
        sa.Column("version_id", sa.String(36)),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("is_answer", sa.Boolean(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("stop", sa.String(32)),
        sa.Column("prepared_snapshot", sa.JSON()),
        sa.Column("deferred_call", sa.JSON()),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("thoughts", sa.JSON(), nullable=False),
        sa.Column("usage", sa.JSON()),
        sa.Column("latency", sa.Float(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("error_reason", sa.String(64)),
        sa.Column("rating", sa.String(32)),
        sa.Column("rating_content", sa.Text()),
        sa.Column("idempotency_digest", sa.String(64)),
        sa.Column("idempotency_fingerprint", sa.String(64)),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("rating IN ('like', 'dislike')", name="session_turn_rating_check"),
        sa.CheckConstraint(
            "status IN ('running', 'succeeded', 'failed', 'cancelled')", name="session_turn_status_check"
        ),
        sa.CheckConstraint("stop IN ('interrupt', 'rollback')", name="session_turn_stop_check"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="session_turn_session_fkey"),
        sa.PrimaryKeyConstraint("id", name="session_turn_pkey"),
        sa.UniqueConstraint("run_id", name="session_turn_run_unique"),
        sa.UniqueConstraint("session_id", "idempotency_digest", name="session_turn_idempotency_unique"),
        sa.UniqueConstraint("session_id", "position", name="session_turn_position_unique"),
        sa.UniqueConstraint("task_id", name="session_turn_task_unique"),
    )
    op.create_index("session_turn_session_status_idx", "session_turns", ["session_id", "status", "position"])
    op.create_index("session_turn_status_updated_at_idx", "session_turns", ["status", "updated_at"])


def downgrade() -> None:
    op.drop_table("session_turns")
    op.drop_table("human_input_forms")
    op.drop_table("sessions")
    op.drop_table("end_users")
