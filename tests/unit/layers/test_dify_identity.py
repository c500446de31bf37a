"""``dify.plugin`` and ``dify.execution_context``."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from runtime.layers.dify_identity import DifyPluginConfig, ExecutionContextConfig

OLD_INVOKE_FROM = ["workflow_run", "single_step", "agent_app", "babysit", "fasten"]
NEW_INVOKE_FROM = ["service-api", "openapi", "web-app", "trigger", "explore", "debugger", "published", "validation"]
IDS = [
    "user_id",
    "app_id",
    "workflow_id",
    "workflow_run_id",
    "node_id",
    "node_execution_id",
    "conversation_id",
    "agent_id",
    "agent_config_version_id",
    "trace_id",
]


def context(**config: Any) -> ExecutionContextConfig:
    return ExecutionContextConfig.model_validate({"tenant_id": "tenant-1", "invoke_from": "service-api", **config})


@pytest.mark.parametrize("invoke_from", [*OLD_INVOKE_FROM, *NEW_INVOKE_FROM])
def test_invoke_from_has_the_meanings_of_both_dates(invoke_from: str) -> None:
    assert context(invoke_from=invoke_from).invoke_from == invoke_from


@pytest.mark.parametrize("agent_mode", [*OLD_INVOKE_FROM, None])
def test_the_agent_mode_may_be_absent_and_has_the_old_values(agent_mode: str | None) -> None:
    assert context().agent_mode is None
    assert context(agent_mode=agent_mode).agent_mode == agent_mode


@pytest.mark.parametrize("key", IDS)
def test_every_id_may_be_given_null_or_absent(key: str) -> None:
    assert getattr(context(), key) is None
    assert getattr(context(**{key: None}), key) is None
    assert getattr(context(**{key: "id-1"}), key) == "id-1"


@pytest.mark.parametrize("user_from", ["account", "end-user", None])
def test_user_from_is_optional(user_from: str | None) -> None:
    assert context(user_from=user_from).user_from == user_from


@pytest.mark.parametrize("kind", ["snapshot", "draft", "build_draft", None])
def test_the_kind_of_a_config_version_is_optional(kind: str | None) -> None:
    assert context(agent_config_version_kind=kind).agent_config_version_kind == kind


@pytest.mark.parametrize(
    "config",
    [
        {"invoke_from": None},
        {"invoke_from": "somewhere"},
        {"invoke_from": "WEB-APP"},
        {"agent_mode": "service-api"},
        {"user_from": "nobody"},
        {"agent_config_version_kind": "final"},
        {"tenant_id": ""},
        {"tenant_id": None},
        {"tenant_id": 1},
        {"user_id": 1},
        {"api_key": "x"},
    ],
)
def test_another_context_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        context(**config)


@pytest.mark.parametrize("absent", ["tenant_id", "invoke_from"])
def test_a_context_needs_a_tenant_and_where_it_was_invoked_from(absent: str) -> None:
    config = {"tenant_id": "tenant-1", "invoke_from": "service-api"}
    del config[absent]

    with pytest.raises(ValidationError, match=absent):
        ExecutionContextConfig.model_validate(config)


def test_a_plugin_has_a_tenant_an_id_and_perhaps_a_user() -> None:
    config = {"tenant_id": "tenant-1", "plugin_id": "langgenius/openai"}

    assert DifyPluginConfig.model_validate(config).user_id is None
    assert DifyPluginConfig.model_validate({**config, "user_id": "user-1"}).user_id == "user-1"


@pytest.mark.parametrize("config", [{}, {"tenant_id": ""}, {"plugin_id": ""}, {"plugin_id": None}, {"model": "x"}])
def test_another_plugin_is_refused(config: dict[str, Any]) -> None:
    whole = {"tenant_id": "tenant-1", "plugin_id": "langgenius/openai"} if config else {}

    with pytest.raises(ValidationError):
        DifyPluginConfig.model_validate({**whole, **config})
