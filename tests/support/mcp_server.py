"""An MCP server built with the official SDK.

Over streamable HTTP: ``python -m tests.support.mcp_server --http`` (prints its port), or from a test with
``running_mcp_server()``. Over standard input and output: ``python -m tests.support.mcp_server``, for tests that allow
it as a command.

Its tools: ``echo`` gives back a text, ``silent`` returns nothing, ``slow`` takes some seconds, ``big`` returns many
characters, ``fail`` raises, ``die`` ends the process in the middle of the call, ``picture`` returns an image,
``secret`` the X-Key header that it was sent, ``indiscreet`` fails with it, ``process_ids`` its own process id and that
of a process it has started, ``count`` how many calls of it were executed.

With ``--forget`` it has sessions, and forgets the first ones (see ``forgetful_server.py``).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from tests.support.forgetful_server import ForgetfulServer

PROJECT = Path(__file__).parents[2]
START_SECONDS = 60.0

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)

TOOLS = (
    "echo",
    "silent",
    "slow",
    "big",
    "fail",
    "die",
    "picture",
    "secret",
    "indiscreet",
    "process_ids",
    "count",
    "bad.name",
)

COMMAND = ["env", f"PYTHONPATH={PROJECT}", sys.executable, "-m", "tests.support.mcp_server"]
"""The server as a command; the worker's environment is not handed on to it."""


class RunningMcpServer:
    """A server over HTTP, in a separate process."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def freeze(self) -> None:
        """Stops the process: connections are accepted and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(START_SECONDS)


@contextmanager
def running_mcp_server(*options: str) -> Iterator[RunningMcpServer]:
    """Runs a server in a separate process for the time of the block."""
    command = [sys.executable, "-m", "tests.support.mcp_server", "--http", *options]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the MCP server did not start (exit code {process.wait(START_SECONDS)})")
        yield RunningMcpServer(int(line), process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def make_server() -> MCPServer:
    server = MCPServer("greenrun-test", log_level="CRITICAL")

    @server.tool()
    def echo(text: str) -> str:
        """Gives back the text."""
        return f"echo: {text}"

    @server.tool(structured_output=False)
    def silent() -> None:
        """Returns nothing."""

    @server.tool()
    async def slow(seconds: float) -> str:
        """Takes some seconds."""
        await asyncio.sleep(seconds)
        return "done at last"

    @server.tool()
    def big(characters: int) -> str:
        """Returns so many characters."""
        return "x" * characters

    @server.tool()
    def fail() -> str:
        """Always fails."""
        raise ValueError("the tool is broken")

    @server.tool()
    async def die() -> str:
        """Ends the server."""
        await asyncio.sleep(0.1)
        os._exit(3)

    @server.tool(structured_output=False)
    def picture() -> list[Any]:
        """Returns a picture and a text."""
        return [Image(data=PIXEL, format="png"), "a pixel"]

    @server.tool()
    def secret(context: Context) -> str:
        """The key that the server was sent."""
        request = context.request_context.request
        assert request is not None, "only over HTTP"
        headers = request.headers
        return f"{headers.get('x-key')} {headers.get('authorization')}"

    @server.tool()
    def indiscreet(context: Context) -> str:
        """Fails, and tells the key that the server was sent."""
        request = context.request_context.request
        assert request is not None, "only over HTTP"
        raise ToolError(f"{request.headers.get('authorization')} has no access")

    @server.tool()
    def process_ids() -> str:
        """The ids of the server's process and of one that it has started, and its variables."""
        child = subprocess.Popen(["sleep", "600"])
        return json.dumps({"ids": [os.getpid(), child.pid], "variables": sorted(os.environ)})

    counted = itertools.count(1)

    @server.tool()
    def count() -> str:
        """How many calls of it were executed."""
        return str(next(counted))

    @server.tool(name="bad.name")
    def oddly_named() -> str:
        """A tool whose name no model takes."""
        return "odd"

    return server


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--json", action="store_true", help="answer with JSON instead of streams of events")
    parser.add_argument("--many", type=int, default=0, help="so many more tools")
    parser.add_argument("--ignore-end", action="store_true", help="go on when the input ends or SIGTERM comes")
    parser.add_argument("--forget", help="how sessions are forgotten, as JSON")
    options = parser.parse_args()
    server = make_server()
    for number in range(options.many):
        server.add_tool(lambda: "", name=f"tool_{number}", description="One of many.")
    if options.http:
        asyncio.run(_serve_http(server, json_response=options.json, forget=options.forget))
        return
    if options.ignore_end:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.write("this line is no message\n")
    sys.stdout.flush()
    server.run("stdio")
    while options.ignore_end:
        signal.pause()


async def _serve_http(server: MCPServer, *, json_response: bool, forget: str | None) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does it only for its own sockets
    app: Any = server.streamable_http_app(json_response=json_response)
    if forget is not None:
        app = ForgetfulServer(app, **json.loads(forget))
    config = uvicorn.Config(app, log_level="critical", lifespan="on")
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    main()
