"""Canaries: made-up secrets, the ways in which programs may write them, and the places to search for them."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from sqlalchemy import MetaData, select

from services.database import Database
from tests.support.gunicorn_server import GunicornServer
from tests.support.process_tree import descendants


def new_canary() -> str:
    """Returns a secret with characters that each encoding writes differently."""
    return f'cnry+{secrets.token_hex(8)}/"&={secrets.token_hex(8)}'


def spellings(canary: str) -> list[str]:
    """The ways in which a program may write the credential. Its two ends alone are found in all of them but base64."""
    return [
        canary,
        canary.partition("/")[0].removeprefix("cnry+"),
        canary.rpartition("=")[2],
        quote(canary, safe=""),
        base64.b64encode(canary.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(canary.encode()).decode().rstrip("="),
    ]


def echoes(canary: str) -> str:
    """An error text that repeats a credential in every spelling."""
    nested = json.dumps({"sent": json.dumps({"key": canary})})
    basic = base64.b64encode(f"user:{canary}".encode()).decode()
    return f"bad key {canary} {quote(canary)} {quote(canary, safe='')} {basic} {nested} {canary!r} Bearer {canary}"


def stored(redis: Redis) -> Iterator[str]:
    """Every key and value of Redis, whatever its type."""
    for key in redis.scan_iter(count=1000):
        yield repr(key)
        match redis.type(key):
            case b"string":
                yield repr(redis.get(key))
            case b"stream":
                yield repr(redis.xrange(key))
            case b"hash":
                yield repr(redis.hgetall(key))
            case b"zset":
                yield repr(redis.zrange(key, 0, -1))
            case b"set":
                yield repr(redis.smembers(key))
            case b"list":
                yield repr(redis.lrange(key, 0, -1))
            case b"none":
                pass  # it has expired in the meantime
            case kind:
                raise AssertionError(f"what is in a {kind!r} is not looked at")


def processes(server: GunicornServer) -> Iterator[str]:
    """The command line, title and environment variables of every process of the server."""
    for pid in {server.pid, *descendants(server.pid)}:
        for name in ("cmdline", "comm", "environ"):
            yield Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")


def rows(database: Database) -> Iterator[str]:
    """Every row of every table."""
    with database.reading() as session:
        tables = MetaData()
        tables.reflect(session.connection())
        for table in tables.sorted_tables:
            for row in session.execute(select(table)):
                yield repr((table.name, *row))


def found(canary: str, places: Mapping[str, str]) -> list[tuple[str, str]]:
    """The places where the canary is found, each with the spelling found there."""
    return [(place, spelling) for place, text in places.items() for spelling in spellings(canary) if spelling in text]
