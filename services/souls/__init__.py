"""Souls and node jobs: what an agent is and what a node asks of it. Pure: no IO, no database, no Flask."""

from services.souls.composition import ToolDeclaration, composition_of
from services.souls.diff import soul_diff
from services.souls.digest import digest_of
from services.souls.node_job import WorkflowNodeJobConfig, parse_node_job
from services.souls.outputs import DeclaredOutput, effective_declared_outputs
from services.souls.portable import PortableAgent, PortableVersion, export_version, parse_portable, read_portable
from services.souls.publishing import publish_problems
from services.souls.soul import AgentSoulConfig, credential_names, parse_soul

__all__ = [
    "AgentSoulConfig",
    "DeclaredOutput",
    "PortableAgent",
    "PortableVersion",
    "ToolDeclaration",
    "WorkflowNodeJobConfig",
    "composition_of",
    "credential_names",
    "digest_of",
    "effective_declared_outputs",
    "export_version",
    "parse_node_job",
    "parse_portable",
    "parse_soul",
    "publish_problems",
    "read_portable",
    "soul_diff",
]
