"""What the cache did: counts, and the seconds and dollars it spared."""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from ..types import Usage
from ..types._json import Json, decimal_text

__all__ = ["CacheStats", "price"]


@dataclass(slots=True)
class CacheStats:
    """Counters of one cache in this process, since it was made.

    - `hits`: answers served without a call; `memory_hits` and `shared` (joined a call
      in flight) are parts of it. `stale_hits` were past their time.
    - `misses`: calls to the provider for want of an answer; `bypassed`: calls that
      the cache took no part in.
    - `stored`, `refused`: answers kept, and answers that admission turned away.
    - `saved_seconds`, `saved_cost`: what the hits spared; `unpriced_hits` have no known cost.
    """

    hits: int = 0
    memory_hits: int = 0
    shared: int = 0
    stale_hits: int = 0
    misses: int = 0
    bypassed: int = 0
    stored: int = 0
    refused: int = 0
    saved_seconds: float = 0.0
    saved_cost: Decimal = Decimal()
    unpriced_hits: int = 0

    def spare(self, seconds: float | None, cost: Decimal | None) -> None:
        """Add what one hit spared."""
        self.saved_seconds += seconds or 0.0
        if cost is None:
            self.unpriced_hits += 1
        else:
            self.saved_cost += cost

    def to_dict(self) -> dict[str, Json]:
        """Return every counter as JSON."""
        data = asdict(self)
        data["saved_cost"] = decimal_text(self.saved_cost)
        return data


async def price(usage: Usage | None, provider: str, model: str | None) -> Decimal | None:
    """Return what a call cost in US dollars, `None` when nobody knows.

    The provider's own number counts; else the price list of `genai-prices` (the
    `prices` extra), where the model is in it.
    """
    if usage is None or usage.total_cost is not None or not model:
        return None if usage is None else usage.total_cost
    if not _has_prices():
        return None
    if not _calculator.cache_info().currsize:
        # Importing it takes a quarter of a second, once: not on the loop.
        await asyncio.to_thread(_calculator)
    return _calculator()(usage, provider, model)


@functools.cache
def _has_prices() -> bool:
    return importlib.util.find_spec("genai_prices") is not None


@functools.cache
def _calculator() -> Callable[[Usage, str, str], Decimal | None]:
    prices: Any = importlib.import_module("genai_prices")

    def calculate(usage: Usage, provider: str, model: str) -> Decimal | None:
        counts = prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.input_tokens_cached or None,
            cache_write_tokens=usage.input_tokens_cache_write or None,
        )
        try:
            total = prices.calc_price(counts, model_ref=model, provider_id=provider).total_price
        except (LookupError, ValueError):
            return None
        return Decimal(total)

    return calculate
