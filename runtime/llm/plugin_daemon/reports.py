"""What the daemon says went wrong: a type and a message, often several JSON texts deep."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from pydantic_core import from_json

MAX_DEPTH = 8
"""Deeper nesting than any daemon and plugin produce together."""

WRAPPER_TYPE = "PluginInvokeError"
"""Says only that a plugin failed; the plugin's own report is in its message."""

_MARKUP = ("<!doctype", "<html", "<?xml")


class DaemonReport(NamedTuple):
    """The effective error type, if any, and the innermost message, which is empty when there is none for people."""

    error_type: str | None
    message: str


def read_report(report: object) -> DaemonReport:
    """Unwrap an error body, an envelope's message or a plugin's report."""
    error_type: str | None = None
    for _ in range(MAX_DEPTH):
        fields = _report_fields(report)
        if fields is None:
            break
        inner_type = fields.get("error_type")
        if isinstance(inner_type, str) and inner_type and error_type in (None, WRAPPER_TYPE):
            error_type = inner_type
        report = fields.get("message") or _description(fields.get("args"))
    return DaemonReport(error_type, "" if _is_body(report) else str(report).strip())


def _report_fields(report: object) -> dict[str, Any] | None:
    """The fields of a report, or None when this is the message itself."""
    if isinstance(report, str) and report.lstrip().startswith("{"):
        try:
            report = from_json(report)
        except ValueError:
            return None
    if isinstance(report, dict) and ("message" in report or "error_type" in report):
        return cast(dict[str, Any], report)
    return None


def _description(args: object) -> object:
    return args.get("description") if isinstance(args, dict) else None


def _is_body(message: object) -> bool:
    """Whether this is data of a provider rather than a text for people."""
    if not isinstance(message, str):
        return True
    text = message.strip()
    if text.startswith("{") or text.lower().startswith(_MARKUP):
        return True
    if not text.startswith("["):
        return False
    try:
        from_json(text)
    except ValueError:
        return False  # such as "[openai] Rate limit reached"
    return True
