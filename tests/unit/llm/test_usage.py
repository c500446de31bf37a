"""The usage of model calls and their sum."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from pydantic import ValidationError

from runtime.llm.usage import ModelUsage, UsageLedger


def test_an_empty_ledger_has_no_total() -> None:
    assert UsageLedger().total() is None


def test_the_total_sums_numbers_and_keeps_the_last_unit_prices() -> None:
    ledger = UsageLedger()
    ledger.add(
        ModelUsage(
            prompt_tokens=1,
            completion_tokens=2,
            total_tokens=3,
            prompt_unit_price=Decimal("0.1"),
            prompt_price=Decimal("0.0000001"),
            total_price=Decimal("0.3"),
            currency="RMB",
            latency=0.5,
        )
    )
    ledger.add(
        ModelUsage(
            prompt_tokens=10,
            completion_tokens=20,
            total_tokens=30,
            prompt_unit_price=Decimal("0.2"),
            prompt_price=Decimal("0.0000002"),
            total_price=Decimal("0.4"),
            latency=0.25,
            time_to_first_token=0.125,
            time_to_generate=1.5,
        )
    )
    ledger.add(ModelUsage(time_to_first_token=9.0, time_to_generate=2.0, prompt_unit_price=Decimal("0.2")))

    total = ledger.total()

    assert total == ModelUsage(
        prompt_tokens=11,
        completion_tokens=22,
        total_tokens=33,
        prompt_unit_price=Decimal("0.2"),
        prompt_price=Decimal("0.0000003"),
        total_price=Decimal("0.7"),
        currency="USD",
        latency=0.75,
        time_to_first_token=0.125,
        time_to_generate=3.5,
    )


def test_durations_that_nobody_measured_stay_unknown() -> None:
    ledger = UsageLedger()
    ledger.add(ModelUsage(prompt_tokens=1))

    total = ledger.total()

    assert total is not None
    assert total.time_to_first_token is None
    assert total.time_to_generate is None


def test_nulls_of_the_daemon_count_as_absent() -> None:
    usage = ModelUsage.model_validate(dict.fromkeys(ModelUsage.model_fields))

    assert usage == ModelUsage()


def test_json_has_plain_decimal_strings_and_every_field() -> None:
    usage = ModelUsage(prompt_price=Decimal("1E-7"), total_price=Decimal("12.50"))

    written = json.loads(usage.model_dump_json())

    assert set(written) == set(ModelUsage.model_fields)
    assert written["prompt_price"] == "0.0000001"
    assert written["total_price"] == "12.50"
    assert written["completion_price"] == "0"
    assert written["time_to_first_token"] is None


@pytest.mark.parametrize("wrong", [{"prompt_tokens": "many"}, {"latency": "NaN"}, {"total_price": "Infinity"}])
def test_a_usage_that_is_not_a_number_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ModelUsage.model_validate(wrong)
