"""What a plugin's tool is called with."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runtime.llm.plugin_tools.arguments import UnfitArgumentsError, tool_parameters
from runtime.llm.plugin_tools.casting import UnfitValueError, cast_value
from runtime.llm.plugin_tools.parameter import ToolParameter
from runtime.llm.plugin_tools.prepared import PreparedTool

FILE = {"dify_model_identity": "__dify__file__", "type": "custom"}


def tool(
    *parameters: dict[str, Any], runtime: dict[str, Any] | None = None, schema: dict[str, Any] | None = None
) -> PreparedTool:
    declared = [ToolParameter.model_validate({"type": "string", "form": "llm", **given}) for given in parameters]
    return PreparedTool(
        plugin_id="org/plugin",
        provider="provider",
        tool_name="search",
        name="search",
        description="search",
        credential_type="api-key",
        credentials={"api_key": "sk-canary", "port": 80},
        runtime_parameters=runtime or {},
        parameters=declared,
        json_schema=schema or {"type": "object", "properties": {}},
    )


# Precedence


def test_arguments_of_the_model_are_sent() -> None:
    assert tool_parameters(tool({"name": "query"}), {"query": "comets"}) == {"query": "comets"}


def test_the_model_cannot_override_a_runtime_parameter() -> None:
    prepared = tool({"name": "query"}, {"name": "site"}, runtime={"site": "a.org", "undeclared": 1})

    sent = tool_parameters(prepared, {"query": "comets", "site": "evil.org", "undeclared": 2})

    assert sent == {"query": "comets", "site": "a.org", "undeclared": 1}


@pytest.mark.parametrize("form", ["form", "schema"])
def test_the_model_cannot_set_a_hidden_parameter_that_has_no_value(form: str) -> None:
    hidden = tool({"name": "mode", "form": form, "default": "safe"}, {"name": "limit", "form": form})

    assert tool_parameters(hidden, {"mode": "wild", "limit": "9"}) == {"mode": "safe"}


def test_arguments_the_model_was_not_shown_are_left_out() -> None:
    shown = tool({"name": "query"}, schema={"type": "object", "properties": {"page": {"type": "integer"}}})

    assert tool_parameters(shown, {"query": "a", "page": 2, "debug": True}) == {"query": "a", "page": 2}


@pytest.mark.parametrize(
    ("additional", "sent"), [(True, {"debug": 1}), ({"type": "integer"}, {"debug": 1}), (False, {})]
)
def test_a_schema_may_say_that_it_takes_any_name(additional: object, sent: dict[str, Any]) -> None:
    assert tool_parameters(tool(schema={"additionalProperties": additional}), {"debug": 1}) == sent


@pytest.mark.parametrize("given", [{}, {"limit": None}])
def test_a_default_stands_in_for_what_is_absent_or_null(given: dict[str, Any]) -> None:
    assert tool_parameters(tool({"name": "limit", "type": "number", "default": "5"}), given) == {"limit": 5}


@pytest.mark.parametrize("given", [{}, {"note": None}])
def test_an_optional_parameter_without_a_value_is_not_sent(given: dict[str, Any]) -> None:
    assert tool_parameters(tool({"name": "note"}), given) == {}


def test_null_is_a_value_where_any_is_taken() -> None:
    assert tool_parameters(tool({"name": "x", "type": "any", "required": True}), {"x": None}) == {"x": None}


@pytest.mark.parametrize("given", [{}, {"query": None}])
def test_a_missing_required_argument_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(UnfitArgumentsError, match="the required parameter 'query' is missing"):
        tool_parameters(tool({"name": "query", "required": True}), given)


@pytest.mark.parametrize("runtime", [{}, {"site": None}])
def test_a_missing_required_hidden_parameter_is_not_blamed_on_the_model(runtime: dict[str, Any]) -> None:
    prepared = tool({"name": "site", "form": "form", "required": True}, runtime=runtime)

    with pytest.raises(UnfitArgumentsError, match="'site' is not set up, which only a user can do"):
        tool_parameters(prepared, {"site": "evil.org"})


def test_runtime_parameters_are_cast_and_what_does_not_fit_is_sent_as_it_is() -> None:
    prepared = tool(
        {"name": "limit", "type": "number", "form": "form"},
        {"name": "offset", "type": "number", "form": "form"},
        runtime={"limit": "3", "offset": ""},
    )

    assert tool_parameters(prepared, {}) == {"limit": 3, "offset": ""}


def test_an_argument_that_does_not_fit_is_named_and_not_shown() -> None:
    with pytest.raises(UnfitArgumentsError) as caught:
        tool_parameters(tool({"name": "limit", "type": "number"}), {"limit": "sk-canary"})

    assert str(caught.value) == "the parameter 'limit' must be a number"


def test_a_select_takes_only_its_options() -> None:
    select = tool(
        {"name": "level", "type": "select", "options": [{"value": 1, "label": {"en_US": "one"}}, {"value": "2"}]}
    )

    assert tool_parameters(select, {"level": 1}) == {"level": "1"}
    with pytest.raises(UnfitArgumentsError, match="'level' must be one of: 1, 2"):
        tool_parameters(select, {"level": "3"})


# Casting


@pytest.mark.parametrize(
    ("type_name", "value", "cast"),
    [
        ("string", "a", "a"),
        ("string", 7, "7"),
        ("string", True, "true"),
        ("select", 1.5, "1.5"),
        ("secret-input", 123, "123"),
        ("dynamic-select", "x", "x"),
        ("checkbox", ["a"], '["a"]'),
        ("boolean", True, True),
        ("boolean", "Yes", True),
        ("boolean", " off ", False),
        ("boolean", "n", False),
        ("boolean", "", False),
        ("boolean", 0, False),
        ("boolean", 1, True),
        ("number", 7, 7),
        ("number", 0.5, 0.5),
        ("number", "7", 7),
        ("number", " -2.5 ", -2.5),
        ("number", "1e3", 1000.0),
        ("model-selector", {"provider": "p"}, {"provider": "p"}),
        ("app-selector", '{"app_id": "1"}', {"app_id": "1"}),
        ("object", '{"a": [1]}', {"a": [1]}),
        ("array", [1], [1]),
        ("array", '["a", "b"]', ["a", "b"]),
        ("array", "a, b", ["a, b"]),
        ("array", '{"a": 1}', ['{"a": 1}']),
        ("array", 5, [5]),
        ("any", {"a": None}, {"a": None}),
        ("type-of-next-year", "x", "x"),
    ],
)
def test_a_value_is_cast_to_its_type(type_name: str, value: Any, cast: Any) -> None:
    result = cast_value(type_name, value)

    assert result == cast
    assert type(result) is type(cast)


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("boolean", "perhaps"),
        ("boolean", [True]),
        ("number", "seven"),
        ("number", "nan"),
        ("number", "9" * 5000),
        ("number", math.inf),
        ("number", True),
        ("number", [1]),
        ("object", "plain"),
        ("object", "[1]"),
        ("model-selector", "gpt"),
        ("file", "notes.txt"),
        ("file", "file:///etc/passwd"),
        ("file", "http://[broken"),
        ("file", ["https://a.org/1", "https://a.org/2"]),
        ("file", []),
        ("files", [5]),
    ],
)
def test_a_value_that_cannot_be_of_its_type_is_refused(type_name: str, value: Any) -> None:
    with pytest.raises(UnfitValueError, match=r"^must be"):
        cast_value(type_name, value)


def test_a_url_becomes_a_file() -> None:
    file = {
        **FILE,
        "url": "https://a.org/x/my%20photo.png?sig=1",
        "size": -1,
        "filename": "my photo.png",
        "extension": ".png",
        "mime_type": "image/png",
    }

    assert cast_value("file", file["url"]) == file
    assert cast_value("file", [file["url"]]) == file
    assert cast_value("files", file["url"]) == [file]
    assert cast_value("system-files", [file["url"], "HTTPS://b.org"]) == [
        file,
        {**FILE, "url": "HTTPS://b.org", "size": -1},
    ]


def test_the_object_of_a_file_keeps_what_it_says() -> None:
    described = {"url": "https://a.org/1", "type": "image", "filename": "1.png"}

    assert cast_value("file", described) == {**FILE, **described}
    assert cast_value("files", {"reference": "r"}) == [{"reference": "r"}]


# Secrets


def test_credentials_and_secret_runtime_parameters_are_the_secrets_of_a_tool() -> None:
    prepared = tool(
        {"name": "token", "type": "secret-input", "form": "form"},
        {"name": "pin", "type": "secret-input", "form": "form"},
        {"name": "site", "form": "form"},
        runtime={"token": "tok-1234", "pin": 98765, "site": "a.org"},
    )

    assert prepared.secrets() == ["sk-canary", "tok-1234", "98765"]
    assert "sk-canary" not in repr(prepared)
    assert "tok-1234" not in repr(prepared)
