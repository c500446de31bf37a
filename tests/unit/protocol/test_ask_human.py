"""What a model may ask a person, and what a person's answer looks like."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from runtime.protocol.ask_human import AskHumanArguments, AskHumanResult
from runtime.protocol.ask_human_schema import JsonSchema, arguments_schema
from runtime.protocol.problems import problems_text

OPTIONS = [{"value": "eu", "label": "Europe"}, {"value": "us", "label": "America"}]
WHOLE_FORM: dict[str, Any] = {
    "title": "Deployment",
    "question": "Where and when?",
    "markdown": "**Version 7** is ready.",
    "fields": [
        {"type": "paragraph", "name": "why", "label": "Why", "placeholder": "A reason", "default": "It is time."},
        {"type": "select", "name": "region", "label": "Region", "required": True, "options": OPTIONS, "default": "us"},
        {"type": "file", "name": "plan", "label": "Plan"},
        {"type": "file-list", "name": "logs", "label": "Logs", "max_files": 3},
    ],
    "actions": [
        {"id": "go", "label": "Go", "style": "primary"},
        {"id": "stop", "label": "Stop", "style": "destructive"},
        {"id": "later", "label": "Later"},
    ],
    "urgency": "high",
}


def arguments(**given: Any) -> AskHumanArguments:
    return AskHumanArguments.model_validate({"question": "Go?", **given})


def refusal(**given: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        arguments(**given)
    return problems_text(caught.value)


def select(**given: Any) -> dict[str, Any]:
    return {"type": "select", "name": "region", "label": "Region", "options": OPTIONS, **given}


def paragraph(**given: Any) -> dict[str, Any]:
    return {"type": "paragraph", "name": "why", "label": "Why", **given}


def schema(**limits: Any) -> JsonSchema:
    given: dict[str, Any] = {
        "field_types": ["paragraph", "select", "file", "file-list"],
        "max_fields": 8,
        "max_actions": 4,
        "max_question_chars": 1000,
        "max_markdown_chars": 8000,
        "max_field_label_chars": 120,
        "max_action_label_chars": 80,
        **limits,
    }
    return arguments_schema(**given)


def test_a_bare_question_gets_one_action_that_submits() -> None:
    assert arguments().as_wire() == {
        "question": "Go?",
        "fields": [],
        "actions": [{"id": "submit", "label": "Submit", "style": "primary"}],
        "urgency": "normal",
    }


def test_a_whole_form_is_passed_on_with_its_defaults_filled_in() -> None:
    wire = arguments(**WHOLE_FORM).as_wire()

    fields = [{"required": False, **field} for field in WHOLE_FORM["fields"]]
    actions = [{"style": "default", **action} for action in WHOLE_FORM["actions"]]
    assert wire == {**WHOLE_FORM, "fields": fields, "actions": actions}


def test_empty_values_count_as_left_out() -> None:
    wire = arguments(title=" ", markdown="", fields=None, actions=[]).as_wire()

    assert wire == arguments().as_wire()


def test_a_key_of_another_field_type_may_be_there_when_it_is_empty() -> None:
    wire = arguments(fields=[paragraph(options=[], max_files=None)]).as_wire()

    assert wire["fields"] == [paragraph(required=False)]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"question": " "}, "question: Value error, it must not be blank"),
        ({"question": 7}, "question: Input should be a valid string"),
        ({"recipient": "bob"}, "recipient: Extra inputs are not permitted"),
        ({"urgency": "now"}, "urgency: Input should be 'normal' or 'high'"),
        ({"title": "t" * 201}, "title: String should have at most 200 characters"),
        ({"fields": {"why": "?"}}, "fields: Input should be a valid list"),
        ({"fields": ["why"]}, "fields.0: Input should be a valid dictionary"),
        ({"fields": [paragraph(type="date")]}, "Input tag 'date' found using 'type' does not match"),
        ({"fields": [paragraph(name="why not")]}, "fields.0.paragraph.name: String should match pattern"),
        ({"fields": [paragraph(name="2nd")]}, "fields.0.paragraph.name: String should match pattern"),
        ({"fields": [paragraph(name="why\n")]}, "fields.0.paragraph.name: String should match pattern"),
        ({"fields": [paragraph(label=" ")]}, "fields.0.paragraph.label: Value error, it must not be blank"),
        ({"fields": [paragraph(options=OPTIONS)]}, "fields.0.paragraph.options: Extra inputs are not permitted"),
        ({"fields": [paragraph(), paragraph()]}, "the field name 'why' is used twice"),
        ({"fields": [select(options=[])]}, "fields.0.select.options: Field required"),
        ({"fields": [select(options=[*OPTIONS, OPTIONS[0]])]}, "the option value 'eu' is used twice"),
        ({"fields": [select(default="asia")]}, "the default must be the value of one of the options"),
        ({"fields": [{"type": "file-list", "name": "a", "label": "A", "max_files": 0}]}, "greater than or equal to 1"),
        ({"actions": [{"id": "go", "label": "Go"}] * 2}, "the action id 'go' is used twice"),
        ({"actions": [{"id": "go!", "label": "Go"}]}, "actions.0.id: String should match pattern"),
        ({"actions": [{"id": "go", "label": ""}]}, "actions.0.label: Value error, it must not be blank"),
        ({"actions": [{"id": "go", "label": "Go", "style": "red"}]}, "actions.0.style: Input should be 'default'"),
    ],
)
def test_wrong_arguments_are_reported_with_their_place(given: dict[str, Any], told: str) -> None:
    assert told in refusal(**given)


def test_the_schema_accepts_what_the_arguments_accept() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())

    jsonschema.validate(WHOLE_FORM, schema())


def test_the_schema_has_no_references_and_no_unions() -> None:
    text = json.dumps(schema())

    assert not any(word in text for word in ("$ref", "$defs", "anyOf", "oneOf"))


def test_the_schema_says_the_limits_of_the_composition() -> None:
    properties = schema(
        field_types=["paragraph"],
        max_fields=2,
        max_actions=3,
        max_question_chars=50,
        max_markdown_chars=60,
        max_field_label_chars=7,
        max_action_label_chars=8,
    )["properties"]

    assert properties["question"]["maxLength"] == 50
    assert properties["markdown"]["maxLength"] == 60
    assert properties["fields"]["maxItems"] == 2
    assert properties["actions"]["maxItems"] == 3
    field = properties["fields"]["items"]["properties"]
    assert field["type"]["enum"] == ["paragraph"]
    assert field["label"]["maxLength"] == 7
    assert sorted(field) == ["default", "label", "name", "placeholder", "required", "type"]
    assert properties["actions"]["items"]["properties"]["label"]["maxLength"] == 8


@pytest.mark.parametrize("limits", [{"max_fields": 0}, {"field_types": []}], ids=["none allowed", "no type allowed"])
def test_a_schema_without_fields_does_not_speak_of_them(limits: dict[str, Any]) -> None:
    assert "fields" not in schema(**limits)["properties"]


@pytest.mark.parametrize(
    "value",
    [
        {"status": "submitted", "action": {"id": "go", "label": "Go"}, "values": {"why": "Because.", "n": [1, None]}},
        {
            "status": "timeout",
            "action": None,
            "values": {},
            "message": None,
            "rendered_content": "Go?",
        },
        {"status": "cancelled", "values": {}, "message": "Not today."},
        {"status": "unavailable"},
    ],
    ids=lambda value: str(value["status"]),
)
def test_an_answer_has_a_status_and_what_was_filled_in(value: dict[str, Any]) -> None:
    assert AskHumanResult.model_validate(value).model_dump(exclude_unset=True) == value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("yes", "value: Input should be a valid dictionary"),
        ({}, "status: Field required"),
        ({"status": "done"}, "status: Input should be 'submitted', 'timeout', 'cancelled' or 'unavailable'"),
        ({"status": "submitted", "values": None}, "values: Input should be a valid dictionary"),
        ({"status": "submitted", "values": []}, "values: Input should be a valid dictionary"),
        ({"status": "submitted", "action": "go"}, "action: Input should be a valid dictionary"),
        ({"status": "submitted", "action": {"id": "go"}}, "action.label: Field required"),
        ({"status": "submitted", "by": "Ada"}, "by: Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_a_wrong_answer_is_refused(value: object, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AskHumanResult.model_validate(value)

    assert told in problems_text(caught.value)
