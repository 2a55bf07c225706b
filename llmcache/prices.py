"""What a call cost, from the price list of `genai-prices` (the `prices` extra), never from a network.

Amounts are whole nano-dollars inside (a token of the cheapest models costs a few of
them) and `Decimal` dollars outside. What is not in the list is unknown, `None`, and
never 0; what goes wrong in the look-up is unknown, too: a price never fails a call.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from .types import CompletionResult, Usage
from .types._json import Json

__all__ = ["Price", "find_price", "priced", "priced_usage"]

_NANO: Final = 9
# What an answer says of how it was served, where that is the usual way.
_USUAL: Final = frozenset({None, "", "auto", "default", "standard", "on_demand"})
# Asked for by their own endpoints; the answer names it as a tier.
_BATCH: Final[Mapping[str, str]] = {"processing": "batch"}


class Price(NamedTuple):
    """What a call cost, in nano-dollars, and the list that says so.

    `total` may be more than both parts: a price of the request itself.
    """

    input: int
    output: int
    total: int
    price_list: str

    def on(self, usage: Usage) -> Usage:
        """Return `usage` with these costs."""
        return usage.with_costs(_dollars(self.total), _dollars(self.input), self.price_list)


def _dollars(nanos: int) -> Decimal:
    return Decimal(nanos).scaleb(-_NANO).normalize()


async def priced(result: CompletionResult, provider: str) -> CompletionResult:
    """Return `result` with the costs of its usage, as far as they are known.

    The provider's own number counts where it gives one. Batch, flex and priority
    prices apply where the answer says that it was served so.
    """
    usage = result.usage
    if usage is None or usage.total_cost is not None:
        return result
    known = await priced_usage(usage, provider, result.model, _served(result.raw_json))
    return result if known is usage else result.with_usage(known)


async def priced_usage(
    usage: Usage, provider: str, model: str | None, served: Mapping[str, str] | None = None
) -> Usage:
    """Return `usage` with its costs, the same where they are stated already or not known."""
    if usage.total_cost is not None or not model or not _has_prices():
        return usage
    if not _prices.cache_info().currsize:
        # Loading it takes a quarter of a second, once: not on the loop.
        await asyncio.to_thread(_prices)
    price = find_price(usage, provider, model, served)
    return usage if price is None else price.on(usage)


def find_price(
    usage: Usage, provider: str | None, model: str, served: Mapping[str, str] | None = None
) -> Price | None:
    """Return what the list says that `usage` costs; `None` when it says nothing.

    `provider` is one of the list's (`openai`, `anthropic`, `groq`, `openrouter`,
    `azure` …) or the host of a server that the list knows. `served` tells another
    price than the usual one: `{"processing": "batch"}`, `{"service_tier": "flex"}`.
    Fees of a provider's own tools are not in it: `usage` does not count searches.
    """
    if not provider or not _has_prices():
        return None
    try:
        return _look_up(usage, provider, model, dict(served or {}))
    except Exception:  # noqa: BLE001 - other people's list and program: a price fails no call
        return None


def _look_up(usage: Usage, provider: str, model: str, served: dict[str, str]) -> Price | None:
    prices = _prices()
    if prices is None:
        return None
    snapshot = prices.data_snapshot.get_snapshot()
    seller = _seller(snapshot, provider)
    if seller is None:
        return None
    seller, entry = snapshot.find_provider_model(model, seller, None, None)
    if served and not _has_variant(seller, entry, served):
        return None
    found = entry.calc_price(_counts(prices, usage), seller, price_context=served or None)
    stated = vars(found.model_price)
    if any(
        count and stated.get(name) is None
        for count, name in (
            (usage.input_tokens, "input_mtok"),
            (usage.output_tokens, "output_mtok"),
        )
    ):
        return None  # it would add nothing for what has no price
    parts = (found.input_price, found.output_price, found.total_price)
    read, written, total = (round(part.scaleb(_NANO)) for part in parts)
    return Price(read, written, total, _list_name(prices, snapshot))


def _seller(snapshot: Any, provider: str) -> Any:
    """Return the list's provider of exactly this name or host: a likeness is somebody else."""
    if "." in provider:
        return snapshot.find_provider(None, None, f"https://{provider}/")
    return next((one for one in snapshot.providers if one.id == provider), None)


def _has_variant(seller: Any, entry: Any, served: Mapping[str, str]) -> bool:
    """Return whether the list has a price for what was served in an unusual way."""
    own = any(entry is model for model in seller.models)
    return own and any(variant.when == served for variant in entry.price_variants or ())


def _counts(prices: Any, usage: Usage) -> Any:
    return prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.input_tokens_cached or None,
        cache_write_tokens=usage.input_tokens_cache_write or None,
        cache_write_1h_tokens=usage.input_tokens_cache_write_1h or None,
        input_audio_tokens=usage.input_tokens_audio or None,
        output_audio_tokens=usage.output_tokens_audio or None,
    )


def _list_name(prices: Any, snapshot: Any) -> str:
    """Return the list's version, and its day where the user lets it update itself."""
    name = f"genai-prices {prices.__version__}"
    return f"{name} {snapshot.timestamp:%Y-%m-%d}" if snapshot.from_auto_update else name


def _served(raw: bytes | None) -> dict[str, str] | None:
    """Return how an answer says that it was served, in the list's words; `None`: as usual."""
    if raw is None or not (b'"service_tier"' in raw or b'"speed"' in raw):
        return None
    answer: Json = json.loads(raw)
    usage = answer.get("usage") or {}
    tier = answer.get("service_tier") or usage.get("service_tier")
    if tier == "batch":
        return dict(_BATCH)
    for name, value in (("service_tier", tier), ("speed", usage.get("speed"))):
        if value not in _USUAL:
            return {name: str(value)}
    return None


@functools.cache
def _has_prices() -> bool:
    return importlib.util.find_spec("genai_prices") is not None


@functools.cache
def _prices() -> Any:
    """Return `genai_prices` with its list loaded; `None` where it does not load."""
    try:
        prices = importlib.import_module("genai_prices")
        prices.data_snapshot.get_snapshot()
    except Exception:  # noqa: BLE001 - a broken installation fails no call either
        return None
    return prices
