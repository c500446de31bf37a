"""A node job: its fields, its declared outputs, and what keeps it from being published."""

from __future__ import annotations

from typing import Any

import pytest

from errors import AgentModelNotConfigured, AgentToolNameDuplicated
from services.souls import DeclaredOutput, effective_declared_outputs, parse_node_job, parse_soul, publish_problems
from services.souls.outputs import outputs_schema
from tests.unit.souls.documents import DEMO, SEARCH, refusals, with_output


def output(**given: Any) -> DeclaredOutput:
    return parse_node_job(with_output(**given)).declared_outputs[0]


def default_value(value: object, **given: Any) -> dict[str, Any]:
    """A node job with an output that falls back on a value."""
    return with_output(failure_strategy={"on_failure": "default_value", "default_value": value}, **given)


def places(job: dict[str, Any], *, soul: dict[str, Any] | None = None) -> list[str]:
    """Where publishing finds something wrong."""
    problems = publish_problems(parse_soul(soul or {"model": DEMO}), parse_node_job(job), tenant_id="t1")
    return [".".join(map(str, problem.loc)) for problem in problems]


def test_an_empty_job_has_every_field_with_its_default() -> None:
    assert parse_node_job({}).as_json() == {
        "schema_version": 1,
        "mode": "tell_agent_what_to_do",
        "workflow_prompt": "",
        "previous_node_output_refs": [],
        "declared_outputs": [],
        "human_contacts": [],
        "metadata": {},
    }


def test_an_output_has_every_field_with_its_default() -> None:
    assert output(type="array").model_dump() == {
        "id": None,
        "name": "report",
        "type": "array",
        "description": None,
        "required": True,
        "file": None,
        "array_item": {"type": "object", "description": None},
        "check": None,
        "failure_strategy": {
            "retry": {"enabled": False, "max_retries": 0, "retry_interval_ms": 0},
            "on_failure": "stop",
            "default_value": None,
        },
    }
    assert output(failure_strategy=None).failure_strategy.on_failure == "stop"


@pytest.mark.parametrize(
    ("job", "place"),
    [
        ({"modes": "x"}, "modes"),
        ({"mode": "do_it"}, "mode"),
        ({"schema_version": 2}, "schema_version"),
        (with_output(type="date"), "declared_outputs.0.type"),
        (with_output(colour="red"), "declared_outputs.0.colour"),
        (with_output(name="1st"), "declared_outputs.0.name"),
        (with_output(name="report\n"), "declared_outputs.0.name"),
        (with_output(name="r" * 256), "declared_outputs.0.name"),
        (with_output(file={"extensions": ["pdf"]}), "declared_outputs.0.file"),
        (with_output(array_item={"type": "string"}), "declared_outputs.0.array_item"),
        (with_output(type="array", array_item={"type": "array"}), "declared_outputs.0.array_item.type"),
        (with_output(check={"enabled": True, "prompt": "p", "benchmark_file_ref": {"id": "1"}}),
         "declared_outputs.0.check.enabled"),
        (with_output(type="file", check={"enabled": True, "benchmark_file_ref": {"id": "1"}}),
         "declared_outputs.0.check.prompt"),
        (with_output(type="file", check={"enabled": True, "prompt": "p"}),
         "declared_outputs.0.check.benchmark_file_ref"),
        (with_output(failure_strategy={"retry": {"max_retries": 11}}),
         "declared_outputs.0.failure_strategy.retry.max_retries"),
        (with_output(failure_strategy={"retry": {"retry_interval_ms": 60_001}}),
         "declared_outputs.0.failure_strategy.retry.retry_interval_ms"),
        (with_output(failure_strategy={"on_failure": "ignore"}), "declared_outputs.0.failure_strategy.on_failure"),
        ({"declared_outputs": [{"name": "a", "type": "string"}] * 2}, "declared_outputs.1.name"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_refused_with_its_place(job: dict[str, Any], place: str) -> None:
    assert place in refusals(job, job=True)


@pytest.mark.parametrize(
    ("given", "value", "reason"),
    [
        ({"type": "string"}, None, "is needed when on_failure is 'default_value'"),
        ({"type": "string"}, 1, "must be of the type 'string'"),
        ({"type": "number"}, "1", "must be of the type 'number'"),
        ({"type": "number"}, True, "must be of the type 'number'"),
        ({"type": "boolean"}, 1, "must be of the type 'boolean'"),
        ({"type": "object"}, [], "must be of the type 'object'"),
        ({"type": "array"}, {}, "must be an array"),
        ({"type": "array", "array_item": {"type": "number"}}, [1, False], "items[1]: must be of the type 'number'"),
        ({"type": "file"}, {"url": "https://example.com/a.pdf"}, "must be of the type 'file'"),
    ],
)
def test_a_default_value_of_another_type_is_refused(given: dict[str, Any], value: object, reason: str) -> None:
    told = refusals(default_value(value, **given), job=True)

    assert told == {"declared_outputs.0.failure_strategy.default_value": reason}


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"type": "string"}, ""),
        ({"type": "number"}, 0),
        ({"type": "boolean"}, False),
        ({"type": "object"}, {}),
        ({"type": "array"}, []),
        ({"type": "array", "array_item": {"type": "file"}}, [{"upload_file_id": "f1"}]),
        ({"type": "file"}, {"file_id": "f1"}),
    ],
)
def test_a_default_value_of_the_type_is_taken(given: dict[str, Any], value: object) -> None:
    parse_node_job(default_value(value, **given))


