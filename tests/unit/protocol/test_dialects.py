"""Which Dify asked: the signs of each dialect, and the order in which they count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.protocol.dialects import RULES, Dialect, choose_dialect
from runtime.protocol.requests import CreateRunRequest
from tests.support.golden import run_requests

OLD_INVOKE_FROM = ["workflow_run", "single_step", "agent_app", "babysit", "fasten"]
NEW_INVOKE_FROM = ["service-api", "openapi", "web-app", "trigger", "explore", "debugger", "published", "validation"]
PURPOSES = ["workflow_node", "single_step", "agent_app", "babysit", "fasten_preview"]
JULY_LAYERS = ["dify.config", "dify.shell", "dify.drive"]
JUNE_LAYERS = ["dify.ask_human", "dify.shell", "dify.drive"]

PROMPT = {"name": "prompt", "type": "plain.prompt", "config": {"user": "Hello"}}
PLUGIN = {"name": "plugin", "type": "dify.plugin"}
ASK_HUMAN = {"name": "ask", "type": "dify.ask_human"}
NO_RESULTS: dict[str, Any] = {}


def context(**config: Any) -> dict[str, Any]:
    return {"name": "context", "type": "dify.execution_context", "config": {"tenant_id": "t", **config}}


def layer(layer_type: str) -> dict[str, Any]:
    return {"name": "layer", "type": layer_type}


def chosen(*layers: dict[str, Any], **rest: Any) -> Dialect:
    return choose_dialect(CreateRunRequest.model_validate({"composition": {"layers": [PROMPT, *layers]}, **rest}))


def test_a_request_without_signs_is_current() -> None:
    assert chosen() is Dialect.CURRENT


def test_a_dify_plugin_layer_is_14_may() -> None:
    assert chosen(PLUGIN) is Dialect.MAY_14


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_purpose_is_27_may(purpose: str) -> None:
    assert chosen(purpose=purpose) is Dialect.MAY_27


@pytest.mark.parametrize("invoke_from", OLD_INVOKE_FROM)
def test_an_old_invoke_from_without_an_agent_mode_is_27_may(invoke_from: str) -> None:
    assert chosen(context(invoke_from=invoke_from)) is Dialect.MAY_27
    assert chosen(context(invoke_from=invoke_from, agent_mode=None)) is Dialect.MAY_27


@pytest.mark.parametrize("invoke_from", NEW_INVOKE_FROM)
def test_a_new_invoke_from_alone_is_no_sign(invoke_from: str) -> None:
    assert chosen(context(invoke_from=invoke_from)) is Dialect.CURRENT


@pytest.mark.parametrize("invoke_from", [*OLD_INVOKE_FROM, *NEW_INVOKE_FROM])
def test_an_agent_mode_is_16_june_whatever_invoke_from_says(invoke_from: str) -> None:
    assert chosen(context(invoke_from=invoke_from, agent_mode="workflow_run")) is Dialect.JUNE_16


@pytest.mark.parametrize("results", [{}, {"calls": {}}, {"calls": {"c1": {"status": "submitted"}}}])
def test_deferred_tool_results_are_16_june(results: dict[str, Any]) -> None:
    assert chosen(deferred_tool_results=results) is Dialect.JUNE_16


def test_deferred_tool_results_of_null_are_no_sign() -> None:
    assert chosen(deferred_tool_results=None, purpose=None) is Dialect.CURRENT


def test_an_ask_human_layer_is_16_june() -> None:
    assert chosen(ASK_HUMAN) is Dialect.JUNE_16


def test_a_runtime_layer_is_10_august() -> None:
    assert chosen(layer("dify.runtime")) is Dialect.AUGUST_10


@pytest.mark.parametrize("layer_type", JULY_LAYERS)
@pytest.mark.parametrize("rest", [{}, {"deferred_tool_results": None}, {"purpose": None}])
def test_a_config_a_shell_or_a_drive_without_a_purpose_is_17_july(layer_type: str, rest: dict[str, Any]) -> None:
    assert chosen(layer(layer_type), **rest) is Dialect.JULY_17


@pytest.mark.parametrize("layer_type", JUNE_LAYERS)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_layer_of_june_with_a_purpose_is_16_june(layer_type: str, purpose: str) -> None:
    assert chosen(layer(layer_type), purpose=purpose) is Dialect.JUNE_16


@pytest.mark.parametrize("results", [None, {}, {"calls": {"c1": {"status": "submitted"}}}])
def test_the_key_of_deferred_results_with_a_purpose_is_16_june_also_when_it_is_null(results: Any) -> None:
    assert chosen(purpose="agent_app", deferred_tool_results=results) is Dialect.JUNE_16


def test_a_plugin_layer_with_a_purpose_is_27_may() -> None:
    told = {"tenant_id": "t", "invoke_from": "workflow_run"}

    assert chosen(PLUGIN, purpose="workflow_node", execution_context=told) is Dialect.MAY_27


def test_an_execution_context_beside_the_composition_is_no_sign() -> None:
    told = {"tenant_id": "t", "invoke_from": "workflow_run"}

    assert chosen(execution_context=told) is Dialect.CURRENT
    assert chosen(PLUGIN, execution_context=told) is Dialect.MAY_14


def test_a_config_that_came_as_a_json_string_is_read() -> None:
    told = context() | {"config": json.dumps({"tenant_id": "t", "invoke_from": "fasten"})}

    assert chosen(told) is Dialect.MAY_27


@pytest.mark.parametrize("invoke_from", [None, 1, ["fasten"], {"fasten": 1}, "FASTEN", ""])
def test_an_invoke_from_of_another_shape_is_no_sign(invoke_from: object) -> None:
    assert chosen(context(invoke_from=invoke_from)) is Dialect.CURRENT


def test_a_context_without_a_config_is_no_sign() -> None:
    assert chosen({"name": "context", "type": "dify.execution_context"}) is Dialect.CURRENT


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("runtime", "plugin", Dialect.AUGUST_10),
        ("runtime", "shell", Dialect.AUGUST_10),
        ("runtime", "ask_human", Dialect.AUGUST_10),
        ("runtime", "results", Dialect.AUGUST_10),
        ("runtime", "purpose", Dialect.AUGUST_10),
        ("runtime", "old_invoke_from", Dialect.AUGUST_10),
        ("runtime", "agent_mode", Dialect.AUGUST_10),
        ("plugin", "shell", Dialect.MAY_14),
        ("plugin", "ask_human", Dialect.MAY_14),
        ("plugin", "results", Dialect.MAY_14),
        ("plugin", "old_invoke_from", Dialect.MAY_14),
        ("plugin", "agent_mode", Dialect.MAY_14),
        ("shell", "ask_human", Dialect.JULY_17),
        ("shell", "results", Dialect.JULY_17),
        ("shell", "old_invoke_from", Dialect.JULY_17),
        ("shell", "agent_mode", Dialect.JULY_17),
        ("purpose", "agent_mode", Dialect.MAY_27),
        ("old_invoke_from", "ask_human", Dialect.MAY_27),
        ("old_invoke_from", "results", Dialect.MAY_27),
    ],
)
def test_the_earlier_sign_decides(first: str, second: str, winner: Dialect) -> None:
    layers = {
        "runtime": layer("dify.runtime"),
        "plugin": PLUGIN,
        "shell": {"name": "shell", "type": "dify.shell"},
        "ask_human": ASK_HUMAN,
        "old_invoke_from": context(invoke_from="workflow_run"),
        "agent_mode": context(invoke_from="service-api", agent_mode="agent_app"),
    }
    rest = {"results": ("deferred_tool_results", NO_RESULTS), "purpose": ("purpose", "agent_app")}
    signs = (first, second)

    dialect = chosen(
        *(layers[sign] for sign in signs if sign in layers), **dict(rest[sign] for sign in signs if sign in rest)
    )

    assert dialect is winner


def test_the_place_of_a_sign_among_the_layers_does_not_matter() -> None:
    assert chosen(ASK_HUMAN, layer("dify.shell"), PLUGIN) is Dialect.MAY_14
    assert chosen(PLUGIN, layer("dify.shell"), ASK_HUMAN) is Dialect.MAY_14


@pytest.mark.parametrize(
    ("date", "dialect"),
    [
        ("2026-05-14", Dialect.MAY_14),
        ("2026-05-20", Dialect.MAY_27),
        ("2026-05-27", Dialect.MAY_27),
        ("2026-06-16", Dialect.JUNE_16),
        ("2026-07-17", Dialect.JULY_17),
        ("2026-07-28", Dialect.JULY_17),
        ("2026-08-10", Dialect.AUGUST_10),
    ],
)
def test_every_request_of_a_date_bears_the_signs_of_its_dialect(date: str, dialect: Dialect) -> None:
    found = {golden.name: choose_dialect(CreateRunRequest.model_validate(golden.body)) for golden in run_requests(date)}

    assert found
    assert found == dict.fromkeys(found, dialect)


def test_every_dialect_has_rules() -> None:
    assert set(RULES) == set(Dialect)
