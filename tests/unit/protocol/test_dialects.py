"""Which Dify asked: the signs of each dialect, and the order in which they count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.protocol.dialects import RULES, Dialect, choose_dialect
from runtime.protocol.requests import CreateRunRequest

OLD_INVOKE_FROM = ["workflow_run", "single_step", "agent_app", "babysit", "fasten"]
NEW_INVOKE_FROM = ["service-api", "openapi", "web-app", "trigger", "explore", "debugger", "published", "validation"]
PURPOSES = ["workflow_node", "single_step", "agent_app", "babysit", "fasten_preview"]
AUGUST_LAYERS = ["dify.runtime", "dify.config", "dify.shell", "dify.drive"]

PROMPT = {"name": "prompt", "type": "plain.prompt", "config": {"user": "Hello"}}
PLUGIN = {"name": "plugin", "type": "dify.plugin"}
ASK_HUMAN = {"name": "ask", "type": "dify.ask_human"}
NO_RESULTS: dict[str, Any] = {}


def context(**config: Any) -> dict[str, Any]:
    return {"name": "context", "type": "dify.execution_context", "config": {"tenant_id": "t", **config}}


def august(layer_type: str = "dify.runtime") -> dict[str, Any]:
    return {"name": "august", "type": layer_type}


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


@pytest.mark.parametrize("layer_type", AUGUST_LAYERS)
def test_an_august_layer_is_10_august(layer_type: str) -> None:
    assert chosen(august(layer_type)) is Dialect.AUGUST_10


def test_a_config_that_came_as_a_json_string_is_read() -> None:
    layer = context() | {"config": json.dumps({"tenant_id": "t", "invoke_from": "fasten"})}

    assert chosen(layer) is Dialect.MAY_27


@pytest.mark.parametrize("invoke_from", [None, 1, ["fasten"], {"fasten": 1}, "FASTEN", ""])
def test_an_invoke_from_of_another_shape_is_no_sign(invoke_from: object) -> None:
    assert chosen(context(invoke_from=invoke_from)) is Dialect.CURRENT


def test_a_context_without_a_config_is_no_sign() -> None:
    assert chosen({"name": "context", "type": "dify.execution_context"}) is Dialect.CURRENT


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("plugin", "august", Dialect.MAY_14),
        ("plugin", "ask_human", Dialect.MAY_14),
        ("plugin", "results", Dialect.MAY_14),
        ("plugin", "purpose", Dialect.MAY_14),
        ("plugin", "old_invoke_from", Dialect.MAY_14),
        ("plugin", "agent_mode", Dialect.MAY_14),
        ("august", "ask_human", Dialect.AUGUST_10),
        ("august", "results", Dialect.AUGUST_10),
        ("august", "purpose", Dialect.AUGUST_10),
        ("august", "old_invoke_from", Dialect.AUGUST_10),
        ("august", "agent_mode", Dialect.AUGUST_10),
        ("ask_human", "purpose", Dialect.JUNE_16),
        ("ask_human", "old_invoke_from", Dialect.JUNE_16),
        ("results", "purpose", Dialect.JUNE_16),
        ("results", "old_invoke_from", Dialect.JUNE_16),
        ("purpose", "agent_mode", Dialect.MAY_27),
    ],
)
def test_the_earlier_sign_decides(first: str, second: str, winner: Dialect) -> None:
    layers = {
        "plugin": PLUGIN,
        "august": august(),
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
    assert chosen(ASK_HUMAN, august(), PLUGIN) is Dialect.MAY_14
    assert chosen(PLUGIN, august(), ASK_HUMAN) is Dialect.MAY_14


def test_every_dialect_has_rules() -> None:
    assert set(RULES) == set(Dialect)
