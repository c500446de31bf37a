"""What the model is told when a tool could not do its work: what went wrong, and what it can do."""

from __future__ import annotations

from runtime.llm.plugin_daemon.errors import (
    PluginDaemonConnectionError,
    PluginDaemonError,
    PluginDaemonHTTPError,
    PluginDaemonTimeoutError,
)
from runtime.llm.plugin_tools.arguments import UnfitArgumentsError

_CREDENTIAL_SIGNS = ("Credential", "Authorization", "Unauthorized", "PermissionDenied")
_PARAMETER_SIGNS = ("BadRequest", "Validat")
_NOT_FOUND_ENDS = ("NotFound", "NotFoundError")
_OTHER_NOT_FOUND = frozenset({"FileNotFoundError", "ModuleNotFoundError"})
"""Errors of a plugin's own code that end alike."""


def unfit_arguments(name: str, error: UnfitArgumentsError) -> str:
    """The tool was not called at all."""
    return f"The tool {name} was not called: {error}. Call it again once this is put right, or go on without it."


def refusal(name: str, error: PluginDaemonError) -> str:
    """The daemon, or the plugin behind it, did not give a result."""
    said = error.daemon_message.rstrip(".")
    match error:
        case PluginDaemonTimeoutError():
            return f"The tool {name} took too long: {said}. Try again later, or go on without it."
        case PluginDaemonConnectionError():
            return f"The tool {name} cannot be reached now: {said}. Try again later, or go on without it."
    status = error.status_code if isinstance(error, PluginDaemonHTTPError) else None
    error_type = error.error_type or ""
    if status in (401, 403) or any(sign in error_type for sign in _CREDENTIAL_SIGNS):
        return f"The tool {name} was refused its credentials. Ask the user to check the credentials of its provider."
    if status == 404 or (error_type.endswith(_NOT_FOUND_ENDS) and error_type not in _OTHER_NOT_FOUND):
        return f"There is no tool named {name}: {said}. Go on without it."
    if status in (400, 422) or any(sign in error_type for sign in _PARAMETER_SIGNS):
        return f"The tool {name} did not take its parameters: {said}. Check the parameters and call it again."
    return f"The tool {name} failed: {said}."
