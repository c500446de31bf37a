"""What a person hands in, held against the form."""

from __future__ import annotations

from typing import Any

import pytest

from errors import MalformedRequest
from runtime.protocol.ask_human import AskHumanArguments
from services.sessions.form_answers import MAX_NAME_CHARS, submitted
from services.souls.document import MAX_PROMPT_CHARS

OPTIONS = [{"value": "eu", "label": "Europe"}, {"value": "us", "label": "America"}]
FILE: dict[str, Any] = {"transfer_method": "remote_url", "url": "https://example.com/a.txt"}


def form(*fields: dict[str, Any], **rest: Any) -> AskHumanArguments:
    labelled = [{"label": field["name"].title(), **field} for field in fields]
    return AskHumanArguments.model_validate({"question": "Go?", "fields": labelled, **rest})


def values(given: dict[str, Any], *fields: dict[str, Any]) -> dict[str, Any]:
    return submitted(form(*fields), "submit", given).values


def problems(given: dict[str, Any], *fields: dict[str, Any], action: str = "submit") -> list[str]:
    with pytest.raises(MalformedRequest) as raised:
        submitted(form(*fields), action, given)
    return [".".join(map(str, item["loc"])) for item in raised.value.items]


def paragraph(name: str = "why", **rest: Any) -> dict[str, Any]:
    return {"type": "paragraph", "name": name, **rest}


def select(name: str = "where", **rest: Any) -> dict[str, Any]:
    return {"type": "select", "name": name, "options": OPTIONS, **rest}


def file(name: str = "plan", **rest: Any) -> dict[str, Any]:
    return {"type": "file", "name": name, **rest}


def files(name: str = "plans", **rest: Any) -> dict[str, Any]:
    return {"type": "file-list", "name": name, **rest}


def test_a_field_that_is_not_sent_has_its_default_and_one_that_is_left_empty_has_no_value() -> None:
    fields = (paragraph(default="So."), select(default="us"), files())

    assert values({}, *fields) == {"why": "So.", "where": "us"}
    assert values({"why": "", "where": None, "plans": []}, *fields) == {}


def test_texts_are_kept_but_for_what_cannot_be_stored() -> None:
    assert values({"why": " a\nb \0🧭"}, paragraph()) == {"why": " a\nb 🧭"}


def test_values_of_every_type_are_taken() -> None:
    given = {"why": "y" * MAX_PROMPT_CHARS, "where": "us", "plan": FILE, "plans": [FILE, FILE]}

    assert values(given, paragraph(), select(), file(), files(max_files=2)) == given


@pytest.mark.parametrize("field", [paragraph(), select(), file(), files()])
def test_what_is_required_must_be_filled_in(field: dict[str, Any]) -> None:
    name = field["name"]

    for given in ({}, {name: None}, {name: ""}, {name: " \t\n"}, {name: "\0"}):
        assert problems(given, {**field, "required": True}) == [f"body.values.{name}"]
        assert values(given, field) == {}


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        (paragraph(), [7, True, ["y"], {"text": "y"}, "y" * (MAX_PROMPT_CHARS + 1)]),
        (select(), ["Europe", "EU", " eu", 1, True, ["eu"], {"value": "eu"}]),
        (file(), ["a.txt", 7, [FILE]]),
        (files(max_files=2), ["a.txt", 7, FILE, ["a.txt"], [FILE, None], [FILE] * 3]),
    ],
)
def test_what_is_of_another_type_is_refused(field: dict[str, Any], wrong: list[Any]) -> None:
    for value in wrong:
        assert problems({field["name"]: value}, field) == [f"body.values.{field['name']}"]


def test_every_problem_is_reported_at_once() -> None:
    told = problems({"where": "x", "who": "me"}, paragraph(required=True), select(), action="go")

    assert told == ["body.action", "body.values.who", "body.values.why", "body.values.where"]


def test_of_many_unknown_fields_one_is_named_and_shortened() -> None:
    told = problems({f"{number:06}" * 1000: 1 for number in range(1000)}, paragraph())

    assert told == [f"body.values.{('000000' * 1000)[:MAX_NAME_CHARS]}"]


def test_an_action_keeps_the_id_that_the_model_gave_it() -> None:
    name = "a_rather_long_name_of_an_action"
    known = form(actions=[{"id": name, "label": "Go"}, {"id": "stop", "label": "Stop"}])

    chosen = submitted(known, name, {}).action

    assert chosen is not None
    assert (chosen.id, chosen.label) == (name, "Go")


def test_the_form_can_be_read_as_it_was_handed_in() -> None:
    known = form(paragraph(), select(), file(), files(), title="T", markdown="M")

    text = submitted(known, "submit", {"why": "y", "where": "eu", "plan": FILE, "plans": [FILE]}).rendered_content

    assert text == "T\n\nGo?\n\nM\n\nWhy: y\n\nWhere: Europe\n\nPlan: a file\n\nPlans: 1 files\n\nSubmit"
