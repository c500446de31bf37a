"""Formatting lines of the log, whatever input they quote."""

from __future__ import annotations

import logging
import re
import warnings
from io import StringIO

import pytest

from app_logging import SafeFormatter, configure_logging, make_handlers_safe
from errors import RunNotFound

SECRET = "sk-quoted-in-an-error"


@pytest.fixture
def log() -> tuple[logging.Logger, StringIO]:
    """A logger of the test's own, and what it has written."""
    logger, written = logging.Logger("tested"), StringIO()
    logger.addHandler(logging.StreamHandler(written))
    logger.handlers[0].setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    make_handlers_safe(logger)
    return logger, written


@pytest.mark.parametrize("newline", ["\n", "\r", "\x0b", "\x85", "\u2028", "\x1b[2K"])
def test_quoted_input_cannot_begin_a_new_log_line(newline: str, log: tuple[logging.Logger, StringIO]) -> None:
    logger, written = log

    logger.info("asked for %s", f"/x{newline}INFO audit key_created")

    assert len(written.getvalue().splitlines()) == 1
    assert newline not in written.getvalue()[:-1]


def test_an_error_is_logged_by_class_and_place_with_its_causes(log: tuple[logging.Logger, StringIO]) -> None:
    logger, written = log
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ExceptionGroup(SECRET, [ValueError(SECRET), OSError(SECRET)]) from error
    except ExceptionGroup:
        logger.exception("request 1: unexpected error")

    text = written.getvalue()
    assert SECRET not in text
    assert re.findall(r"builtins\.(\w+)", text) == ["KeyError", "ExceptionGroup", "ValueError", "OSError"]
    assert text.count("test_app_logging.py") == 2


def test_an_error_already_formatted_by_another_handler_is_formatted_again(log: tuple[logging.Logger, StringIO]) -> None:
    logger, written = log
    logger.handlers.insert(0, logging.StreamHandler(StringIO()))

    logger.error("failed", exc_info=ValueError(SECRET))

    assert "ValueError" in written.getvalue()
    assert SECRET not in written.getvalue()


def test_our_own_error_keeps_its_message(log: tuple[logging.Logger, StringIO]) -> None:
    logger, written = log

    logger.error("failed", exc_info=RunNotFound())

    assert f"errors.RunNotFound: {RunNotFound().message}" in written.getvalue()


def test_a_warning_is_logged_by_class_and_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    configure_logging("INFO")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn_explicit(UserWarning(SECRET), None, "library.py", 7)

    assert "UserWarning at library.py:7" in caplog.text
    assert SECRET not in caplog.text


def test_the_format_of_a_handler_stays() -> None:
    logger = logging.Logger("other")
    logger.addHandler(logging.StreamHandler())
    logger.handlers[0].setFormatter(logging.Formatter("%(name)s!", "%Y"))

    make_handlers_safe(logger)

    formatter = logger.handlers[0].formatter
    assert isinstance(formatter, SafeFormatter)
    assert (formatter._fmt, formatter.datefmt) == ("%(name)s!", "%Y")
