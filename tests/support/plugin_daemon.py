"""A plugin daemon that answers by script, in a separate process.

Start it with ``python -m tests.support.plugin_daemon --port 0`` (prints its port), or from a test with
``running_daemon()``. Every piece of an answer is written to the socket separately, so that splits really happen.

A script belongs to a model name (for tool calls: to a tool name) and is a list of answers, one for each consecutive
call; the last one repeats. An answer is a list of steps:

    {"text": "hello", "split": 3, "pause": 0.01}   text deltas of 3 characters each (without split: one)
    {"chunk": {"message": {"content": "hi"}}}      one frame with this delta
    {"tool_call": {"id": "1", "name": "f", "arguments": "{}"}}   one frame with this tool call
    {"finish": "stop", "usage": {...}}             the last frame of a model; the usage may be left out
    {"data": {...}}                                one frame with this data, such as a tool's
    {"error": {"error_type": "T", "message": "m", "code": -500, "wrap": 1}}   a failure inside the stream
    {"write": "data: ..."}, {"write_hex": "e29c"}  raw body bytes
    {"stream": {"chunks": 200, "rate": 50, "text": "word "}}   many text deltas a second (rate 0: as fast as it goes)
                                                   (with "stamped": true each text is the time it was sent)
    {"pause": 0.5}, {"hang": true}                 wait, for a while or forever
    {"wait": "go"}                                 wait for POST /_releases/go
    {"status": 429, "body": "...", "headers": {}}  an HTTP answer instead of a stream; must come first
    {"abort": true}                                cut the connection in the middle of the body

Any step that writes takes ``"bytes": n``, which cuts what it writes into pieces of n bytes, and ``"pause"`` between
the pieces. The body ends properly after the last step.

Control, without a key: ``POST /_scripts/{name}`` with ``{"answers": [[step, ...], ...]}`` (forgets the recorded calls
of that name), ``GET /_calls/{name}``, ``GET /_stats`` (open streams, now and at most), ``POST /_releases/{name}``,
``DELETE /_scripts``.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from tests.support.child_server import START_SECONDS, running_child

Step = dict[str, Any]
Answer = list[Step]

USAGE: dict[str, Any] = {
    "prompt_tokens": 7,
    "prompt_unit_price": "0.001",
    "prompt_price_unit": "0.001",
    "prompt_price": "0.000007",
    "completion_tokens": 5,
    "completion_unit_price": "0.002",
    "completion_price_unit": "0.001",
    "completion_price": "0.00001",
    "total_tokens": 12,
    "total_price": "0.000017",
    "currency": "USD",
    "latency": 0.25,
}
"""A plausible usage, for scripts that want one."""


# The client side, for tests.


class ScriptedDaemon:
    """A running daemon, as tests use it. All methods block for a moment; they may be called from any thread."""

    def __init__(self, port: int, api_key: str | None) -> None:
        self.port = port
        self.api_key = api_key or ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, name: str, *answers: Answer) -> None:
        """Sets the answers to the calls of this model (or tool), one per call; the last one repeats."""
        self._control("POST", f"/_scripts/{quote(name, safe='')}", {"answers": list(answers)})

    def calls(self, name: str) -> list[dict[str, Any]]:
        """The calls so far: path, headers (lower case), body, began_at, ended, closed_by_client, open_seconds."""
        calls: list[dict[str, Any]] = self._control("GET", f"/_calls/{quote(name, safe='')}")["calls"]
        return calls

    def stats(self) -> dict[str, int]:
        """``open``: the calls being answered now; ``most_open``: the most at once since the last ``clear``."""
        stats: dict[str, int] = self._control("GET", "/_stats")
        return stats

    def release(self, name: str) -> None:
        """Lets all streams continue that wait for this name, now or later."""
        self._control("POST", f"/_releases/{quote(name, safe='')}")

    def clear(self) -> None:
        """Removes all scripts, calls and stats."""
        self._control("DELETE", "/_scripts")

    def wait_for_call(self, name: str, *, count: int = 1, timeout: float = 20.0) -> dict[str, Any]:
        """Waits until that many calls have begun, and returns the last of them."""
        return self._wait(name, lambda calls: len(calls) >= count, timeout)[count - 1]

    def wait_until_ended(self, name: str, *, count: int = 1, timeout: float = 20.0) -> dict[str, Any]:
        """Waits until that many calls have ended, in whatever way, and returns the last of them."""
        ended = self._wait(name, lambda calls: sum(call["ended"] is not None for call in calls) >= count, timeout)
        return [call for call in ended if call["ended"] is not None][count - 1]

    def _wait(self, name: str, enough: Any, timeout: float) -> list[dict[str, Any]]:
        deadline = time.monotonic() + timeout
        while not enough(calls := self.calls(name)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the scripted daemon saw only {calls!r}")
            time.sleep(0.01)
        return calls

    def _control(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"the scripted daemon refused {method} {path}: {answer}")
        return answer


@contextmanager
def running_daemon(*, api_key: str | None = None) -> Iterator[ScriptedDaemon]:
    """Runs a daemon in a separate process for the time of the block. It never outlives this process."""
    arguments = [] if api_key is None else ["--api-key", api_key]
    with running_child("tests.support.plugin_daemon", *arguments) as port:
        yield ScriptedDaemon(port, api_key)


# The server side.


@dataclass
class Call:
    """A recorded call. ``ended`` is "finished", "client_closed" or "aborted", and None while it is being answered."""

    path: str
    headers: dict[str, str]
    body: Any
    began_at: float = field(default_factory=time.time)
    ended: str | None = None
    closed_by_client: bool = False
    open_seconds: float | None = None


class ClientGoneError(Exception):
    """The client closed the connection."""


class WatchedReader(asyncio.StreamReader):
    """Notices at once when the client closes, without reading what it may send next."""

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self.closed = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.closed.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.closed.set()


class Body:
    """A chunked response body, as it is written to the socket."""

    def __init__(self, reader: WatchedReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def open(self) -> None:
        self._writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await self._drain()

    async def write(self, data: bytes) -> None:
        if data:
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await self._drain()

    async def close(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._drain()

    async def wait(self, seconds: float | None) -> None:
        """Waits that long, or forever when None. Raises ``ClientGoneError`` as soon as the client closes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._reader.closed.wait()
        self._check()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _drain(self) -> None:
        self._check()
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise ClientGoneError from error

    def _check(self) -> None:
        if self._reader.closed.is_set() or self._writer.transport.is_closing():
            raise ClientGoneError


