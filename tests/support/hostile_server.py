"""A server whose answers are made to exhaust whoever reads them.

Start it with ``python -m tests.support.hostile_server --port 0`` (prints its port), or from a test with
``running_hostile_server()``. The first step of a request's path names the attack, such as ``/endless_line/v1``; it is
written until the other side closes the connection.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

from tests.support import plugin_daemon
from tests.support.child_server import running_child

BOMB_BYTES = 600 << 20
BLOCK = 64 << 10

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CLOSE = b"Connection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def running_hostile_server() -> Iterator[str]:
    """The address of a server in a process of its own, which ends with the context."""
    with running_child("tests.support.hostile_server") as port:
        yield f"http://127.0.0.1:{port}"


@cache
def _bomb(encoding: str) -> bytes:
    packer = zlib.compressobj(9, wbits=31 if encoding.startswith("gzip") else 15)
    pieces = [packer.compress(b"\n" * (1 << 20)) for _ in range(BOMB_BYTES >> 20)]
    packed = b"".join([*pieces, packer.flush()])
    return gzip.compress(packed) if "," in encoding else packed


def _encoded(encoding: str) -> Callable[[], Iterable[bytes]]:
    def answer() -> Iterator[bytes]:
        body = b"\x0b\x02\x80" * 100 if encoding in ("br", "zstd") else _bomb(encoding)
        yield STREAM + f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    return answer


def _endless(begin: bytes, again: bytes) -> Callable[[], Iterable[bytes]]:
    block = again * max(1, BLOCK // len(again))
    return lambda: itertools.chain([begin], itertools.repeat(block))


def _many_values() -> Iterator[bytes]:
    yield STREAM + CLOSE + b'data: {"choices": ['
    for _ in range(220):
        yield b"[]," * (BLOCK // 3)
    yield b"[]]}\n\n"


ATTACKS: dict[str, Callable[[], Iterable[bytes]]] = {
    "gzip": _encoded("gzip"),
    "gzip_twice": _encoded("gzip, gzip"),
    "deflate": _encoded("deflate"),
    "br": _encoded("br"),
    "zstd": _encoded("zstd"),
    "endless_line": _endless(STREAM + CLOSE + b"data: ", b"x"),
    "endless_comments": _endless(STREAM + CLOSE, b":\n"),
    "endless_empty_events": _endless(STREAM + CLOSE, b'data: {"choices": []}\n\n'),
    "endless_event": _endless(STREAM + CLOSE, b"data: 1\n"),
    "endless_error": _endless(b"HTTP/1.1 500 Error\r\nContent-Type: application/json\r\n" + CLOSE, b"[1],"),
    "endless_head": _endless(STREAM, b"X-More: yes\r\n"),
    "endless_interim_answers": _endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "chunk_of_a_lying_size": _endless(STREAM + CHUNKED + b"fffffffffff\r\n", b"x"),
    "chunks_longer_than_their_size": _endless(STREAM + CHUNKED, b"1\r\nxxxxxxxx"),
    "endless_chunk_extension": _endless(STREAM + CHUNKED + b"1;a=", b"x"),
    "endless_tiny_chunks": _endless(STREAM + CHUNKED, b"1\r\n:\r\n"),
    "endless_trailers": _endless(STREAM + CHUNKED + b"0\r\n", b"X-More: yes\r\n"),
    "many_values": _many_values,
}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
        for piece in ATTACKS[head.split(b"/")[1].decode()]():
            writer.write(piece)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def _main(port: int, stop_with_stdin: bool) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port, limit=1 << 20)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await (plugin_daemon._until_stdin_ends() if stop_with_stdin else server.serve_forever())


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.hostile_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(options.port, options.stop_with_stdin))


if __name__ == "__main__":
    main()
