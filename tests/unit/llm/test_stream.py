"""The answer as stream events, however the body is cut."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
from collections.abc import Iterable
from typing import Any, cast

import pytest
from pydantic_ai.messages import FilePart, ModelResponse, ModelResponseStreamEvent, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models import ModelRequestParameters

from runtime.llm.plugin_daemon import PluginDaemonAPIError, PluginDaemonProtocolError
from runtime.llm.plugin_daemon.body import BodyReader
from runtime.llm.plugin_daemon.failures import Failures
from runtime.llm.plugin_daemon.stream import PluginDaemonStreamedResponse
from runtime.llm.usage import ModelUsage


class Pieces:
    """A body that arrives in these pieces, each by itself."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    async def take(self) -> list[bytes] | None:
        piece = next(self._pieces, None)
        return None if piece is None else [piece]


class Answer:
    """What came of a body: the events, the response, the usage told, and the error."""

    def __init__(self, *pieces: bytes) -> None:
        self.events: list[ModelResponseStreamEvent] = []
        self.usages: list[ModelUsage] = []
        self.error: Exception | None = None
        self.response = asyncio.run(self._read(pieces))

    async def _read(self, pieces: Iterable[bytes]) -> ModelResponse:
        response = PluginDaemonStreamedResponse(
            model_request_parameters=ModelRequestParameters(),
            _model_name="gpt",
            _provider_name="openai",
            _provider_url="http://daemon",
            _body=cast(BodyReader, Pieces(pieces)),
            _failures=Failures("gpt", []),
            _on_usage=self.usages.append,
        )
        try:
            async for event in response:
                self.events.append(event)
        except Exception as error:
            self.error = error
        response.report_usage()
        return response.get()

    @property
    def parts(self) -> list[Any]:
        """The parts without what differs from call to call."""
        return [
            (part.tool_name, part.args) if isinstance(part, ToolCallPart) else (type(part), cast(Any, part).content)
            for part in self.response.parts
        ]


def frame(message: dict[str, Any] | None = None, **delta: Any) -> bytes:
    data = {"model": "gpt", "delta": {"index": 0, "message": message or {"content": ""}, **delta}}
    return b"data: " + json.dumps({"code": 0, "message": "", "data": data}, ensure_ascii=False).encode() + b"\r\n\r\n"


def text(content: Any) -> bytes:
    return frame({"role": "assistant", "content": content, "tool_calls": []})


def call(call_id: str, name: str, arguments: str) -> bytes:
    function = {"name": name, "arguments": arguments}
    return frame({"content": "", "tool_calls": [{"id": call_id, "type": "function", "function": function}]})


BODY = b"".join(
    [
        text("<th"),
        text("ink>h\u00e9\u2028m"),
        text("m</thi"),
        text("nk>A \u0085 line, \u2028 "),
        b": keepalive\n\n",
        text([{"type": "text", "data": "\U0001f600 <"}]),
        text("b> and a <think"),
        call("1", "search", '{"q": "\u00fc'),
        call("", "", '"}'),
        call("none", "other", "{}"),
        text("end"),
        frame(usage={"prompt_tokens": 3, "completion_tokens": 4}, finish_reason="tool_calls"),
    ]
)
PARTS = [
    (ThinkingPart, "h\u00e9\u2028mm"),
    (TextPart, "A \u0085 line, \u2028 \U0001f600 <b> and a <think"),
    ("search", '{"q": "\u00fc"}'),
    ("other", "{}"),
    (TextPart, "end"),
]


def test_the_body_means_the_same_cut_at_any_byte() -> None:
    whole = Answer(BODY)

    assert whole.error is None
    assert whole.parts == PARTS
    for cut in range(1, len(BODY)):
        assert Answer(BODY[:cut], BODY[cut:]).parts == PARTS, f"cut at byte {cut}"
    assert Answer(*(BODY[at : at + 1] for at in range(len(BODY)))).parts == PARTS


def test_the_body_means_the_same_cut_at_random() -> None:
    chance = random.Random(7)  # noqa: S311
    for _ in range(200):
        cuts = sorted(chance.sample(range(len(BODY)), chance.randint(2, 40)))
        pieces = [BODY[start:end] for start, end in itertools.pairwise([0, *cuts, len(BODY)])]

        assert Answer(*pieces).parts == PARTS