class Daemon:
    """The scripts and the recorded calls; answers each call by its script."""

    def __init__(self, api_key: str | None) -> None:
        self._api_key = api_key
        self._scripts: dict[str, list[Answer]] = {}
        self._calls: dict[str, list[Call]] = {}
        self._open = 0
        self._most_open = 0
        self._releases: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        assert isinstance(reader, WatchedReader)
        with suppress(ClientGoneError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                method, path, headers = await _read_head(reader)
                raw = await reader.readexactly(int(headers.get("content-length", "0")))
                if path.startswith("/_"):
                    await _respond(writer, *self._control(method, path, raw))
                else:
                    await self._answer(path, headers, raw, reader, writer)
        writer.close()

    def _control(self, method: str, path: str, raw: bytes) -> tuple[int, Any]:
        kind, _, name = path.strip("/").partition("/")
        name = unquote(name)
        match method, kind:
            case "POST", "_scripts":
                answers = json.loads(raw).get("answers")
                if not answers:
                    return 400, {"error": "no answers"}
                self._scripts[name] = answers
                self._calls[name] = []
                return 200, {}
            case "POST", "_releases":
                self._releases[name].set()
                return 200, {}
            case "DELETE", "_scripts":
                self._scripts.clear()
                self._calls.clear()
                self._releases.clear()
                self._most_open = self._open
                return 200, {}
            case "GET", "_calls":
                return 200, {"calls": [asdict(call) for call in self._calls.get(name, [])]}
            case "GET", "_stats":
                return 200, {"open": self._open, "most_open": self._most_open}
        return 404, {"error": "no such control"}

    async def _answer(
        self, path: str, headers: dict[str, str], raw: bytes, reader: WatchedReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._api_key is not None and headers.get("x-api-key") != self._api_key:
            await _respond(writer, 401, _envelope(-401, "PluginDaemonUnauthorizedError", "unauthorized"))
            return
        body = json.loads(raw)
        name = body["data"].get("model") or body["data"].get("tool")
        answers = self._scripts.get(name)
        if not path.endswith(("/dispatch/llm/invoke", "/dispatch/tool/invoke")) or answers is None:
            await _respond(writer, 404, _envelope(-404, "PluginDaemonNotFoundError", f"no script for {name!r}"))
            return
        calls = self._calls.setdefault(name, [])
        call = Call(path, headers, body)
        calls.append(call)
        began = time.monotonic()
        self._open += 1
        self._most_open = max(self._most_open, self._open)
        try:
            answer = answers[min(len(calls), len(answers)) - 1]
            call.ended = await _play(answer, name, reader, writer, self._releases)
        except ClientGoneError:
            call.ended = "client_closed"
            call.closed_by_client = True
            raise
        finally:
            self._open -= 1
            call.open_seconds = time.monotonic() - began


async def _play(
    answer: Answer,
    model: str,
    reader: WatchedReader,
    writer: asyncio.StreamWriter,
    releases: Mapping[str, asyncio.Event],
) -> str:
    """Writes one answer and returns how it ended."""
    body = Body(reader, writer)
    if answer and "status" in answer[0]:
        step = answer[0]
        await body.wait(step.get("pause", 0))
        await _respond(writer, step["status"], step.get("body", ""), step.get("headers"))
        return "finished"
    await body.open()
    for step in answer:
        if "abort" in step:
            body.abort()
            return "aborted"
        if "hang" in step:
            await body.wait(None)
        if "wait" in step:
            await releases[step["wait"]].wait()
        pause = step.get("pause", 0)
        async for piece in _pieces(step, model, body):
            await body.write(piece)
            if pause:
                await body.wait(pause)
        if set(step) == {"pause"}:
            await body.wait(pause)
    await body.close()
    return "finished"


async def _pieces(step: Step, model: str, body: Body) -> AsyncIterator[bytes]:
    async for piece in _written(step, model, body):
        size = step.get("bytes") or len(piece)
        for start in range(0, len(piece), size):
            yield piece[start : start + size]


async def _written(step: Step, model: str, body: Body) -> AsyncIterator[bytes]:
    """Yields what a step writes, piece by piece."""
    if "text" in step:
        text = step["text"]
        size = step.get("split") or len(text)
        for start in range(0, len(text), size):
            yield _text_frame(model, text[start : start + size])
    elif "chunk" in step:
        yield _delta_frame(model, step["chunk"])
    elif "tool_call" in step:
        yield _delta_frame(model, {"message": {"content": "", "tool_calls": [_tool_call(step["tool_call"])]}})
    elif "finish" in step:
        message = {"role": "assistant", "content": "", "tool_calls": []}
        yield _delta_frame(model, {"message": message, "usage": step.get("usage"), "finish_reason": step["finish"]})
    elif "data" in step:
        yield _frame({"code": 0, "message": "success", "data": step["data"]})
    elif "error" in step:
        yield _frame(_error_envelope(step["error"]))
    elif "write" in step:
        yield step["write"].encode()
    elif "write_hex" in step:
        yield bytes.fromhex(step["write_hex"])
    elif "stream" in step:
        async for piece in _text_stream(body, model, **step["stream"]):
            yield piece


async def _text_stream(
    body: Body, model: str, chunks: int, rate: float = 0, text: str = "word ", stamped: bool = False
) -> AsyncIterator[bytes]:
    """Yields equal text deltas at a steady rate per second; delays are caught up with."""
    frame = _text_frame(model, text)
    began = time.monotonic()
    for number in range(chunks):
        early = began + number / rate - time.monotonic() if rate else 0
        # Also without a rate, so that the streams of other connections get their turns.
        await (body.wait(early) if early > 0 else asyncio.sleep(0))
        yield _text_frame(model, f"{time.monotonic():.6f} ") if stamped else frame
    yield _delta_frame(model, {"message": {"content": ""}, "usage": USAGE, "finish_reason": "stop"})


def _text_frame(model: str, text: str) -> bytes:
    return _delta_frame(model, {"message": {"role": "assistant", "content": text, "tool_calls": []}})


def _delta_frame(model: str, delta: dict[str, Any]) -> bytes:
    full = {"index": 0, "usage": None, "finish_reason": None, **delta}
    data = {"model": model, "system_fingerprint": "", "prompt_messages": [], "delta": full}
    return _frame({"code": 0, "message": "success", "data": data})


def _frame(envelope: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call.get("name", ""), "arguments": call.get("arguments", "")}
    return {"id": call.get("id", ""), "type": "function", "function": function}


def _error_envelope(error: dict[str, Any]) -> dict[str, Any]:
    """An error as the daemon nests it: ``wrap`` times in a PluginInvokeError."""
    error_type, message = error["error_type"], error.get("message", "")
    for _ in range(error.get("wrap", 0)):
        message = json.dumps({"error_type": error_type, "message": message, "args": None})
        error_type = "PluginInvokeError"
    return _envelope(error.get("code", -500), error_type, message)


def _envelope(code: int, error_type: str, message: str) -> dict[str, Any]:
    report = {"message": message, "error_type": error_type, "args": None}
    return {"code": code, "message": json.dumps(report), "data": None}


async def _read_head(reader: WatchedReader) -> tuple[str, str, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = request.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    return method, path, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _respond(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Scripted", "Content-Type: application/json", f"Content-Length: {len(raw)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + raw)
    await writer.drain()


async def _until_stdin_ends() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin)
            ended.set()

    loop.add_reader(sys.stdin, read)
    await ended.wait()


async def _main(host: str, port: int, api_key: str | None, stop_with_stdin: bool) -> None:
    daemon = Daemon(api_key)
    loop = asyncio.get_running_loop()

    def connection() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(WatchedReader(limit=1 << 20, loop=loop), daemon.serve, loop=loop)

    server = await loop.create_server(connection, host, port, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await (_until_stdin_ends() if stop_with_stdin else server.serve_forever())


def main() -> None:
    """Serves until stopped."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.plugin_daemon", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--api-key", help="refuse calls without this X-Api-Key")
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(options.host, options.port, options.api_key, options.stop_with_stdin))


if __name__ == "__main__":
    main()
