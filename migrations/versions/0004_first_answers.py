"""What the first request under an idempotency key was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("idempotency_claims", sa.Column("answer", sa.JSON()))


def downgrade() -> None:
    op.drop_column("idempotency_claims", "answer")
