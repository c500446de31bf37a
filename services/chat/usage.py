"""The usage of a turn in Dify's service API."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from runtime.llm.usage import ModelUsage


def usage_of(data: Mapping[str, Any] | None) -> ModelUsage:
    """Returns the usage in a run's terminal event; all zeros if it has none."""
    return ModelUsage() if data is None else ModelUsage.model_validate(data)


def streamed_usage(usage: ModelUsage) -> dict[str, Any]:
    """Returns the usage for a stream: prices are strings."""
    return usage.model_dump(mode="json")


def blocking_usage(usage: ModelUsage) -> dict[str, Any]:
    """Returns the usage for a blocking response: prices are numbers."""
    return {key: float(value) if isinstance(value, Decimal) else value for key, value in usage}
