"""Request bodies: valid ones for a route, and damaged ones."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from runtime.layers.registry import LAYER_TYPES
from runtime.protocol.requests import CancelRunRequest, CreateRunRequest, CreateStreamTokenRequest
from services.structured_output import ValidateOutputRequest
from tests.fuzz.schemas import ANYTHING, TEXTS, values_of


class Raw(str):
    """Text that is written into JSON unchanged."""


class Twice(dict[str, Any]):
    """An object that is written with every key twice."""


NAMES = {"dify.output": "output", "pydantic_ai.history": "history", "dify.plugin": "plugin"}
MODELS = ["dify.plugin.llm", "greenrun.llm", "greenrun.demo_llm"]
CONTEXT = "dify.execution_context"
CONFIGS = {kind: values_of(layer.config_type) for kind, layer in LAYER_TYPES.items()}
SNAPSHOT_STATES = st.sampled_from(["suspended", "suspended", "new", "active", "closed"])

OUTPUT_SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "pattern": "^(a+)+$"},
            {"type": "integer", "minimum": 1},
            {"type": "number", "multipleOf": 1e-300},
            {"$ref": "#/$defs/a"},
            {"$ref": "#"},
            {"$ref": "http://127.0.0.1:9/a"},
            {"enum": [1, "a", None]},
            {"const": 2**70},
            {"pattern": "("},
            {"type": "string", "minLength": 2**70},
            True,
            False,
        ]
    )
    | ANYTHING,
    lambda inner: st.fixed_dictionaries(
        {"type": st.sampled_from(["object", "array"])},
        optional={
            "properties": st.dictionaries(TEXTS, inner, max_size=3),
            "required": st.lists(TEXTS, max_size=2),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "additionalProperties": inner,
            "$defs": st.fixed_dictionaries({"a": inner}),
        },
    ),
    max_leaves=5,
)

ODD_VALUES = st.sampled_from(
    [
        None,
        True,
        "",
        [],
        {},
        [None],
        {"": None},
        0,
        -1,
        2**31,
        2**63,
        2**64,
        10**400,
        1.5,
        -0.0,
        "\x00",
        "\ud800",
        "\ufeff",
        "\u2028\u2029\x85",
        "a" * 100_000,
        "../../etc/passwd",
        [0] * 2_000,
        {str(number): number for number in range(200)},
        Raw("1e999"),
        Raw("-1e-999"),
        Raw("NaN"),
        Raw("-Infinity"),
        Raw("1" * 5_000),
        Raw("01"),
        Raw('"\\ud800"'),
        Raw('"\\u0000"'),
        Raw('"\\x"'),
        Raw('{"a":1,"a":2}'),
        Raw("[" * 150 + "]" * 150),
        Raw("[" * 50_000 + "]" * 50_000),
        Raw('{"a":' * 20_000 + "1" + "}" * 20_000),
        Raw(""),
    ]
)


def _layer_name(kind: str) -> str:
    return "llm" if kind in MODELS else NAMES.get(kind, kind.rpartition(".")[2])


@st.composite
def layers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Layers that are often used together: a prompt, a model, and some others."""
    model = draw(st.sampled_from(["greenrun.demo_llm", "greenrun.demo_llm", None, *MODELS]))
    others = draw(st.lists(st.sampled_from(sorted(set(LAYER_TYPES) - {*MODELS, CONTEXT})), max_size=3, unique=True))
    kinds = [CONTEXT, *others, *([model] if model else [])]
    found = [{"name": "first", "type": "plain.prompt", "config": {"user": draw(TEXTS) or "Hello"}}]
    for kind in kinds:
        config = draw(CONFIGS[kind])
        if kind == "dify.output" and isinstance(config, dict):
            config["json_schema"] = {"type": "object", "properties": {"a": draw(OUTPUT_SCHEMAS)}}
        if kind == "greenrun.demo_llm" and draw(st.booleans()):
            config = {
                "answer": draw(TEXTS),
                "call_tool": draw(st.sampled_from([None, "count_words", "ask_human", "no"])),
            }
        deps = {"execution_context": _layer_name(CONTEXT)} if kind.startswith("dify.plugin.") else {}
        whole = {"name": _layer_name(kind), "type": kind, "config": config, "deps": deps}
        if draw(st.integers(0, 9)) == 0:
            whole["config"] = json.dumps(config)
        found.append(whole)
    return found


