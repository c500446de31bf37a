"""A Soul: its fields, their defaults and what is refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from errors import MalformedRequest
from services.souls import AgentSoulConfig, credential_names, parse_soul
from services.souls.bounds import MAX_DEPTH
from services.souls.tools import DifyTool
from tests.unit.souls.documents import DEMO, SEARCH, refusals


def tool(**changes: Any) -> DifyTool:
    given = {**SEARCH, **changes}
    soul = parse_soul({"tools": {"dify_tools": [{key: value for key, value in given.items() if value is not None}]}})
    return soul.tools.dify_tools[0]


def tool_refusals(**changes: Any) -> dict[str, str]:
    given = {**SEARCH, **changes}
    tools = [{key: value for key, value in given.items() if value is not None}]
    return refusals({"tools": {"dify_tools": tools}})


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_an_empty_soul_has_every_field_with_its_default() -> None:
    assert parse_soul({}).as_json() == {
        "schema_version": 1,
        "prompt": {"system_prompt": ""},
        "skills_files": {"files": [], "skills": []},
        "tools": {"dify_tools": [], "cli_tools": []},
        "knowledge": {"datasets": [], "query_mode": None, "query_config": {}},
        "human": {"contacts": [], "tools": []},
        "env": {"variables": [], "secret_refs": []},
        "sandbox": {"provider": None, "config": {}},
        "memory": {"scope": None, "budget": None, "artifacts": []},
        "model": None,
        "app_features": {},
        "app_variables": [],
        "misc_legacy": {},
    }


def test_a_stored_soul_is_read_back_as_it_was() -> None:
    soul = parse_soul({"model": DEMO, "tools": {"dify_tools": [SEARCH]}, "misc_legacy": {"a": [1, 1.5, None, True]}})

    assert AgentSoulConfig.from_stored(soul.as_json()) == soul


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"modell": DEMO}, "modell"),
        ({"config_skills": []}, "config_skills"),
        ({"prompt": {"system": "x"}}, "prompt.system"),
        ({"tools": {"mcp": []}}, "tools.mcp"),
        ({"model": {**DEMO, "temperature": 1}}, "model.temperature"),
        ({"schema_version": 2}, "schema_version"),
        ({"prompt": None}, "prompt"),
        ({"model": {**DEMO, "plugin_id": ""}}, "model.plugin_id"),
        ({"model": {**DEMO, "model": "m" * 256}}, "model.model"),
        ({"model": {"plugin_id": "a/b"}}, "model.model"),
        ({"model": {**DEMO, "credential_ref": {"type": ""}}}, "model.credential_ref.type"),
        ({"model": {**DEMO, "plugin_id": "a/b", "model_settings": {"temperature": "hot"}}},
         "model.model_settings.temperature"),
        ({"model": {**DEMO, "plugin_id": "greenrun/direct", "model_settings": {"compatibility": "full"}}},
         "model.model_settings.compatibility"),
        ({"model": {**DEMO, "plugin_id": "a/b", "model_settings": {"extra_headers": {"Host": "h"}}}},
         "model.model_settings.extra_headers"),
        ({"model": {**DEMO, "plugin_id": "greenrun/direct", "model_settings": {"extra_headers": {"te": "trailers"}}}},
         "model.model_settings.extra_headers"),
        ({"model": {**DEMO, "plugin_id": "a/b", "model_settings": {"stop": 3}}}, "model.model_settings.stop_sequences"),
        ({"model": {**DEMO, "model_settings": {"delay_ms": -1}}}, "model.model_settings.delay_ms"),
        ({"knowledge": {"query_mode": "guess"}}, "knowledge.query_mode"),
        ({"human": {"contacts": ["ada"]}}, "human.contacts.0"),
        ({"app_variables": [{"name": "", "type": "text"}]}, "app_variables.0.name"),
        ({"app_variables": [{"name": "n", "type": "number", "default": "ten"}]}, "app_variables.0.default"),
        ({"app_variables": [{"name": "n", "type": "text"}, {"name": "n", "type": "text"}]}, "app_variables.1.name"),
        ({"tools": {"cli_tools": [{}] * 201}}, "tools.cli_tools"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_refused_with_its_place(document: dict[str, Any], place: str) -> None:
    assert place in refusals(document)


def test_every_problem_is_reported_without_a_value() -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_soul({"prompt": {"system_prompt": 17}, "memory": {"scope": ["canary-value"]}}, "body", "agent_soul")

    assert [item["loc"][:3] for item in caught.value.items] == [
        ["body", "agent_soul", "prompt"],
        ["body", "agent_soul", "memory"],
    ]
    assert "canary-value" not in str(caught.value.items)


@pytest.mark.parametrize("value", [None, [], "soul", 3])
def test_only_an_object_is_a_soul(value: object) -> None:
    assert list(refusals(value)) == [""]


def test_a_soul_within_a_request_is_refused_at_its_place_there() -> None:
    class Payload(BaseModel):
        agent_soul: AgentSoulConfig

    with pytest.raises(ValidationError) as caught:
        Payload.model_validate({"agent_soul": {"env": {"variables": [{"name": "API_KEY", "value": "x"}]}}})

    problem = caught.value.errors()[0]
    assert problem["loc"] == ("agent_soul", "env", "variables", 0, "value")
    assert problem["msg"] == "Plaintext secret is not allowed at agent_soul.env.variables[0].value"


def test_a_tool_has_defaults_and_drops_what_is_not_known() -> None:
    assert tool(colour="red").model_dump() == {
        "enabled": True,
        "provider_type": "plugin",
        "provider_id": "langgenius/google/google",
        "plugin_id": None,
        "provider": None,
        "tool_name": "google_search",
        "credential_type": "api-key",
        "credential_ref": {"type": "tool", "id": "search-key", "provider": None},
        "name": None,
        "description": None,
        "runtime_parameters": {},
    }


def test_a_tool_may_have_the_keys_of_older_documents() -> None:
    older = tool(
        provider_id=None,
        credential_ref=None,
        provider_name="langgenius/google/google",
        tool_parameters={"lang": "en"},
        credential_id="search-key",
    )

    assert older.provider_id == "langgenius/google/google"
    assert older.runtime_parameters == {"lang": "en"}
    assert older.credential_ref is not None
    assert (older.credential_ref.type, older.credential_ref.id) == ("tool", "search-key")


def test_a_newer_key_wins_over_the_older_one() -> None:
    both = tool(provider_name="other/other/other", credential_id="older")

    assert both.provider_id == "langgenius/google/google"
    assert both.credential_ref is not None
    assert both.credential_ref.id == "search-key"


@pytest.mark.parametrize(
    "changes",
    [
        {"provider_id": None},
        {"provider_id": None, "plugin_id": "a/b"},
        {"provider_id": "a/b/c/d"},
        {"provider_id": "a//c"},
        {"tool_name": None},
        {"tool_name": ""},
        {"name": "other_name"},
        {"credential_ref": None},
        {"credential_ref": {"type": "tool"}},
        {"credential_ref": {"type": "vault", "id": "x"}},
        {"credential_type": "basic"},
        {"provider_type": "builtin"},
        {"runtime_parameters": [1]},
    ],
)
def test_a_tool_that_could_not_be_called_is_refused(changes: dict[str, Any]) -> None:
    assert all(place.startswith("tools.dify_tools.0") for place in tool_refusals(**changes))


def test_a_tool_without_authorisation_needs_no_credential() -> None:
    assert tool(credential_ref=None, credential_type="unauthorized").credential_ref is None


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, ("langgenius/google", "google")),
        ({"provider_id": "wikipedia"}, ("langgenius/wikipedia", "wikipedia")),
        ({"provider_id": "jina"}, ("langgenius/jina_tool", "jina")),
        ({"provider_id": None, "plugin_id": "acme/maps", "provider": "maps"}, ("acme/maps", "maps")),
    ],
)
def test_a_tool_knows_its_plugin_and_provider(changes: dict[str, Any], place: tuple[str, str]) -> None:
    assert tool(**changes).place == place


def test_the_credentials_a_run_needs_are_those_of_the_model_and_the_enabled_tools() -> None:
    soul = parse_soul(
        {
            "model": {**DEMO, "credential_ref": {"type": "provider", "id": "openai"}},
            "tools": {
                "dify_tools": [
                    SEARCH,
                    {**SEARCH, "tool_name": "off", "enabled": False, "credential_ref": {"type": "tool", "id": "off"}},
                    {**SEARCH, "tool_name": "images"},
                    {**SEARCH, "tool_name": "free", "credential_type": "unauthorized", "credential_ref": None},
                ]
            },
        }
    )

    assert credential_names(soul) == ["openai", "search-key"]


def test_a_soul_may_be_as_deep_as_the_limit_and_no_deeper() -> None:
    parse_soul({"misc_legacy": nested(MAX_DEPTH - 1)})

    assert refusals({"misc_legacy": nested(MAX_DEPTH + 1)}) == {"": f"nested deeper than {MAX_DEPTH} levels"}
    assert refusals({"misc_legacy": nested(10_000)}) == {"": f"nested deeper than {MAX_DEPTH} levels"}


@pytest.mark.parametrize(
    "legacy",
    [
        {"a": [0] * 20_001},
        {"a": "x" * (1 << 20)},
        {"x" * 256: 1},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 2**53},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": object()},
        {str(number): "x" * 40 for number in range(30_000)},
    ],
    ids=lambda legacy: type(next(iter(legacy.values()))).__name__,
)
def test_a_soul_that_is_too_large_or_not_json_is_refused(legacy: dict[str, Any]) -> None:
    assert refusals({"misc_legacy": legacy})


def test_thousands_of_problems_are_reported_as_one() -> None:
    told = refusals({f"key-{number}": 1 for number in range(15_000)})

    assert told == {"": "15000 problems, more than are told one by one"}


def test_a_hostile_soul_is_refused_in_bounded_time() -> None:
    texts = [
        "eyJ" * 300_000,
        "sk-" * 300_000,
        "://" * 300_000,
        "Bearer " * 100_000,
        "[" * 900_000,
        "-----BEGIN " * 90_000,
    ]
    started = time.monotonic()

    for text in texts:
        parse_soul({"misc_legacy": {"text": text}})

    assert time.monotonic() - started < 30
