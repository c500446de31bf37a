"""Files that come in pieces, joined by their id."""

from __future__ import annotations

import binascii
from typing import Any

from runtime.llm.wire.errors import WireError

MAX_FILE_BYTES = 30 << 20
"""Dify's own bound of a file that a tool returns."""


class FileTooLargeError(Exception):
    """A file of a tool's answer is larger than a tool may return."""


class IncompleteFileError(Exception):
    """The last piece of a file has come, and another one has not."""


def read_base64(text: object) -> bytes:
    """Raises WireError when this is not base64, and FileTooLargeError."""
    if not isinstance(text, str):
        raise WireError("a file of the tool's answer is not base64")
    if len(text) > MAX_FILE_BYTES * 4 // 3 + 4:
        raise FileTooLargeError
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise WireError("a file of the tool's answer is not base64") from None


class _Pieces:
    """What has come of one file."""

    def __init__(self, total_length: object) -> None:
        self._total_length = total_length
        self._by_sequence: dict[int, bytes] = {}
        self._bytes = 0

    def add(self, sequence: int, data: bytes) -> None:
        self._bytes += len(data) - len(self._by_sequence.get(sequence, b""))
        if self._bytes > MAX_FILE_BYTES:
            raise FileTooLargeError
        self._by_sequence[sequence] = data

    def joined(self) -> bytes | None:
        """The whole file, or None when a piece is missing."""
        order = sorted(self._by_sequence)
        if order != list(range(len(order))) or self._total_length not in (None, self._bytes):
            return None
        return b"".join(self._by_sequence[sequence] for sequence in order)


class BlobJoiner:
    """Joins pieces into files, several at a time."""

    def __init__(self) -> None:
        self._open: dict[str, _Pieces] = {}
        self._dropped: set[str] = set()

    @property
    def open_count(self) -> int:
        """Files that have begun and not ended."""
        return len(self._open)

    def feed(self, chunk: dict[str, Any]) -> bytes | None:
        """The file that this piece completes; None while it is not the last.

        Raises WireError for a malformed piece, IncompleteFileError for the last piece when another is missing, and
        FileTooLargeError once, after which the other pieces of that file are passed over.
        """
        file_id, sequence = chunk.get("id"), chunk.get("sequence")
        if not isinstance(file_id, str) or type(sequence) is not int:
            raise WireError("a piece of a file of the tool's answer has no id or sequence")
        if file_id in self._dropped:
            return None
        pieces = self._open.setdefault(file_id, _Pieces(chunk.get("total_length")))
        try:
            pieces.add(sequence, read_base64(chunk.get("blob")))
        except FileTooLargeError:
            del self._open[file_id]
            self._dropped.add(file_id)
            raise
        if chunk.get("end") is not True:
            return None
        del self._open[file_id]
        whole = pieces.joined()
        if whole is None:
            raise IncompleteFileError
        return whole
