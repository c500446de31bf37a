"""Usage on Dify's wire."""

from __future__ import annotations

import json
from typing import Any

from services.chat.usage import blocking_usage, streamed_usage, usage_of
from tests.support.plugin_daemon import USAGE

KEYS = [
    "prompt_tokens",
    "prompt_unit_price",
    "prompt_price_unit",
    "prompt_price",
    "completion_tokens",
    "completion_unit_price",
    "completion_price_unit",
    "completion_price",
    "total_tokens",
    "total_price",
    "currency",
    "latency",
    "time_to_first_token",
    "time_to_generate",
]
PRICES = [key for key in KEYS if "price" in key]


def types(usage: dict[str, Any], keys: list[str]) -> set[type]:
    return {type(value) for key, value in json.loads(json.dumps(usage)).items() if key in keys}


def test_prices_are_strings_in_a_stream_and_numbers_in_a_blocking_answer() -> None:
    usage = usage_of(USAGE)

    streamed, blocking = streamed_usage(usage), blocking_usage(usage)

    assert list(streamed) == list(blocking) == KEYS
    assert types(streamed, PRICES) == {str}
    assert types(blocking, PRICES) == {float}
    assert (streamed["total_price"], blocking["total_price"]) == ("0.000017", 0.000017)
    assert {key: streamed[key] for key in KEYS if key not in PRICES} == {
        key: blocking[key] for key in KEYS if key not in PRICES
    }


def test_counts_are_whole_and_the_latency_is_seconds() -> None:
    streamed = streamed_usage(usage_of(USAGE))

    assert types(streamed, ["prompt_tokens", "completion_tokens", "total_tokens"]) == {int}
    assert streamed["latency"] == 0.25


def test_small_prices_are_written_without_an_exponent() -> None:
    assert streamed_usage(usage_of({"total_price": "0.0000001"}))["total_price"] == "0.0000001"


def test_a_run_without_reported_usage_has_used_nothing() -> None:
    usage = blocking_usage(usage_of(None))

    assert {usage[key] for key in KEYS if key not in ("currency", "time_to_first_token", "time_to_generate")} == {0}
    assert usage["currency"] == "USD"
