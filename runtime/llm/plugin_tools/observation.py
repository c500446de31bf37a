"""What the model is told of a tool's answer."""

from __future__ import annotations

import logging
from itertools import chain
from typing import Any

from pydantic_core import from_json, to_json

from runtime.llm.plugin_tools.blobs import (
    MAX_FILE_BYTES,
    BlobJoiner,
    FileTooLargeError,
    IncompleteFileError,
    read_base64,
)
from runtime.llm.plugin_tools.messages import ToolMessage

logger = logging.getLogger(__name__)

MAX_OBSERVATION_CHARS = 100_000
"""Some 25,000 tokens: more would push everything else out of most models' context."""

MAX_NAME_CHARS = 200

NOTHING = "The tool ended without a result."
CUT = "\n[The result was longer than {limit} characters. The rest is left out.]"
IMAGE_SENT = "An image was made and sent to the user already. Do not make it again; tell the user to look at it."
LINK = "A link for the user: {url}\nTell the user to open it."
FILE_TOO_LARGE = f"A file was larger than {MAX_FILE_BYTES >> 20} MiB and is left out."
FILE_INCOMPLETE = "A file arrived incomplete and is left out."

_TEXT_MEDIA_TYPES = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/x-yaml", "application/csv"}
)


class Observation:
    """Gathers a tool's messages into one text.

    Texts that follow one another are pieces of one text. JSON comes last, and only when no text says the same.
    What comes after the bound is read and forgotten.
    """

    def __init__(self, limit: int = MAX_OBSERVATION_CHARS) -> None:
        self._limit = limit
        self._blocks: list[list[str]] = []
        self._ends_in_text = False
        self._length = 0
        self._jsons: list[tuple[Any, str]] = []
        self._json_length = 0
        self._joiner = BlobJoiner()

    def add(self, message: ToolMessage) -> None:
        """Take one more message. Raises WireError when it is malformed."""
        match message.type:
            case "text":
                self._add_text(message.text())
            case "link" | "binary_link":
                self._add_block(LINK.format(url=message.text()))
            case "image" | "image_link":
                self._add_block(IMAGE_SENT)
            case "json":
                self._add_json(message.content)
            case "blob" | "blob_chunk":
                self._add_blob(message)
            case "file":
                self._add_block(f"The tool made {_file_named(message)}.")
            case "variable" | "log":
                pass
            case _:
                logger.debug("a tool sent a message of an unknown type")

    def text(self) -> str:
        """The whole observation, longer than the bound by what went over it."""
        texts = ["".join(block) for block in self._blocks]
        said = [value for text in dict.fromkeys([*texts, *chain(*self._blocks)]) for value in _values(text)]
        texts += [FILE_INCOMPLETE] * self._joiner.open_count
        texts += [text for value, text in self._jsons if value not in said]
        return "\n".join(filter(None, texts)) or NOTHING

    def _add_text(self, text: str) -> None:
        if not self._ends_in_text:
            self._add_block("")
            self._ends_in_text = True
        if self._length <= self._limit:
            self._blocks[-1].append(text)
            self._length += len(text)

    def _add_block(self, text: str) -> None:
        self._ends_in_text = False
        if self._length <= self._limit:
            self._blocks.append([text])
            self._length += len(text)

    def _add_json(self, content: dict[str, Any]) -> None:
        if content.get("suppress_output") is True or self._json_length > self._limit:
            return
        value = content.get("json_object", content)
        text = to_json(value).decode()
        self._jsons.append((value, text))
        self._json_length += len(text)

    def _add_blob(self, message: ToolMessage) -> None:
        try:
            if message.type == "blob":
                data: bytes | None = read_base64(message.content.get("blob"))
            else:
                data = self._joiner.feed(message.content)
        except FileTooLargeError:
            self._add_block(FILE_TOO_LARGE)
        except IncompleteFileError:
            self._add_block(FILE_INCOMPLETE)
        else:
            if data is not None:
                self._add_block(_file_text(message, data, self._limit))


def cut(text: str, limit: int = MAX_OBSERVATION_CHARS) -> str:
    """The text within the bound; one that was longer says so."""
    return text if len(text) <= limit else text[:limit] + CUT.format(limit=limit)


def _file_text(message: ToolMessage, data: bytes, limit: int) -> str:
    """What the file is, and its content when that is a text of bearable size."""
    described = f"The tool made {_file_named(message)} of {len(data)} bytes"
    content = _readable(message.about("mime_type"), data) if len(data) <= limit else None
    return f"{described}." if content is None else f"{described}:\n{content}"


def _readable(media_type: str, data: bytes) -> str | None:
    media_type = media_type.partition(";")[0].strip().lower()
    if not media_type.startswith("text/") and media_type not in _TEXT_MEDIA_TYPES:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _file_named(message: ToolMessage) -> str:
    name, media_type = message.about("filename")[:MAX_NAME_CHARS], message.about("mime_type")[:MAX_NAME_CHARS]
    return "a file" + (f" '{name}'" if name else "") + (f" ({media_type})" if media_type else "")


def _values(text: str) -> list[Any]:
    """The value whose JSON the text is, however it is spaced, if it is one."""
    if text.lstrip()[:1] not in ("{", "["):
        return []
    try:
        return [from_json(text)]
    except ValueError:
        return []
