"""Patterns mean what ECMA-262 says, as far as the two engines can."""

from __future__ import annotations

import pytest

from runtime.output.patterns import InvalidPattern, compile_pattern

FOUND = [
    (r"^\d+$", "123"),
    (r"^[\u4e00-\u9fa5]+$", "中文"),
    (r"^\ud83d\ude00$", "😀"),
    (r"\u0041", "A"),
    (r"^\p{L}+$", "été"),
    (r"^(?<year>\d{4})$", "2026"),
    (r"^a\/b$", "a/b"),
    (r"^(?!x)a", "ab"),
    (r"^(?=.*[A-Z]).+$", "aBc"),
    (r"(?<=a)b", "ab"),
    (r"^(a|b)\1$", "aa"),
    (r"^(?<q>['\"]).*\k<q>$", "'x'"),
    (r"^.{1,2000}$", "x"),
    (r"[$]", "$"),
    (r"(?!x)\$", "$"),
    ("", ""),
]
NOT_FOUND = [
    (r"^\d+$", "١٢"),
    (r"^\w+$", "é"),
    (r"^a$", "a\n"),
    (r"^(?!x)a$", "a\n"),
    (r"^(?!x)\d$", "\u0661"),
    (r"^(a|b)\1$", "ab"),
    (r"^(?=.*[A-Z]).+$", "abc"),
    (r"^\\u0041$", "A"),
]


@pytest.mark.parametrize(("pattern", "text"), FOUND)
def test_a_pattern_is_found(pattern: str, text: str) -> None:
    assert compile_pattern(pattern).found_in(text)


@pytest.mark.parametrize(("pattern", "text"), NOT_FOUND)
def test_a_pattern_is_not_found(pattern: str, text: str) -> None:
    assert not compile_pattern(pattern).found_in(text)


@pytest.mark.parametrize(
    ("pattern", "bounded"),
    [(r"^(a+)+$", True), (r"^(?<a>x)$", True), (r"^(?=a)a$", False), (r"(a)\1", False), (r"a{1,5000}", False)],
)
def test_only_a_pattern_that_re2_cannot_take_has_no_time_bound(pattern: str, bounded: bool) -> None:
    assert (compile_pattern(pattern).steps is not None) is bounded


def test_a_pattern_that_explodes_elsewhere_does_not_here() -> None:
    assert not compile_pattern(r"^(a|aa|a)+$").found_in("a" * 60_000 + "!")


@pytest.mark.parametrize("pattern", ["(", ")", "[b-a]", "a**", "(?<n>a)(?<n>b)(?=c)", "(?=" + "(" * 400, "\ud800("])
def test_a_pattern_that_no_engine_accepts_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        compile_pattern(pattern)
