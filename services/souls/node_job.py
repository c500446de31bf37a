"""The job of a workflow node: what its agent does there, and which outputs it must return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from services.souls.document import (
    MAX_ITEMS,
    MAX_PROMPT_CHARS,
    Document,
    FreeObject,
    FreeObjects,
    Part,
    ShortText,
)
from services.souls.outputs import DeclaredOutput, effective_declared_outputs, output_problems
from services.souls.problems import Problem, malformed, refuse

MIN_SELECTOR_PARTS = 2
MAX_SELECTOR_PARTS = 20

Selector = Annotated[list[ShortText], Field(max_length=MAX_SELECTOR_PARTS)]

CHANNELS = ("chat", "email", "slack", "web_app", "webapp")
"""The channels by which a person can be reached."""

_CONTACT_ID_KEYS = ("contact_id", "human_id", "id")

LOCKED_SOUL_KEYS = frozenset(
    {
        "agent_soul", "app_features", "app_variables", "credential_ref", "credentials", "env", "human", "knowledge",
        "memory", "model", "model_settings", "prompt", "sandbox", "skills_files", "soul", "system_prompt", "tools",
    }
)  # fmt: skip
"""The keys by which a node may not change its agent, at any depth of its metadata."""


class OutputRef(Part):
    """An output of an earlier node: a selector, or a node with the name of its output. Other keys are kept."""

    model_config = ConfigDict(extra="allow")

    selector: Selector | None = None
    variable_selector: Selector | None = None
    value_selector: Selector | None = None
    node_id: ShortText | None = None
    output: ShortText | None = None
    name: ShortText | None = None
    variable: ShortText | None = None
    key: ShortText | None = None

    @property
    def path(self) -> list[str]:
        """The node's id and the steps to the value in its output; empty when the reference names none."""
        for selector in (self.selector, self.variable_selector, self.value_selector):
            if selector:
                return list(selector)
        output = self.output or self.name or self.variable or self.key
        return [self.node_id, output] if self.node_id and output else []


class WorkflowNodeJobConfig(Document):
    """The configuration of one node, in addition to its agent's Soul."""

    document_name: ClassVar[str] = "node_job"

    schema_version: Literal[1] = 1
    mode: Literal["let_agent_figure_it_out", "tell_agent_what_to_do"] = "tell_agent_what_to_do"
    workflow_prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] = ""
    previous_node_output_refs: Annotated[list[OutputRef], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    declared_outputs: Annotated[list[DeclaredOutput], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    human_contacts: FreeObjects = Field(default_factory=list)
    metadata: FreeObject = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_outputs(self) -> Self:
        found = output_problems(self.declared_outputs)
        refuse([Problem(("declared_outputs", *problem.loc), problem.message) for problem in found], of="node_job")
        return self

    def effective_outputs(self) -> list[DeclaredOutput]:
        """Returns the outputs that a run of the node must return; the default ones when none are declared."""
        return effective_declared_outputs(self.declared_outputs)


def parse_node_job(value: object, *place: str | int) -> WorkflowNodeJobConfig:
    """Parses a decoded JSON value as a node job. Raises MalformedRequest with every problem, below ``place``."""
    try:
        return WorkflowNodeJobConfig.model_validate(value)
    except ValidationError as error:
        raise malformed(error, *place) from None


def node_job_publish_problems(job: WorkflowNodeJobConfig, *, tenant_id: str) -> list[Problem]:
    """Returns what keeps a node from being published, as far as that is known without its graph."""
    return [
        *_metadata_problems(job.metadata, ("metadata",)),
        *_ref_problems(job.previous_node_output_refs),
        *contact_problems(job.human_contacts, "human_contacts", tenant_id=tenant_id),
    ]


def contact_problems(contacts: list[FreeObject], *place: str, tenant_id: str) -> Iterator[Problem]:
    """Yields what keeps people from being asked."""
    for index, contact in enumerate(contacts):
        if not any(isinstance(contact.get(key), str) and contact[key] for key in _CONTACT_ID_KEYS):
            yield Problem((*place, index), f"one of {', '.join(_CONTACT_ID_KEYS)} is needed", "missing")
        if contact.get("tenant_id") not in (None, tenant_id):
            yield Problem((*place, index, "tenant_id"), "a person of another tenant cannot be asked")
        if contact.get("channel") not in (None, *CHANNELS):
            yield Problem((*place, index, "channel"), f"must be one of {', '.join(CHANNELS)}")


def _ref_problems(refs: list[OutputRef]) -> Iterator[Problem]:
    for index, ref in enumerate(refs):
        if len(ref.path) < MIN_SELECTOR_PARTS or not all(ref.path):
            message = "must name a node and its output, by a selector of two parts or more or by node_id and output"
            yield Problem(("previous_node_output_refs", index), message)


def _metadata_problems(value: Any, loc: tuple[str | int, ...]) -> Iterator[Problem]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key.lower() in LOCKED_SOUL_KEYS:
                yield Problem((*loc, key), f"'{key}' belongs to the agent and cannot be set by a node")
            else:
                yield from _metadata_problems(part, (*loc, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _metadata_problems(part, (*loc, index))
