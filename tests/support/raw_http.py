"""HTTP over many connections in one thread: one request per connection, and streams that may break off anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

ANSWER_SECONDS = 60.0


class Lost(Exception):
    """The connection was refused, or ended before the answer did. ``had_begun`` says whether there was a status."""

    def __init__(self, error: BaseException, *, had_begun: bool) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.had_begun = had_begun


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class OpenAnswer:
    """An answer whose status has arrived; ``chunks`` reads its body."""

    def __init__(self, status: int, headers: Mapping[str, str], reader: asyncio.StreamReader) -> None:
        self.status = status
        self._headers = headers
        self._reader = reader

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the body as it arrives. Raises ``Lost`` when the connection ends too early."""
        try:
            if self._headers.get("transfer-encoding") != "chunked":
                yield await self._reader.readexactly(int(self._headers["content-length"]))
                return
            while size := int(await self._reader.readline(), 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
        except (OSError, EOFError, ValueError) as error:
            raise Lost(error, had_begun=True) from error


def request_bytes(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a request after which the server closes the connection."""
    content = b"" if body is None else json.dumps(body).encode()
    fields = {"Host": "test", "Connection": "close", **(headers or {})}
    if body is not None:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


@asynccontextmanager
async def open_answer(url: str, request: bytes) -> AsyncIterator[OpenAnswer]:
    """Raises Lost."""
    address = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError as error:
        raise Lost(error, had_begun=False) from error
    try:
        yield await _answer(reader, writer, request)
    finally:
        writer.transport.abort()


async def ask(
    url: str, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Raises Lost."""
    async with asyncio.timeout(ANSWER_SECONDS):
        async with open_answer(url, request_bytes(method, path, body, headers)) as answer:
            return Answer(answer.status, b"".join([chunk async for chunk in answer.chunks()]))


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> OpenAnswer:
    try:
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except (OSError, EOFError) as error:
        raise Lost(error, had_begun=False) from error
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return OpenAnswer(int(head[0].split()[1]), fields, reader)
