"""The composer: reads and saves the agents of nodes and of Agent Apps for Dify's editors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from errors import InvalidComposer
from runtime.protocol.ids import new_id
from services.composer.app_saves import save_app
from services.composer.bindings import impact_of, require_version
from services.composer.node_saves import save_node
from services.composer.places import AppPlace, NodePlace
from services.composer.requests import (
    ComposerSaveRequest,
    ComposerVariant,
    ImpactRequest,
    SaveStrategy,
    SaveToRosterRequest,
    check_save,
)
from services.composer.states import app_state, candidates, node_state
from services.database import Database
from services.idempotency import claim_of, once
from services.souls.problems import MAX_PROBLEMS_TOLD, problem_item
from services.souls.publishing import draft_problems

NO_IMPACT: dict[str, Any] = {"current_snapshot_id": None, "workflow_node_count": 0, "bindings": []}

State = dict[str, Any]


class ComposerService:
    """Every method returns JSON, and raises DatabaseUnavailable besides the errors it names."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get_node(self, place: NodePlace) -> State:
        """Returns the state of a node. Raises InvalidComposer when the workflow belongs to another app."""
        with self._database.reading() as session:
            return node_state(session, place)

    def save_node(self, place: NodePlace, wanted: ComposerSaveRequest, *, key: str | None, actor: str | None) -> State:
        """Saves a node and returns its state. The same save with the same key is made once.

        Raises what ``check_save`` and ``node_saves.save_node`` raise, and IdempotencyKeyReused.
        """
        check_save(wanted, ComposerVariant.WORKFLOW)

        def save(session: Session) -> State:
            save_node(session, place, wanted, actor=actor)
            return node_state(session, place)

        return self._once(place, wanted, key, save, lambda session: node_state(session, place))

    def save_node_to_roster(
        self, place: NodePlace, wanted: SaveToRosterRequest, *, key: str | None, actor: str | None
    ) -> State:
        """Saves a node with the strategy of this name. Raises what ``save_node`` raises."""
        if wanted.save_strategy is not SaveStrategy.SAVE_TO_ROSTER:
            raise InvalidComposer("this route takes the save_strategy save_to_roster")
        return self.save_node(place, wanted, key=key, actor=actor)

    def get_app(self, place: AppPlace) -> State:
        """Returns the state of an Agent App. Raises AgentNotFound before its first save."""
        with self._database.reading() as session:
            return app_state(session, place)

    def save_app(self, place: AppPlace, wanted: ComposerSaveRequest, *, key: str | None, actor: str | None) -> State:
        """Saves an Agent App and returns its state.

        Raises what ``check_save`` and ``app_saves.save_app`` raise, and IdempotencyKeyReused.
        """
        check_save(wanted, ComposerVariant.AGENT_APP)

        def save(session: Session) -> State:
            save_app(session, place, wanted, actor=actor)
            return app_state(session, place)

        return self._once(place, wanted, key, save, lambda session: app_state(session, place))

    def validate(self, tenant_id: str, wanted: ComposerSaveRequest, variant: ComposerVariant) -> State:
        """Returns what would keep the save from being published, as far as that is known without its node.

        Raises what ``check_save`` raises when it could not even be saved.
        """
        check_save(wanted, variant)
        problems = draft_problems(wanted.agent_soul, wanted.node_job, tenant_id=tenant_id)
        errors = [problem_item(problem, "body") for problem in problems[:MAX_PROBLEMS_TOLD]]
        return {"result": "fail" if errors else "success", "errors": errors}

    def candidates(self, variant: ComposerVariant) -> State:
        """Returns what a Soul and a node job may refer to."""
        return candidates(variant)

    def impact(self, tenant_id: str, wanted: ImpactRequest) -> State:
        """Returns the nodes that run the version that the payload's binding names. Raises AgentVersionNotFound."""
        snapshot_id = wanted.binding.current_snapshot_id if wanted.binding else None
        if snapshot_id is None:
            return NO_IMPACT
        with self._database.reading() as session:
            require_version(session, tenant_id, snapshot_id)
            return impact_of(session, tenant_id, snapshot_id)

    def _once(
        self,
        place: NodePlace | AppPlace,
        wanted: ComposerSaveRequest,
        key: str | None,
        save: Callable[[Session], State],
        state: Callable[[Session], State],
    ) -> State:
        claim = claim_of(wanted, key, scope="\n".join(("composer", *place.name)))
        return once(self._database, place.tenant_id, claim, new_id(), save, lambda session, _: state(session))
