"""Files that messages name: fetched by nobody but us, through the guard and within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from pydantic_ai import _ssrf
from pydantic_ai.messages import (
    AudioUrl,
    DocumentUrl,
    FileUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    UserContent,
    UserPromptPart,
    VideoUrl,
)

from runtime.execution.failures import failed_end
from runtime.llm.files import FileFetcher, FileNotFetched
from runtime.protocol.redaction import Redactor
from tests.support.listening import listening
from tests.support.wires.reading import Heard, hear

WIRES = ("openai", "openai-responses", "anthropic", "google", "plugin")
KINDS = (
    (ImageUrl, "a.png", b"image/png"),
    (DocumentUrl, "a.txt", b"text/plain"),
    (DocumentUrl, "a.pdf", b"application/pdf"),
    (AudioUrl, "a.mp3", b"audio/mpeg"),
    (VideoUrl, "a.mp4", b"video/mp4"),
)


class Site:
    """Answers every request alike."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self._answer)
        await writer.drain()


def answer(*headers: bytes, status: bytes = b"200 OK", body: bytes = b"x" * 60) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, b"", body])


@pytest.fixture(autouse=True)
def no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def download(*_: object, **__: object) -> None:
        raise AssertionError("the library fetches by itself")

    monkeypatch.setattr(_ssrf, "safe_download", download)


@pytest.fixture
def fetcher() -> Iterator[FileFetcher]:
    fetcher = FileFetcher(allow_private=True, max_file_bytes=100, max_request_bytes=150)
    fetcher.install()
    yield fetcher
    fetcher.uninstall()


def ask(wire: str, site: Site, *names: str, kind: type[FileUrl] = ImageUrl, **options: Any) -> Heard:
    """What becomes of a model request with files of the site."""

    async def beside() -> Heard:
        async with listening(site.serve) as port:
            files = [kind(f"http://127.0.0.1:{port}/canary/{name}", **options) for name in names]
            messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart(cast(list[UserContent], files))])]
            return await hear(wire, [b""], messages)

    return asyncio.run(beside())


def refusal(heard: Heard) -> str:
    """Why a file was not fetched, as the caller is told."""
    assert isinstance(heard.error, FileNotFetched), heard.error
    end = failed_end("run", heard.error, Redactor([]))
    assert end.reason == "file_not_fetched"
    assert "canary" not in str(end)
    return str(heard.error)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("kind", "name", "media_type"), KINDS)
@pytest.mark.parametrize("force_download", [False, True, "allow-local"])
@pytest.mark.usefixtures("fetcher")
def test_no_provider_fetches_a_file_by_another_way(
    wire: str, kind: type[FileUrl], name: str, media_type: bytes, force_download: bool
) -> None:
    site = Site(answer(b"Content-Type: " + media_type))

    heard = ask(wire, site, name, kind=kind, force_download=force_download)

    assert not isinstance(heard.error, AssertionError | FileNotFetched)
    if force_download and wire == "plugin":
        assert len(site.requests) == 1


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("answered", "told"),
    [
        (answer(body=b"x" * 101), "a file is larger than 100 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, "a file is larger than 100 bytes"),
        (answer(b"Location: http://8.8.8.8/", status=b"302 Found"), "a file was answered with status 302"),
        (answer(b"Content-Encoding: gzip"), "a file cannot be fetched: the answer is compressed"),
        (answer(status=b"404 Not Found"), "a file was answered with status 404"),
        (b"", "a file cannot be fetched"),
    ],
    ids=["large", "endless", "redirect", "compressed", "missing", "broken"],
)
@pytest.mark.usefixtures("fetcher")
def test_a_file_that_is_not_to_be_had_ends_the_run(wire: str, answered: bytes, told: str) -> None:
    site = Site(answered)

    assert refusal(ask(wire, site, "a.png", force_download=True)).startswith(told)
    assert len(site.requests) == 1


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.usefixtures("fetcher")
def test_all_files_of_a_request_have_a_bound_together(wire: str) -> None:
    site = Site(answer(b"Content-Type: image/png"))

    assert not isinstance(ask(wire, site, "a.png", "b.png", force_download=True).error, FileNotFetched)
    told = refusal(ask(wire, site, "a.png", "b.png", "c.png", force_download=True))

    assert told == "the files of one model request are larger than 150 bytes"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("force_download", [True, "allow-local"])
def test_a_private_address_is_not_asked_unless_the_operator_allows_it(wire: str, force_download: bool) -> None:
    fetcher = FileFetcher(allow_private=False, max_file_bytes=100, max_request_bytes=150)
    fetcher.install()
    site = Site(answer())

    heard = ask(wire, site, "a.png", force_download=force_download)

    fetcher.uninstall()
    assert "private address" in refusal(heard)
    assert site.requests == []
