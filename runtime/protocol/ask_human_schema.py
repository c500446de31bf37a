"""The JSON schema of a question to a person, as the model is shown it.

It is written by hand, without references and with one shape for all fields, because some plugins and providers pass on
neither references nor unions. What it cannot express, such as unique names, is checked on each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.protocol.ask_human import (
    IDENTIFIER_PATTERN,
    MAX_DEFAULT_CHARS,
    MAX_FILES,
    MAX_OPTION_CHARS,
    MAX_OPTIONS,
    MAX_PLACEHOLDER_CHARS,
    MAX_TITLE_CHARS,
    FieldType,
)

JsonSchema = dict[str, Any]


def arguments_schema(
    *,
    field_types: Sequence[FieldType],
    max_fields: int,
    max_actions: int,
    max_question_chars: int,
    max_markdown_chars: int,
    max_field_label_chars: int,
    max_action_label_chars: int,
) -> JsonSchema:
    """Returns the schema of the arguments, within the limits of a composition."""
    properties: JsonSchema = {
        "title": _text("A short heading.", MAX_TITLE_CHARS),
        "question": _text("What you want to know, complete in itself.", max_question_chars),
    }
    if max_markdown_chars:
        properties["markdown"] = _text("Background that helps to answer, in Markdown.", max_markdown_chars)
    if max_fields and field_types:
        properties["fields"] = _list(
            "What the person fills in.", _field(field_types, max_field_label_chars), at_most=max_fields
        )
    properties["actions"] = _list(
        "The buttons. Without any there is one that says Submit.", _action(max_action_label_chars), at_most=max_actions
    )
    properties["urgency"] = _choice("How soon you need the answer.", ["normal", "high"])
    return _object(properties, required=["question"])


def _field(types: Sequence[FieldType], max_label_chars: int) -> JsonSchema:
    properties: JsonSchema = {
        "type": _choice("What kind of field it is.", types),
        "name": _identifier("The key of its value in the answer, unique among the fields."),
        "label": _text("What the person reads beside it.", max_label_chars),
        "required": {"type": "boolean", "description": "Whether it must be filled in."},
    }
    if "paragraph" in types:
        properties["placeholder"] = _text("Shown in an empty paragraph.", MAX_PLACEHOLDER_CHARS)
    if "paragraph" in types or "select" in types:
        properties["default"] = _text(
            "What is filled in at first: any text in a paragraph, the value of an option in a select.",
            MAX_DEFAULT_CHARS,
        )
    if "select" in types:
        option = _object(
            {
                "value": _text("Given back when it is chosen, unique in the field.", MAX_OPTION_CHARS),
                "label": _text("What the person reads.", MAX_OPTION_CHARS),
            },
            required=["value", "label"],
        )
        properties["options"] = _list("What a select offers; it needs at least one.", option, at_most=MAX_OPTIONS)
    if "file-list" in types:
        properties["max_files"] = {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_FILES,
            "description": "The most files of a file-list.",
        }
    return _object(properties, required=["type", "name", "label"])


def _action(max_label_chars: int) -> JsonSchema:
    properties = {
        "id": _identifier("Says in the answer which one was used, unique among the actions."),
        "label": _text("What is written on the button.", max_label_chars),
        "style": _choice("How it looks.", ["default", "primary", "destructive"]),
    }
    return _object(properties, required=["id", "label"])


def _object(properties: JsonSchema, *, required: list[str]) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(description: str, items: JsonSchema, *, at_most: int) -> JsonSchema:
    return {"type": "array", "description": description, "items": items, "maxItems": at_most}


def _text(description: str, max_chars: int) -> JsonSchema:
    return {"type": "string", "description": description, "maxLength": max_chars}


def _identifier(description: str) -> JsonSchema:
    return {"type": "string", "description": description, "pattern": IDENTIFIER_PATTERN}


def _choice(description: str, values: Sequence[str]) -> JsonSchema:
    return {"type": "string", "description": description, "enum": list(values)}
