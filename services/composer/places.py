"""The places where a composer works, and waiting for one's turn there."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.database_engines import wait_alone


@dataclass(frozen=True, slots=True)
class NodePlace:
    """A node of a draft workflow. All but the tenant are ids of Dify, which are only texts here."""

    tenant_id: str
    app_id: str
    workflow_id: str
    node_id: str

    @property
    def name(self) -> tuple[str, ...]:
        return ("node", self.tenant_id, self.workflow_id, self.node_id)


@dataclass(frozen=True, slots=True)
class AppPlace:
    """An Agent App."""

    tenant_id: str
    app_id: str

    @property
    def name(self) -> tuple[str, ...]:
        return ("app", self.tenant_id, self.app_id)


def take_turn(session: Session, place: NodePlace | AppPlace) -> None:
    """Waits until nobody else saves at this place, which may have no row yet that could be locked."""
    wait_alone(session, *place.name)
