"""Answers that are not read to their end. The texts never quote what was sent."""

from __future__ import annotations

import httpx2


class AnswerRefused(httpx2.TransportError):
    """An answer that this server does not read, or no further. Its connection is closed."""


class AnswerTooLarge(AnswerRefused):
    """An answer above a bound on its size."""


class AnswerEncoded(AnswerRefused):
    """An answer that is compressed, although the request asked for one that is not."""

    def __init__(self) -> None:
        super().__init__("the answer is compressed, which it was asked not to be")
