"""The yardstick: a plain run server as one would write it first, with asyncio and uvicorn.

It accepts the same runs and executes them with the same models, encoders and frames as ours, so that only the server
differs: each event is written by one XADD and two EXPIREs, one awaited after the other, and each viewer holds a
connection on which it waits by XREAD. Not a product: there is no cancel, no limit and no recovery.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from pydantic import SecretStr
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import AgentStreamEvent, ModelRequest, SystemPromptPart
from redis.asyncio import Redis

from runtime.composition.binding import bind_composition
from runtime.composition.composition import Composition
from runtime.layers.model_layer import ModelLayer
from runtime.layers.registry import LAYER_TYPES
from runtime.llm.clients import ModelClients
from runtime.llm.plugin_daemon import PluginDaemonClient
from runtime.llm.usage import UsageLedger
from runtime.protocol import sse
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import TERMINAL_TYPES, Event, EventEncoder, RunEnd, ended_record
from runtime.protocol.ids import new_id
from runtime.protocol.records import RunRecord
from runtime.protocol.requests import CreateRunRequest

PREFIX = "yardstick"
RETENTION_SECONDS = 259_200
BLOCK_MS = 30_000
PAGE = 100
MAX_CONNECTIONS = 20_000

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PATH = re.compile(r"/runs/([\w-]+)(/events/sse)?")
_SOCKET_PATH = re.compile(r"/runs/([\w-]+)/events/ws")


class Yardstick:
    """The ASGI application."""

    def __init__(self, redis_url: str, daemon_url: str, daemon_key: str) -> None:
        self._redis = Redis.from_url(redis_url, max_connections=MAX_CONNECTIONS, socket_timeout=None)
        self._clients = ModelClients(plugin_daemon=_daemon_client(daemon_url, daemon_key))
        self._agent: Agent[None, str] = Agent(name="yardstick")
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._converse(scope["path"], receive, send)
        elif (scope["method"], scope["path"]) == ("POST", "/runs"):
            await self._create(receive, send)
        elif found := _PATH.fullmatch(scope["path"]):
            await (self._stream if found[2] else self._status)(found[1], send)
        else:
            await _answer(send, 404, {"error": "not found"})

    async def _create(self, receive: Receive, send: Send) -> None:
        request = CreateRunRequest.model_validate_json(await _body(receive))
        composition = bind_composition(
            request.composition, registry=LAYER_TYPES, on_exit=request.on_exit, snapshot=request.session_snapshot
        )
        record = RunRecord.begin(new_id(), dialect=Dialect.CURRENT, worker=PREFIX)
        encoder = EventEncoder(record.run_id, record.dialect)
        await self._redis.set(_record_key(record.run_id), record.model_dump_json(), ex=RETENTION_SECONDS)
        await self._write(record.run_id, encoder.started())
        task = asyncio.create_task(self._execute(record, composition, encoder))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await _answer(send, 202, {"run_id": record.run_id, "status": record.status})

    async def _execute(self, record: RunRecord, composition: Composition, encoder: EventEncoder) -> None:
        usage = UsageLedger()
        try:
            async with composition.entered():
                output = await self._call_model(record.run_id, composition, encoder, usage)
            total = usage.total()
            end = RunEnd.succeeded(
                output=output,
                snapshot=composition.snapshot().model_dump(mode="json"),
                usage=total.model_dump(mode="json") if total else None,
            )
        except Exception as error:
            end = RunEnd.failed(str(error))
        ended = ended_record(record, end, "")
        await self._redis.set(_record_key(record.run_id), ended.model_dump_json(), ex=RETENTION_SECONDS)
        await self._write(record.run_id, encoder.ended(end))

    async def _call_model(
        self, run_id: str, composition: Composition, encoder: EventEncoder, usage: UsageLedger
    ) -> str:
        async def write_events(_: RunContext[None], events: AsyncIterable[AgentStreamEvent]) -> None:
            async for event in events:
                encoded = encoder.agent_event(event)
                if encoded is not None:
                    await self._write(run_id, encoded)

        model_layer = next(layer for layer in composition.layers if isinstance(layer, ModelLayer))
        result = await self._agent.run(
            composition.user_prompts(),
            model=model_layer.create_model(self._clients, usage),
            message_history=[ModelRequest([SystemPromptPart(text) for text in composition.system_prompts()])],
            event_stream_handler=write_events,
            infer_name=False,
        )
        return result.output

    async def _write(self, run_id: str, event: Event) -> None:
        await self._redis.xadd(_events_key(run_id), {"type": event.type.value, "payload": event.payload})
        await self._redis.expire(_record_key(run_id), RETENTION_SECONDS)
        await self._redis.expire(_events_key(run_id), RETENTION_SECONDS)

    async def _status(self, run_id: str, send: Send) -> None:
        raw = await self._redis.get(_record_key(run_id))
        if raw is None:
            await _answer(send, 404, {"error": "no such run"})
        else:
            await _answer(send, 200, RunRecord.model_validate_json(raw).as_status())

    async def _stream(self, run_id: str, send: Send) -> None:
        await _start(send, 200, sse.CONTENT_TYPE)
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        async for page in self._pages(run_id):
            for cursor, event_type, payload in page:
                body = sse.frame(cursor, event_type, payload)
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _converse(self, path: str, receive: Receive, send: Send) -> None:
        await receive()
        found = _SOCKET_PATH.fullmatch(path)
        if not found:
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        async for page in self._pages(found[1]):
            for cursor, _, payload in page:
                await send({"type": "websocket.send", "text": sse.event_with_id(cursor, payload).decode()})
        await send({"type": "websocket.close"})

    async def _pages(self, run_id: str) -> AsyncIterator[list[tuple[bytes, bytes, bytes]]]:
        """Yields the cursors, types and payloads of a run's events, to its end."""
        key, cursor, has_ended = _events_key(run_id), b"0", False
        while not has_ended:
            streams: Any = await self._redis.xread({key: cursor}, count=PAGE, block=BLOCK_MS)
            entries = streams[0][1] if streams else []
            page = [(entry_id, fields[b"type"], fields[b"payload"]) for entry_id, fields in entries]
            if page:
                cursor, event_type, _ = page[-1]
                has_ended = event_type.decode() in TERMINAL_TYPES
                yield page


def _record_key(run_id: str) -> str:
    return f"{PREFIX}:runs:{run_id}:record"


def _events_key(run_id: str) -> str:
    return f"{PREFIX}:runs:{run_id}:events"


def _daemon_client(url: str, key: str) -> PluginDaemonClient:
    return PluginDaemonClient(
        base_url=url,
        api_key=SecretStr(key),
        connect_timeout=10,
        read_timeout=600,
        write_timeout=30,
        pool_timeout=None,
        max_connections=1000,
        max_keepalive_connections=20,
        keepalive_expiry=30,
        merges_text=False,
    )


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _start(send: Send, status: int, content_type: str) -> None:
    headers = [(b"content-type", content_type.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    await _start(send, status, "application/json")
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def serve() -> None:
    """Serves on a listening socket that was passed to this process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.yardstick", description=__doc__)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--daemon-url", required=True)
    parser.add_argument("--daemon-key", required=True)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the listening socket")
    options = parser.parse_args()
    app = Yardstick(options.redis_url, options.daemon_url, options.daemon_key)
    uvicorn.run(app, fd=options.fd, ws="wsproto", log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    serve()