@st.composite
def run_requests(draw: st.DrawFn) -> Any:
    """Mostly acceptable runs; the rest of the request follows its schema."""
    whole = draw(values_of(CreateRunRequest)) if draw(st.booleans()) else {}
    parts = draw(layers())
    whole["composition"] = {"schema_version": 1, "layers": parts}
    whole.setdefault("on_exit", {"default": "delete"})["layers"] = {}
    kept = draw(st.integers(0, 3))
    if kept == 0:
        whole["session_snapshot"] = {
            "schema_version": 1,
            "layers": [
                {
                    "name": part["name"],
                    "lifecycle_state": draw(SNAPSHOT_STATES),
                    "runtime_state": draw(st.just({}) | ANYTHING),
                }
                for part in parts
            ],
        }
    else:
        whole.pop("session_snapshot", None)
        whole.pop("deferred_tool_results", None)
    return whole


@st.composite
def validations(draw: st.DrawFn) -> Any:
    whole = draw(values_of(ValidateOutputRequest))
    if draw(st.integers(0, 3)) > 0:
        part, other = draw(OUTPUT_SCHEMAS), draw(OUTPUT_SCHEMAS)
        whole["schema"] = {"type": "object", "properties": {"a": part}, "$defs": {"a": other}}
    whole |= {"text": draw(TEXTS), "value": draw(ANYTHING)}
    del whole[draw(st.sampled_from(["text", "value"]))]
    return whole


CANCELS = values_of(CancelRunRequest)
STREAM_TOKENS = values_of(CreateStreamTokenRequest)


@st.composite
def damaged(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> str:
    """The text of a value with up to three damages to the value, and perhaps one to its text."""
    holder = [copy.deepcopy(draw(values))]
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        _damage(draw, holder)
    text = write(holder[0], ascii_only=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 5)))
        text = (
            text[:start]
            + draw(st.sampled_from(["", "{", "]", ",", '"', "\\", "\x00", "\ufeff", "//", "\x1f"]))
            + text[end:]
        )
    return text


def _damage(draw: st.DrawFn, holder: list[Any]) -> None:
    inside: Any = holder
    while True:
        keys = list(inside) if isinstance(inside, dict) else range(len(inside))
        if not keys:
            return
        key = draw(st.sampled_from(list(keys)))
        goes_on = isinstance(inside[key], dict | list) and inside[key] and draw(st.integers(0, 3)) > 0
        if not goes_on:
            break
        inside = inside[key]
    match draw(st.sampled_from(["replace", "replace", "delete", "add", "double", "anything"])):
        case "replace":
            inside[key] = copy.deepcopy(draw(ODD_VALUES))
        case "anything":
            inside[key] = draw(ANYTHING)
        case "delete" if inside is not holder:
            del inside[key]
        case "add" if isinstance(inside, dict):
            inside[draw(TEXTS)] = copy.deepcopy(draw(ODD_VALUES))
        case "double" if isinstance(inside[key], dict):
            inside[key] = Twice(inside[key])


def write(value: Any, *, ascii_only: bool) -> str:
    """The JSON of a value, including what Python's writer does not produce."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        items = [
            f"{json.dumps(key, ensure_ascii=ascii_only)}:{write(part, ascii_only=ascii_only)}"
            for key, part in value.items()
        ]
        return "{" + ",".join(items * (2 if isinstance(value, Twice) else 1)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(write(part, ascii_only=ascii_only) for part in value) + "]"
    return (
        _digits(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else json.dumps(value, ensure_ascii=ascii_only)
    )


def _digits(value: int) -> str:
    return f"{value:d}"
