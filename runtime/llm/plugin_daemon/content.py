"""Files in both directions: the parts of a prompt that are not text, and the files that a model answers with."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    FilePart,
    FileUrl,
    ImageUrl,
    UploadedFile,
    VideoUrl,
)
from pydantic_ai.models import download_item

from runtime.llm.unsupported import UnsupportedRequest
from runtime.llm.wire.errors import WireError

FileContent = ImageUrl | AudioUrl | VideoUrl | DocumentUrl | BinaryContent | UploadedFile

FILE_KINDS = ("image", "audio", "video", "document")

_DEFAULT_MEDIA_TYPES = {
    "image": "image/png",
    "audio": "audio/mpeg",
    "video": "video/mp4",
    "document": "application/octet-stream",
}


async def prompt_file(item: FileContent) -> dict[str, Any]:
    """A file of a prompt as the daemon takes it: by URL, or inline in base64.

    What cannot be told from a URL (media type, format) is empty. Raises UnsupportedRequest for the handle of a file
    that was uploaded to a provider, which no plugin can read.
    """
    if isinstance(item, UploadedFile):
        raise UnsupportedRequest("Files uploaded to a provider cannot be sent through the plugin daemon.")
    kind = _kind(item)
    media_type, file_format = _media_type(item), _format(item)
    url, data = await _source(item)
    part: dict[str, Any] = {
        "type": kind,
        "format": file_format,
        "base64_data": data,
        "url": url,
        "mime_type": media_type,
        "filename": f"{item.identifier}.{file_format}" if file_format else item.identifier,
    }
    if kind == "image":
        part["detail"] = "high" if (item.vendor_metadata or {}).get("detail") == "high" else "low"
    return part


def answered_file(part: dict[str, Any]) -> FilePart:
    """A file of the model's answer. Raises WireError when it is not inline, or not base64."""
    data = part.get("base64_data")
    if not isinstance(data, str) or not data:
        raise WireError("the model answered with a file that is not in the answer itself")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise WireError("the model answered with a file that is not base64") from None
    kind, media_type, file_format = part["type"], part.get("mime_type"), part.get("format")
    if not isinstance(media_type, str) or not media_type:
        named = isinstance(file_format, str) and file_format and kind != "document"
        media_type = f"{kind}/{file_format}" if named else _DEFAULT_MEDIA_TYPES[kind]
    return FilePart(content=BinaryContent.narrow_type(BinaryContent(data=content, media_type=media_type)))


def _kind(item: FileUrl | BinaryContent) -> str:
    match item:
        case ImageUrl() | BinaryContent(is_image=True):
            return "image"
        case AudioUrl() | BinaryContent(is_audio=True):
            return "audio"
        case VideoUrl() | BinaryContent(is_video=True):
            return "video"
        case _:
            return "document"


async def _source(item: FileUrl | BinaryContent) -> tuple[str, str]:
    """The URL and the base64 data, one of which is empty."""
    if isinstance(item, BinaryContent):
        return "", item.base64
    if not item.force_download:
        return item.url, ""
    return "", (await download_item(item, data_format="base64"))["data"]


def _media_type(item: FileUrl | BinaryContent) -> str:
    try:
        return item.media_type
    except ValueError:
        return ""


def _format(item: FileUrl | BinaryContent) -> str:
    try:
        return item.format
    except (ValueError, KeyError):
        return _media_type(item).partition("/")[2]
