"""A person's answer to a form: checked against the form, and rendered for the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from runtime.protocol.ask_human import (
    AskHumanArguments,
    AskHumanResult,
    ChosenAction,
    FileField,
    FileListField,
    FormAction,
    FormField,
    ParagraphField,
    SelectField,
)
from services.sessions.answers import PARAGRAPH, storable
from services.souls.document import MAX_PROMPT_CHARS
from services.souls.problems import Problem, refuse_request

TIMED_OUT = AskHumanResult(status="timeout")

MAX_NAME_CHARS = 64
"""The most characters of an unknown field's name that are shown to its sender; names of fields are no longer."""


def submitted(form: AskHumanArguments, action: str, values: Mapping[str, JsonValue]) -> AskHumanResult:
    """Returns the result that the model gets for a form submitted with this action and these values, by field name.

    A field that is not sent has its default. Raises MalformedRequest with every problem.
    """
    chosen = next((known for known in form.actions if known.id == action), None)
    problems = [] if chosen else [Problem(("action",), "the form has no such action")]
    known = {field.name for field in form.fields}
    unknown = next((name for name in values if name not in known), None)
    if unknown is not None:
        problems.append(Problem(("values", unknown[:MAX_NAME_CHARS]), "the form has no such field"))
    filled: dict[str, JsonValue] = {}
    for field in form.fields:
        value = _filled(field, values)
        if value is not None:
            filled[field.name] = value
        problems += _problems(field, value)
    if problems or chosen is None:
        refuse_request(problems, "body")
    return AskHumanResult(
        status="submitted",
        action=ChosenAction(id=chosen.id, label=chosen.label),
        values=filled,
        rendered_content=_rendered(form, chosen, filled),
    )


def _filled(field: FormField, values: Mapping[str, JsonValue]) -> JsonValue:
    """Returns a field's value; None for one that is left empty."""
    default = field.default if isinstance(field, ParagraphField | SelectField) else None
    value = values.get(field.name, default)
    if isinstance(value, str):
        value = storable(value)
        return value if value.strip() else None
    return None if value == [] else value


def _problems(field: FormField, value: JsonValue) -> Iterator[Problem]:
    place = ("values", field.name)
    if value is None:
        if field.required:
            yield Problem(place, "must be filled in", "missing")
    elif problem := _misfit(field, value):
        yield Problem(place, problem)


def _misfit(field: FormField, value: JsonValue) -> str | None:
    match field:
        case ParagraphField() if not isinstance(value, str):
            return "must be a text"
        case ParagraphField() if len(str(value)) > MAX_PROMPT_CHARS:
            return f"takes at most {MAX_PROMPT_CHARS} characters"
        case SelectField() if value not in [option.value for option in field.options]:
            return "must be one of the options"
        case FileField() if not isinstance(value, dict):
            return "must be a file: an object"
        case FileListField() if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            return "must be a list of files, each an object"
        case FileListField(max_files=int(most)) if isinstance(value, list) and len(value) > most:
            return f"takes at most {most} files"
    return None


def _rendered(form: AskHumanArguments, chosen: FormAction, values: Mapping[str, JsonValue]) -> str:
    """Renders the submitted form as text."""
    parts = [form.title, form.question, form.markdown]
    parts += [f"{field.label}: {_shown(field, values[field.name])}" for field in form.fields if field.name in values]
    return storable(PARAGRAPH.join(filter(None, [*parts, chosen.label])))


def _shown(field: FormField, value: JsonValue) -> str:
    match field:
        case ParagraphField():
            return str(value)
        case SelectField():
            return next(option.label for option in field.options if option.value == value)
        case FileListField() if isinstance(value, list):
            return f"{len(value)} files"
    return "a file"
