"""What model calls cost: one call's usage, and the ledger that sums the calls of a run."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, FiniteFloat, PlainSerializer

DEFAULT_CURRENCY = "USD"


def _absent_as(default: object) -> Callable[[Any], Any]:
    return lambda value: default if value is None or value == "" else value


def _plain_notation(value: Decimal) -> str:
    # str() would write small prices as 1E-7, which not every reader of decimals understands.
    return format(value, "f")


Count = Annotated[int, BeforeValidator(_absent_as(0))]
Seconds = Annotated[FiniteFloat, BeforeValidator(_absent_as(0.0))]
Price = Annotated[
    Decimal,
    BeforeValidator(_absent_as(Decimal(0))),
    PlainSerializer(_plain_notation, return_type=str, when_used="json"),
]


class ModelUsage(BaseModel):
    """The usage of one model call, or the sum of several.

    Prices are decimals in ``currency`` and strings in JSON; durations are seconds. A number that is absent or null
    is 0, except ``time_to_first_token`` and ``time_to_generate``, where None means that nobody measured.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt_tokens: Count = 0
    prompt_unit_price: Price = Decimal(0)
    prompt_price_unit: Price = Decimal(0)
    prompt_price: Price = Decimal(0)
    completion_tokens: Count = 0
    completion_unit_price: Price = Decimal(0)
    completion_price_unit: Price = Decimal(0)
    completion_price: Price = Decimal(0)
    total_tokens: Count = 0
    total_price: Price = Decimal(0)
    currency: Annotated[str, BeforeValidator(_absent_as(DEFAULT_CURRENCY))] = DEFAULT_CURRENCY
    latency: Seconds = 0.0
    time_to_first_token: FiniteFloat | None = None
    time_to_generate: FiniteFloat | None = None


class UsageLedger:
    """The usage of a run's model calls, in the order in which they ended."""

    def __init__(self) -> None:
        self._calls: list[ModelUsage] = []

    def add(self, usage: ModelUsage) -> None:
        """Enter one call."""
        self._calls.append(usage)

    def total(self) -> ModelUsage | None:
        """The sum of all calls, or None when there is none.

        Tokens, prices and durations are summed. Unit prices and the currency are those of the last call, the time to
        the first token that of the first call which knows it.
        """
        if not self._calls:
            return None
        calls = self._calls
        last = calls[-1]
        generated = [call.time_to_generate for call in calls if call.time_to_generate is not None]
        return ModelUsage(
            prompt_tokens=sum(call.prompt_tokens for call in calls),
            prompt_unit_price=last.prompt_unit_price,
            prompt_price_unit=last.prompt_price_unit,
            prompt_price=sum((call.prompt_price for call in calls), Decimal(0)),
            completion_tokens=sum(call.completion_tokens for call in calls),
            completion_unit_price=last.completion_unit_price,
            completion_price_unit=last.completion_price_unit,
            completion_price=sum((call.completion_price for call in calls), Decimal(0)),
            total_tokens=sum(call.total_tokens for call in calls),
            total_price=sum((call.total_price for call in calls), Decimal(0)),
            currency=last.currency,
            latency=sum(call.latency for call in calls),
            time_to_first_token=next(
                (call.time_to_first_token for call in calls if call.time_to_first_token is not None), None
            ),
            time_to_generate=sum(generated) if generated else None,
        )
