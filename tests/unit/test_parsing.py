"""Bodies and queries as the door parses them, without a server."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from flask import Request
from pydantic import BaseModel
from werkzeug.datastructures import MultiDict
from werkzeug.test import EnvironBuilder

from blueprints.paging import DEFAULT_EVENTS, parse_cursor_parameter, parse_event_page
from blueprints.parsing import parse_body, parse_optional_body
from errors import InvalidRequest
from runtime.protocol.redaction import REDACTED
from runtime.protocol.requests import CancelRunRequest, CreateRunRequest

CANARY = "sk-canary-7f3a9"
JSON = "application/json"


def sent(body: bytes | str, content_type: str | None = JSON) -> Request:
    data = body.encode() if isinstance(body, str) else body
    return Request(EnvironBuilder(method="POST", data=data, content_type=content_type).get_environ())


def refusal(body: bytes | str, model: type[BaseModel] = CreateRunRequest, content_type: str | None = JSON) -> list[Any]:
    """The items of a refused body, as the wire has them."""
    with pytest.raises(InvalidRequest) as caught:
        parse_body(sent(body, content_type), model)
    items: list[Any] = json.loads(json.dumps(caught.value.detail, allow_nan=False))
    return items


def only(items: list[Any]) -> dict[str, Any]:
    assert len(items) == 1, items
    item: dict[str, Any] = items[0]
    return item


# Content types


@pytest.mark.parametrize(
    "content_type",
    [
        JSON,
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/problem+json",
        "application/vnd.x+json",
    ],
)
def test_json_is_accepted_under_each_of_its_content_types(content_type: str | None) -> None:
    assert parse_body(sent('{"reason": "user"}', content_type), CancelRunRequest).reason == "user"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/json",
        "application/jsonp",
        "x",
    ],
)
def test_another_content_type_or_none_is_refused_without_showing_the_body(content_type: str | None) -> None:
    item = only(refusal(f'{{"reason": "{CANARY}"}}', CancelRunRequest, content_type))

    assert (item["type"], item["loc"]) == ("model_attributes_type", ["body"])
    assert CANARY not in json.dumps(item)


# What JSON is


@pytest.mark.parametrize(
    ("body", "position", "reason"),
    [
        ("{", 1, "Expecting property name enclosed in double quotes"),
        ('{"a" 1}', 5, "Expecting ':' delimiter"),
        ("nope", 0, "Expecting value"),
        (" ", 1, "Expecting value"),
        ("{} x", 3, "Extra data"),
        ("\ufeff{}", 0, "Unexpected UTF-8 BOM (decode using utf-8-sig)"),
        ('{"a": "\x01"}', 7, "Invalid control character at"),
        (b'{"a": "\xff"}', 7, "Body is not UTF-8"),
        ('{"a": NaN}', 0, "NaN is not JSON"),
        ('{"a": -Infinity}', 0, "-Infinity is not JSON"),
        ('{"a": 1e999}', 0, "A number is too large"),
        ('{"a": ' + "1" * 5000 + "}", 0, "A number has too many digits"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", 0, "Nested too deeply"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", 0, "Nested too deeply"),
        ('{"a": "\\ud800"}', 0, "Half of a surrogate pair is no character"),
        ('{"a": "\\udc00\\ud800"}', 0, "Half of a surrogate pair is no character"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place_and_reason(body: bytes | str, position: int, reason: str) -> None:
    item = only(refusal(body))

    assert item == {
        "type": "json_invalid",
        "loc": ["body", position],
        "msg": "JSON decode error",
        "input": {},
        "ctx": {"error": reason},
    }


@pytest.mark.parametrize("text", ["\\ud83d\\ude00", "\\\\ud800", "\\u0000", "\\u2028"])
def test_escapes_of_whole_characters_are_read(text: str) -> None:
    parsed = parse_body(sent(f'{{"reason": "{text}"}}'), CancelRunRequest)

    assert parsed.reason == json.loads(f'"{text}"')


@pytest.mark.parametrize("body", ["[]", "1", '"text"', "null", "true", "[{}]"])
def test_json_that_is_not_an_object_is_refused(body: str) -> None:
    item = only(refusal(body))

    assert (item["type"], item["loc"]) == ("model_attributes_type", ["body"])


def test_no_body_at_all_is_a_missing_one() -> None:
    item = only(refusal(b""))

    assert (item["type"], item["loc"]) == ("missing", ["body"])


# Optional bodies


@pytest.mark.parametrize("content_type", [None, JSON, "text/plain"])
def test_an_optional_body_may_be_empty_under_any_content_type(content_type: str | None) -> None:
    assert parse_optional_body(sent(b"", content_type), CancelRunRequest) == CancelRunRequest()


def test_an_optional_body_that_came_is_read() -> None:
    given = parse_optional_body(sent('{"reason": "user", "message": "stop it"}'), CancelRunRequest)

    assert given == CancelRunRequest(reason="user", message="stop it")


def test_an_optional_body_that_came_must_be_right() -> None:
    with pytest.raises(InvalidRequest):
        parse_optional_body(sent("{"), CancelRunRequest)


# Secrets


def layer(**rest: Any) -> dict[str, Any]:
    return {"composition": {"layers": [{"name": "llm", "type": "dify.plugin.llm", **rest}]}}


def nameless(**rest: Any) -> dict[str, Any]:
    """A layer without a name: all else of it is shown with the problem."""
    return {"composition": {"layers": [{"type": "dify.plugin.llm", **rest}]}}


@pytest.mark.parametrize(
    "body",
    [
        nameless(config={"credentials": {"openai": CANARY}}),
        layer(config={"credentials": {"api_key": CANARY}}, deps=1),
        layer(config=[CANARY]),
        layer(config=f'{{"credentials": {{"api_key": "{CANARY}"'),
        layer(config=json.dumps([{"api_key": CANARY}])),
        layer(Config={"anything": CANARY}),
        layer(configuration=json.dumps({"openai": CANARY})),
        layer(credentials={"openai": CANARY}),
        layer(deps={"api_key": [CANARY]}),
        nameless(metadata={"api_key": CANARY, "apiKey": CANARY, "api-key": CANARY, "x-api-key": CANARY}),
        nameless(metadata={"headers": {"Authorization": CANARY, "Cookie": CANARY, "Bearer": CANARY}}),
        nameless(metadata={"aws_access_key_id": CANARY, "private_key": CANARY, "passwd": CANARY, "pwd": CANARY}),
        nameless(metadata={"deep": [[{"secret_key": CANARY}]]}),
        nameless(metadata={"text": json.dumps({"api_key": CANARY})}),
        nameless(metadata={"header": f"Authorization: Bearer {CANARY}"}),
        {"composition": json.dumps(layer(config={"credentials": {"api_key": CANARY}}))},
        {"composition": json.dumps(layer(config={"openai": CANARY}))},
        {"composition": {"layers": json.dumps([{"config": {"credentials": {"api_key": CANARY}}}])}},
        {"composition": {"layers": [json.dumps({"config": {"openai": CANARY}})]}},
        {"metadata": {"api_key": CANARY}},
        {"metadata": [{"token": CANARY}]},
    ],
)
def test_no_refusal_shows_a_credential(body: dict[str, Any]) -> None:
    items = refusal(json.dumps(body))

    assert CANARY not in json.dumps(items)


@pytest.mark.parametrize("body", [f"api_key={CANARY}", f'{{"api_key": "{CANARY}"', f'"{CANARY}"', f'["{CANARY}"]'])
def test_no_refusal_shows_a_body_that_is_no_object(body: str) -> None:
    assert CANARY not in json.dumps(refusal(body))


def test_a_value_below_a_secret_key_is_hidden_and_the_rest_is_shown() -> None:
    item = only(refusal(json.dumps({"metadata": {"region": "eu", "api_key": CANARY}})))

    assert item["input"] == {"metadata": {"region": "eu", "api_key": REDACTED}}


def test_a_deep_value_is_cut_where_it_would_be_shown() -> None:
    nested: object = "bottom"
    for _ in range(100):
        nested = [nested]

    item = only(refusal(json.dumps({"metadata": {"deep": nested}})))

    assert "bottom" not in json.dumps(item)
    assert REDACTED in json.dumps(item)


# Many problems


def test_every_problem_of_a_body_is_reported() -> None:
    body = {"composition": {"layers": [{"name": 1, "type": "x"}, {"name": "b", "extra": 1}]}, "on_exit": None, "x": 1}

    found = {(item["type"], *item["loc"]) for item in refusal(json.dumps(body))}

    assert found == {
        ("string_type", "body", "composition", "layers", 0, "name"),
        ("missing", "body", "composition", "layers", 1, "type"),
        ("extra_forbidden", "body", "composition", "layers", 1, "extra"),
        ("model_type", "body", "on_exit"),
        ("extra_forbidden", "body", "x"),
    }


@pytest.mark.parametrize(
    "body",
    [
        '{"composition": {"layers": [' + "0," * 1_000_000 + "0]}}",
        '{"composition": {"layers": []}, "session_snapshot": {"layers": [' + "0," * 1_000_000 + "0]}}",
        '{"metadata": {"list": [' + "0," * 1_000_000 + '0], "text": "' + "x" * 1_000_000 + '"}}',
        '{"metadata": {' + ",".join(f'"k{number}": 0' for number in range(100_000)) + "}}",
        '{"composition": {"layers": []}, ' + ",".join(f'"k{number}": 0' for number in range(100_000)) + "}",
    ],
    ids=["layers", "snapshot", "shown list", "shown keys", "keys"],
)
def test_the_refusal_of_a_huge_body_is_short(body: str) -> None:
    begun = time.monotonic()

    items = refusal(body)

    assert len(json.dumps(items)) < 100_000
    assert time.monotonic() - begun < 20


# Queries


def query(**given: str) -> MultiDict[str, str]:
    return MultiDict(given)


def test_a_page_without_a_query_is_the_first_of_the_default_size() -> None:
    assert parse_event_page(query()) == ("0-0", "0-0", DEFAULT_EVENTS)


def test_a_cursor_is_kept_as_it_was_given_beside_its_normal_form() -> None:
    assert parse_event_page(query(after="007")) == ("007", "7-0", DEFAULT_EVENTS)


def test_an_empty_cursor_counts_as_absent() -> None:
    assert parse_event_page(query(after="")) == ("0-0", "0-0", DEFAULT_EVENTS)


@pytest.mark.parametrize(("given", "limit"), [("1", 1), ("500", 500), ("007", 7), ("+5", 5), (" 5 ", 5)])
def test_a_limit_is_a_whole_number_from_1_to_500(given: str, limit: int) -> None:
    assert parse_event_page(query(limit=given))[2] == limit


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("0", "greater_than_equal"),
        ("-1", "greater_than_equal"),
        ("501", "less_than_equal"),
        ("999999999", "less_than_equal"),
        ("", "int_parsing"),
        (" ", "int_parsing"),
        ("abc", "int_parsing"),
        ("1.5", "int_parsing"),
        ("1e2", "int_parsing"),
        ("0x10", "int_parsing"),
        ("\u0661", "int_parsing"),
        ("1" * 5000, "int_parsing"),
    ],
)
def test_another_limit_is_refused(given: str, kind: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_event_page(query(limit=given))

    item = only(list(caught.value.detail))
    assert (item["type"], item["loc"], item["input"]) == (kind, ["query", "limit"], given)


@pytest.mark.parametrize("source", ["query", "header"])
def test_a_bad_cursor_is_reported_with_its_place(source: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_cursor_parameter("nope", "after", source=source)

    item = only(list(caught.value.detail))
    assert (item["type"], item["loc"], item["input"]) == ("value_error", [source, "after"], "nope")
