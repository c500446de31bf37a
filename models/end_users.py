"""End users: the people that an app of Dify's service API talks to."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import OUR_ID, Base, Created, Identified, Tenanted

USER_LENGTH = 255


class EndUser(Identified, Tenanted, Created, Base):
    """A person, by the name that an app gives them. The same name in another app is another person."""

    __tablename__ = "end_users"

    agent_id: Mapped[str] = mapped_column(OUR_ID)
    external_user_id: Mapped[str] = mapped_column(String(USER_LENGTH))

    __table_args__ = (
        PrimaryKeyConstraint("id", name="end_user_pkey"),
        ForeignKeyConstraint(["agent_id"], ["agents.id"], name="end_user_agent_fkey"),
        UniqueConstraint("agent_id", "external_user_id", name="end_user_agent_external_user_unique"),
    )
