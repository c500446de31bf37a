"""The tables. Only the services use them."""

from models.agent_config_revisions import AgentConfigRevision
from models.agent_config_snapshots import AgentConfigSnapshot
from models.agent_runtime_sessions import AgentRuntimeSession
from models.agent_tags import AgentTag
from models.agents import Agent
from models.api_keys import ApiKey
from models.audit_entries import AuditEntry
from models.base import Base
from models.credentials import Credential
from models.end_users import EndUser
from models.human_input_forms import HumanInputForm
from models.idempotency_claims import IdempotencyClaim
from models.session_turns import SessionTurn
from models.sessions import AgentSession
from models.workflow_agent_node_bindings import WorkflowAgentNodeBinding

__all__ = [
    "Agent",
    "AgentConfigRevision",
    "AgentConfigSnapshot",
    "AgentRuntimeSession",
    "AgentSession",
    "AgentTag",
    "ApiKey",
    "AuditEntry",
    "Base",
    "Credential",
    "EndUser",
    "HumanInputForm",
    "IdempotencyClaim",
    "SessionTurn",
    "WorkflowAgentNodeBinding",
]
