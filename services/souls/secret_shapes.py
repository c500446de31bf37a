"""The shapes of well-known keys, whatever their name and surroundings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Shape:
    """The shape of one kind of key.

    ``anchor`` occurs in every text that the pattern matches, and is quick to search for. Every pattern backtracks over
    a bounded piece of text only, so that all of them take linear time.
    """

    anchor: str
    pattern: re.Pattern[str]
    is_likely: Callable[[str], bool] = bool


def _has_digit(text: str) -> bool:
    return any(char.isdigit() for char in text)


def _looks_random(text: str) -> bool:
    return _has_digit(text) and text.lower() != text != text.upper()


def _prefixed(prefix: str, rest: str, is_likely: Callable[[str], bool] = bool) -> _Shape:
    """Returns the shape of a key that begins with ``prefix``, at the beginning of a word."""
    escaped = re.escape(prefix)
    return _Shape(prefix, re.compile(rf"{escaped}(?<![A-Za-z0-9_]{escaped})(?:{rest})"), is_likely)


_SHAPES = (
    _prefixed("sk-", r"[A-Za-z0-9]{20,}"),
    _prefixed("sk-", r"[A-Za-z0-9_-]{16,}", _has_digit),
    *(_prefixed(f"{kind}_{place}_", r"[A-Za-z0-9]{10,}") for kind in ("sk", "rk") for place in ("live", "test")),
    _prefixed("AKIA", r"[A-Z0-9]{16}"),
    _prefixed("ASIA", r"[A-Z0-9]{16}", _has_digit),
    *(_prefixed(f"gh{kind}_", r"[A-Za-z0-9]{16,}") for kind in "pousr"),
    _prefixed("github_pat_", r"[A-Za-z0-9_]{16,}"),
    _prefixed("glpat-", r"[A-Za-z0-9_-]{16,}"),
    *(_prefixed(f"xox{kind}-", r"[A-Za-z0-9-]{10,}", _has_digit) for kind in "abeoprs"),
    _prefixed("xapp-", r"[A-Za-z0-9-]{16,}", _has_digit),
    _prefixed("AIza", r"[A-Za-z0-9_-]{30,}"),
    _prefixed("ya29.", r"[A-Za-z0-9_-]{20,}"),
    _prefixed("gsk_", r"[A-Za-z0-9]{20,}"),
    _prefixed("xai-", r"[A-Za-z0-9]{20,}"),
    _prefixed("hf_", r"[A-Za-z0-9]{20,}"),
    _prefixed("pplx-", r"[A-Za-z0-9]{20,}"),
    _prefixed("npm_", r"[A-Za-z0-9]{30,}"),
    _prefixed("pypi-", r"[A-Za-z0-9_-]{30,}", _has_digit),
    _prefixed("SG.", r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    _prefixed("app-", r"[A-Za-z0-9]{24,}", _looks_random),
    _prefixed("dataset-", r"[A-Za-z0-9]{24,}", _looks_random),
    _prefixed("ws-", r"[A-Za-z0-9_-]{32,}", _looks_random),
    _Shape("eyJ", re.compile(r"eyJ(?<![\w.-]eyJ)[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")),
    _Shape("PRIVATE KEY-----", re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----")),
    _Shape("AGE-SECRET-KEY-1", re.compile(r"AGE-SECRET-KEY-1[A-Z0-9]{20,}")),
    _Shape("hooks.slack.com/", re.compile(r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}")),
    _Shape("://", re.compile(r"://[^\s/:@?#]{0,200}:(?![*]|\$|\{|<|%7B)[^\s/@?#]{3,200}@")),
    _Shape("earer", re.compile(r"[Bb]earer {1,4}[A-Za-z0-9._~+/-]{16,}"), _has_digit),
    _Shape("asic ", re.compile(r"[Bb]asic {1,4}[A-Za-z0-9+/]{12,}={0,2}(?![\w-])"), _looks_random),
    _Shape(
        "=",
        re.compile(r"[?&](?:api[-_]?key|key|access[-_]?token|token|client[-_]?secret|password|sig)=[\w.~+/%-]{16,}"),
        _has_digit,
    ),
)


def shows_secret(text: str) -> bool:
    """Whether the text contains anything that looks like a well-known kind of key."""
    return any(_matches(text))


def _matches(text: str) -> Iterator[bool]:
    for shape in _SHAPES:
        if shape.anchor in text:
            yield any(shape.is_likely(match.group()) for match in shape.pattern.finditer(text))
