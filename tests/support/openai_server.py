"""An OpenAI-compatible server that answers by script, in a separate process.

Start it with ``python -m tests.support.openai_server --port 0`` (prints its port), or from a test with
``running_openai_server()``. It streams Chat Completions as OpenAI does: a chunk with the role first, one server-sent
event per delta, ``[DONE]`` last. Every event is written to the socket separately, so that splits happen.

A script belongs to a model name and is a list of answers, one for each consecutive call; the last one repeats. An
answer is a list of steps:

    {"text": "hello", "split": 3, "pause": 0.01}   text deltas of 3 characters each (without split: one)
    {"tool_call": {"id": "1", "name": "f", "arguments": "{}"}, "split": 2}   its name, then fragments of its arguments
    {"finish": "stop", "usage": {...}}             the last deltas, and [DONE]
    {"event": "name", "data": {...}}               one event of another wire format; without a role chunk before it
    {"write": "data: ..."}                         raw body bytes
    {"pause": 0.5}, {"hang": true}                 wait, for a while or forever
    {"status": 429, "body": {...}, "headers": {}}  an HTTP answer instead of a stream; must come first
    {"wait": "go"}                                 wait for POST /_releases/go
    {"silence": true}                              no answer at all; must come first
    {"abort": true}                                cut the connection in the middle of the body
    {"end": true}                                  end the body properly, without [DONE]

The model is named in the body, or in the path as in Google's API. The control routes are those of
``plugin_daemon.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from tests.support import plugin_daemon
from tests.support.child_server import running_child
from tests.support.plugin_daemon import (
    Answer,
    Body,
    Call,
    ClientGoneError,
    Daemon,
    ScriptedDaemon,
    Step,
    WatchedReader,
)

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
"""A plausible usage, for scripts that want one."""

_GOOGLE_PATH = re.compile(r"/models/([^:/]+):")


@contextmanager
def running_openai_server() -> Iterator[ScriptedDaemon]:
    """Runs a server in a separate process for the time of the block. It never outlives this process."""
    with running_child("tests.support.openai_server") as port:
        yield ScriptedDaemon(port, None)


class OpenAIServer(Daemon):
    """The scripts and the recorded calls; answers each call by its script."""

    async def _answer(
        self, path: str, headers: dict[str, str], raw: bytes, reader: WatchedReader, writer: asyncio.StreamWriter
    ) -> None:
        body = json.loads(raw)
        named = _GOOGLE_PATH.search(path)
        model = named.group(1) if named else body.get("model", "")
        answers = self._scripts.get(model)
        if answers is None:
            error = {"message": f"The model `{model}` does not exist", "code": "model_not_found"}
            await plugin_daemon._respond(writer, 404, {"error": error})
            return
        calls = self._calls.setdefault(model, [])
        call = Call(path, headers, body)
        calls.append(call)
        began = time.monotonic()
        self._open += 1
        self._most_open = max(self._most_open, self._open)
        try:
            call.ended = await _play(answers[min(len(calls), len(answers)) - 1], body, reader, writer, self._releases)
        except ClientGoneError:
            call.ended = "client_closed"
            call.closed_by_client = True
            raise
        finally:
            self._open -= 1
            call.open_seconds = time.monotonic() - began


async def _play(
    answer: Answer,
    request: dict[str, Any],
    reader: WatchedReader,
    writer: asyncio.StreamWriter,
    releases: Mapping[str, asyncio.Event],
) -> str:
    """Writes one answer and returns how it ended."""
    body = Body(reader, writer)
    first = answer[0] if answer else {}
    if "silence" in first:
        await body.wait(None)
    if "status" in first:
        await body.wait(first.get("pause", 0))
        await plugin_daemon._respond(writer, first["status"], first.get("body", ""), first.get("headers"))
        return "finished"
    await body.open()
    if not {"event", "write"} & set(first):
        await body.write(_chunk(request, {"role": "assistant", "content": ""}))
    for step in answer:
        if "abort" in step:
            body.abort()
            return "aborted"
        if "hang" in step:
            await body.wait(None)
        if "wait" in step:
            await releases[step["wait"]].wait()
        for piece in _written(step, request):
            await body.write(piece)
            if step.get("pause"):
                await body.wait(step["pause"])
        if set(step) == {"pause"}:
            await body.wait(step["pause"])
    await body.close()
    return "finished"


def _written(step: Step, request: dict[str, Any]) -> Iterator[bytes]:
    """Yields what a step writes, event by event."""
    if "text" in step:
        for text in _split(step["text"], step.get("split")):
            yield _chunk(request, {"content": text})
    elif "tool_call" in step:
        yield from _tool_call(step, request)
    elif "finish" in step:
        yield _chunk(request, {}, finish=step["finish"])
        if step.get("usage") and request.get("stream_options", {}).get("include_usage"):
            yield _frame({**_envelope(request), "choices": [], "usage": step["usage"]})
        yield b"data: [DONE]\n\n"
    elif "event" in step:
        yield f"event: {step['event']}\ndata: {json.dumps(step['data'])}\n\n".encode()
    elif "write" in step:
        yield step["write"].encode()


def _tool_call(step: Step, request: dict[str, Any]) -> Iterator[bytes]:
    """A fragment with the id and the name, then fragments of the arguments that carry only the index."""
    call = step["tool_call"]
    index = call.get("index", 0)
    opening = {
        "index": index,
        "id": call["id"],
        "type": "function",
        "function": {"name": call["name"], "arguments": ""},
    }
    yield _chunk(request, {"tool_calls": [opening]})
    for fragment in _split(call["arguments"], step.get("split")):
        yield _chunk(request, {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]})


def _split(text: str, size: int | None) -> Iterator[str]:
    size = size or len(text) or 1
    for start in range(0, len(text), size):
        yield text[start : start + size]


def _chunk(request: dict[str, Any], delta: dict[str, Any], *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _frame({**_envelope(request), "choices": [choice], "usage": None})


def _envelope(request: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1_795_000_000,
        "model": request.get("model", ""),
        "system_fingerprint": "fp_scripted",
    }


def _frame(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


async def _main(port: int, stop_with_stdin: bool) -> None:
    scripted = OpenAIServer(None)
    loop = asyncio.get_running_loop()

    def connection() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(WatchedReader(limit=1 << 20, loop=loop), scripted.serve, loop=loop)

    server = await loop.create_server(connection, "127.0.0.1", port, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await (plugin_daemon._until_stdin_ends() if stop_with_stdin else server.serve_forever())


def main() -> None:
    """Serves until stopped."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.openai_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(options.port, options.stop_with_stdin))


if __name__ == "__main__":
    main()