def test_a_job_without_outputs_has_the_default_ones_and_stores_none() -> None:
    job = parse_node_job({})

    assert [(one.name, one.type, one.required) for one in job.effective_outputs()] == [
        ("text", "string", False),
        ("files", "array", False),
        ("json", "object", False),
    ]
    assert job.as_json()["declared_outputs"] == []
    assert effective_declared_outputs([output()]) == [output()]


def test_the_schema_of_outputs_says_their_types() -> None:
    job = parse_node_job(
        {
            "declared_outputs": [
                {"name": "score", "type": "number", "description": "0 to 1"},
                {"name": "tags", "type": "array", "array_item": {"type": "string"}, "required": False},
                {"name": "report", "type": "file", "required": False},
            ]
        }
    )

    schema = outputs_schema(job.effective_outputs())

    assert schema["properties"]["score"] == {"type": "number", "description": "0 to 1"}
    assert schema["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    assert sorted(schema["properties"]["report"]["properties"]) == ["file_id", "filename", "mime_type", "url"]
    assert schema["required"] == ["score"]
    assert "required" not in outputs_schema(parse_node_job({}).effective_outputs())


@pytest.mark.parametrize(
    "ref",
    [
        {"selector": ["n1", "text"]},
        {"variable_selector": ["n1", "json", "score"]},
        {"value_selector": ["n1", "text"]},
        {"node_id": "n1", "output": "text"},
        {"node_id": "n1", "key": "text", "title": "kept"},
    ],
)
def test_a_reference_with_two_parts_can_be_published(ref: dict[str, Any]) -> None:
    assert places({"previous_node_output_refs": [ref]}) == []


@pytest.mark.parametrize(
    "ref", [{}, {"selector": ["n1"]}, {"selector": ["n1", ""]}, {"node_id": "n1"}, {"name": "text"}]
)
def test_a_reference_to_nothing_cannot_be_published(ref: dict[str, Any]) -> None:
    assert places({"previous_node_output_refs": [ref]}) == ["node_job.previous_node_output_refs.0"]


def test_metadata_with_keys_of_a_soul_cannot_be_published() -> None:
    job = {"metadata": {"note": "fine", "deep": [{"Model": {"x": 1}}], "tools": []}}

    assert places(job) == ["node_job.metadata.deep.0.Model", "node_job.metadata.tools"]


@pytest.mark.parametrize(
    ("contact", "place"),
    [
        ({"email": "ada@example.com"}, "0"),
        ({"contact_id": ""}, "0"),
        ({"contact_id": "c1", "tenant_id": "t2"}, "0.tenant_id"),
        ({"human_id": "h1", "channel": "pigeon"}, "0.channel"),
        ({"human_id": "h1", "channel": ["email"]}, "0.channel"),
    ],
)
def test_people_who_cannot_be_asked_cannot_be_published(contact: dict[str, Any], place: str) -> None:
    assert places({"human_contacts": [contact]}) == [f"node_job.human_contacts.{place}"]
    soul = {"model": DEMO, "human": {"contacts": [contact]}}
    assert places({}, soul=soul) == [f"agent_soul.human.contacts.{place}"]


def test_people_who_can_be_asked_can_be_published() -> None:
    contacts = [{"contact_id": "c1"}, {"human_id": "h1", "tenant_id": "t1"}, {"id": "i1", "channel": "web_app"}]

    assert places({"human_contacts": contacts}) == []


def test_an_agent_without_a_model_cannot_be_published() -> None:
    with pytest.raises(AgentModelNotConfigured):
        publish_problems(parse_soul({}), tenant_id="t1")


def test_two_enabled_tools_of_one_name_cannot_be_published() -> None:
    twin = {**SEARCH, "provider_id": "acme/search/search"}
    tools = {"model": DEMO, "tools": {"dify_tools": [SEARCH, twin]}}
    one_off = {"model": DEMO, "tools": {"dify_tools": [SEARCH, {**twin, "enabled": False}]}}

    with pytest.raises(AgentToolNameDuplicated, match="google_search"):
        publish_problems(parse_soul(tools), tenant_id="t1")
    assert publish_problems(parse_soul(one_off), tenant_id="t1") == []
