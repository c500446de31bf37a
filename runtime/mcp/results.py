"""What a tool returned, as the text that the model gets."""

from __future__ import annotations

import json

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from runtime.llm.plugin_tools.observation import NOTHING

PARAGRAPH = "\n\n"


def result_text(result: CallToolResult, limit: int) -> str:
    """The texts of a result, at most ``limit`` characters. What is no text is named, and not shown.

    Never blank, which providers of models refuse.
    """
    text = PARAGRAPH.join(_block_text(block) for block in result.content)
    if not text.strip() and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    return cut(text, limit) if text.strip() else NOTHING


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and a note that says so."""
    if len(text) <= limit:
        return text
    note = f"\n[cut here: the whole result has {len(text)} characters]"
    return text[: max(0, limit - len(note))] + note


def _block_text(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent() | AudioContent():
            return _unshown(block.type, block.mime_type, block.data)
        case ResourceLink():
            return f"[{block.name}]({block.uri})"
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return resource.text
        case EmbeddedResource(resource=BlobResourceContents() as resource):
            return _unshown("file", resource.mime_type or "application/octet-stream", resource.blob)
    raise TypeError(f"a result has a block of type {type(block).__name__}")


def _unshown(kind: str, mime_type: str, base64_data: str) -> str:
    return f"[{kind}, {mime_type}, {len(base64_data) * 3 // 4} bytes, not shown]"
