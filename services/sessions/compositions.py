"""The compositions that the turns of a session run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue, SecretStr
from sqlalchemy.orm import Session

from errors import AgentArchived, AgentVersionNotFound, InvalidComposition
from models.enums import AgentStatus
from runtime.composition.composition import Composition
from runtime.layers.dify_identity import ExecutionContextConfig
from runtime.layers.history import HistoryLayer
from runtime.layers.plain_prompt import PlainPromptLayer
from runtime.layers.registry import LAYER_TYPES
from runtime.protocol.dialects import Dialect
from runtime.protocol.requests import CompositionSpec, CreateRunRequest, DeferredToolResults, LayerSpec
from runtime.protocol.snapshots import SessionSnapshot
from runtime.runs import ProvenRun
from services.agents.known_versions import KnownVersions
from services.credential_cipher import CredentialCipher
from services.credentials import CredentialService
from services.run_checks import check_tenant
from services.runs import RunService
from services.sessions.locked_session import LockedSession, SessionAgent
from services.sessions.projection import project
from services.souls import composition_of, credential_names
from services.souls.composition import HISTORY, USER_PROMPT

COMPOSITION = "composition"


@dataclass(frozen=True, slots=True)
class TurnInput:
    """The input of one turn."""

    query: str
    inputs: Mapping[str, JsonValue]
    user_id: str | None = None
    deferred_results: DeferredToolResults | None = None


class SessionCompositions:
    """Builds the compositions of turns, from the session's version of an agent or from its own composition."""

    def __init__(self, credentials: CredentialService, key_ring: Sequence[SecretStr], runs: RunService) -> None:
        self._credentials = credentials
        self._cipher = CredentialCipher(key_ring)
        self._runs = runs
        self._versions = KnownVersions()

    def seal(self, spec: CompositionSpec, *, tenant_id: str, session_id: str) -> str:
        """Encrypts a composition, to be stored. Raises CredentialsUnavailable."""
        return self._cipher.seal({COMPOSITION: spec.model_dump(mode="json")}, tenant_id=tenant_id, name=session_id)

    def check(self, spec: CompositionSpec, tenant_id: str) -> None:
        """Raises InvalidComposition if no turn could run on it, and TenantNotAllowed if it is for another tenant."""
        check_tenant(spec.layers, tenant_id)
        turn = TurnInput("?", {})
        wanted = with_query(spec, turn.query)
        self._proven(wanted, project(None, wanted.layers), turn)

    def version_of(self, session: Session, tenant_id: str, agent_id: str | None, version_id: str) -> str:
        """Returns the id of a version of a session's agent. Raises AgentVersionNotFound, also without an agent."""
        if agent_id is None:
            raise AgentVersionNotFound("the session has no agent")
        return self._versions.find(session, tenant_id, agent_id, version_id).id

    def prove(self, session: Session, row: LockedSession, turn: TurnInput, *, version_id: str | None) -> ProvenRun:
        """Builds the run of a turn, with what the session remembers, even if that was made by other layers.

        ``version_id`` is a version of the session's agent, where it has one.

        Raises what ``composition_of``, ``CredentialService.resolve`` and ``prove`` raise, and AgentArchived.
        """
        spec = self._spec(session, row, turn, version_id)
        snapshot = SessionSnapshot.model_validate_json(row.session_snapshot) if row.session_snapshot else None
        try:
            return self._proven(spec, project(snapshot, spec.layers), turn)
        except InvalidComposition:
            return self._proven(spec, project(snapshot, spec.layers, checked=True), turn)

    def _spec(self, session: Session, row: LockedSession, turn: TurnInput, version_id: str | None) -> CompositionSpec:
        if row.agent is None:
            return with_query(self._unsealed(row), turn.query)
        return self._of_agent(session, row, row.agent, turn, version_id)

    def _of_agent(
        self, session: Session, row: LockedSession, agent: SessionAgent, turn: TurnInput, version_id: str | None
    ) -> CompositionSpec:
        if agent.status is AgentStatus.ARCHIVED:
            raise AgentArchived("the agent is archived and answers no more")
        version = self._versions.find(session, row.tenant_id, agent.id, version_id)
        values = self._credentials.resolve(session, row.tenant_id, credential_names(version.soul))
        context = ExecutionContextConfig(
            tenant_id=row.tenant_id,
            invoke_from="service-api",
            agent_mode="agent_app",
            user_id=turn.user_id,
            user_from="end-user" if row.end_user_id is not None else None,
            app_id=agent.app_id,
            conversation_id=row.id,
            agent_id=agent.id,
            agent_config_version_id=version.id,
            agent_config_version_kind="snapshot",
        )
        inputs = {**row.inputs, **turn.inputs}
        return composition_of(
            version.soul, query=turn.query, inputs=inputs, context=context, credentials=values, with_history=True
        )

    def _unsealed(self, row: LockedSession) -> CompositionSpec:
        values = self._cipher.unseal(row.sealed_composition or "", tenant_id=row.tenant_id, name=row.id)
        return CompositionSpec.model_validate(values[COMPOSITION])

    def _proven(self, spec: CompositionSpec, snapshot: SessionSnapshot, turn: TurnInput) -> ProvenRun:
        request = CreateRunRequest(
            composition=spec, session_snapshot=snapshot, deferred_tool_results=turn.deferred_results
        )
        return self._runs.prove(request, dialect=Dialect.CURRENT)


def with_query(spec: CompositionSpec, query: str) -> CompositionSpec:
    """Returns a session's composition with the user's prompt of one turn, and with a history layer if it has none."""
    layers = [layer for layer in spec.layers if layer.name != USER_PROMPT]
    if not any(layer.type == HistoryLayer.type_id for layer in layers):
        layers.insert(0, LayerSpec(name=HISTORY, type=HistoryLayer.type_id))
    layers.append(LayerSpec(name=USER_PROMPT, type=PlainPromptLayer.type_id, config={"user": query}))
    return CompositionSpec(schema_version=spec.schema_version, layers=layers)


def lasting_specs(layers: Iterable[LayerSpec], *, before: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the layers that can be entered again when the session is deleted: those whose class allows it.

    Those in ``before``, of earlier turns, are kept among them: the turn that has replaced them may fail.
    """
    specs = [layer.model_dump(mode="json", exclude={"metadata"}) for layer in layers if _may_last(layer.type)]
    names = {spec["name"] for spec in specs}
    return [*specs, *(spec for spec in before if spec["name"] not in names and _may_last(spec["type"]))]


def _may_last(type_id: str) -> bool:
    layer_type = LAYER_TYPES.get(type_id)
    return layer_type is not None and layer_type.config_may_last


def history_of(composition: Composition) -> HistoryLayer | None:
    return next((layer for layer in composition.layers if isinstance(layer, HistoryLayer)), None)