def test_a_body_that_ends_anywhere_inside_a_frame_is_an_error() -> None:
    for end in range(1, len(BODY)):
        if is_cut_off(BODY[:end].rpartition(b"\n")[2]):
            assert isinstance(Answer(BODY[:end]).error, PluginDaemonProtocolError), f"ended at byte {end}"


def is_cut_off(line: bytes) -> bool:
    data = line.removeprefix(b"data:").strip()
    if not data or line.startswith(b":"):
        return False
    try:
        json.loads(data)
    except ValueError:
        return True
    return False


def test_each_text_chunk_is_one_event() -> None:
    answer = Answer(text("a"), text("b"), text("c"))

    assert [event.event_kind for event in answer.events] == [
        "part_start",
        "final_result",
        "part_delta",
        "part_delta",
        "part_end",
    ]


def test_the_last_usage_counts_and_is_recorded_once() -> None:
    answer = Answer(
        frame(usage={"prompt_tokens": 1}),
        frame(usage={"prompt_tokens": 2, "completion_tokens": 3, "total_price": "0.5"}, finish_reason="stop"),
    )

    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in answer.usages] == [(2, 3)]
    assert (answer.response.usage.input_tokens, answer.response.usage.output_tokens) == (2, 3)
    assert str(answer.response.usage.cost) == "0.5"


def test_usage_is_recorded_even_when_the_stream_fails_afterwards() -> None:
    answer = Answer(frame(usage={"prompt_tokens": 2}), b'{"code":-500,"message":"broken"}\n')

    assert isinstance(answer.error, PluginDaemonAPIError)
    assert [usage.prompt_tokens for usage in answer.usages] == [2]


def test_an_answer_without_usage_says_so() -> None:
    answer = Answer(text("a"))

    assert answer.usages == []
    assert answer.response.usage.unmeasured_requests == 1


@pytest.mark.parametrize(
    ("told", "understood"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("error", "error"),
        ("tool_call", "tool_call"),
        ("tool_calls", "tool_call"),
        ("function_call", "tool_call"),
        ("function_calls", "tool_call"),
        ("STOP", "stop"),
        ("end_turn", "error"),
        ("", None),
        (None, None),
    ],
)
def test_finish_reasons_are_translated(told: str | None, understood: str | None) -> None:
    assert Answer(text("a"), frame(finish_reason=told)).response.finish_reason == understood


def test_a_file_in_the_answer_is_a_part() -> None:
    image = {"type": "image", "base64_data": base64.b64encode(b"png").decode(), "mime_type": "image/png", "url": ""}

    answer = Answer(text("see <"), text([image, {"type": "text", "data": "there"}]))

    assert [type(part) for part in answer.response.parts] == [TextPart, FilePart, TextPart]
    assert answer.parts[0][1] == "see <"


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image", "url": "https://x/y.png", "base64_data": ""}],
        [{"type": "hologram", "data": "x"}],
        [{"type": "text", "data": 5}],
        [{"type": ["text"]}],
        ["text"],
        [None],
    ],
)
def test_parts_that_cannot_be_read_are_protocol_errors(content: list[Any]) -> None:
    assert isinstance(Answer(text(content)).error, PluginDaemonProtocolError)


@pytest.mark.parametrize("body", [b"", b"\n\n", b": keepalive\n\n"])
def test_an_empty_answer_is_an_error(body: bytes) -> None:
    assert str(Answer(body).error) == "the plugin daemon's answer is empty"


def test_what_came_before_an_error_is_not_lost() -> None:
    answer = Answer(text("a") + text("b") + b"garbage\n")

    assert isinstance(answer.error, PluginDaemonProtocolError)
    assert answer.parts == [(TextPart, "ab")]
    assert answer.response.state == "incomplete"


def test_a_replaced_tool_call_is_shown_anew() -> None:
    answer = Answer(call("1", "f", '{"a":1}'), call("1", "f", '{"a":2}'))

    assert answer.parts == [("f", '{"a":2}')]
