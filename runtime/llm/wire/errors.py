"""What is wrong with a model's answer. The texts never quote what was sent."""

from __future__ import annotations

PROTOCOL_ERROR = "model_protocol_error"
STREAM_INCOMPLETE = "model_stream_incomplete"
FAILED = "model_server_error"
"""The reasons of a run that such an answer has failed."""


class WireError(Exception):
    """The answer is not in the form of the provider's API."""


class IncompleteAnswer(WireError):
    """The answer ended, however politely, before the provider said that it was whole."""


class FailedAnswer(WireError):
    """The provider ended its answer with the word that it had failed."""
