"""Token counts and cost of one call, in one shape for every provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from ._built import Built
from ._json import Json, decimal_text

__all__ = ["Usage"]

_COSTS = ("input_cost", "output_cost", "total_cost")


@dataclass(frozen=True)
class Usage(Built):
    """What a call used. Tokens are whole numbers; costs are US dollars, `None` when unknown.

    `input_tokens` counts everything the model read, cached tokens included
    (Anthropic reports them apart; its numbers are added up to this meaning).
    `input_tokens_cached` and `input_tokens_cache_write` are parts of it,
    `input_tokens_cache_write_1h` (kept for an hour, at a higher price) a part of the
    latter; `reasoning_tokens` is a part of `output_tokens`. `price_list` names the list
    that the costs come from, such as `genai-prices 0.2.3`; `None` where the provider
    stated them. Costs from a list leave out what a provider takes beside the tokens for
    its own tools (web searches, containers): then the bill is higher.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_cached: int = 0
    input_tokens_cache_write: int = 0
    input_tokens_audio: int = 0
    output_tokens_audio: int = 0
    reasoning_tokens: int = 0
    input_cost: Decimal | None = None
    output_cost: Decimal | None = None
    total_cost: Decimal | None = None
    price_list: str | None = None
    input_tokens_cache_write_1h: int = 0

    def __post_init__(self) -> None:
        if self.total_cost is None and self.input_cost is None and self.output_cost is None:
            return
        for name in _COSTS:
            value: Any = getattr(self, name)
            if value is not None and type(value) is not Decimal:
                object.__setattr__(self, name, Decimal(str(value)))

    def __add__(self, other: Usage) -> Usage:
        """Return the sum; a cost unknown on either side is unknown in the sum."""
        return Usage.sum((self, other))

    @classmethod
    def sum(cls, usages: Iterable[Usage]) -> Usage:
        """Return the sum of `usages`; all zero, at no cost known, when there are none."""
        parts = list(usages)
        totals: dict[str, Any] = {}
        for name in _NAMES:
            values = [getattr(part, name) for part in parts]
            if name == "price_list":
                totals[name] = values[0] if len(set(values)) == 1 else None
            elif name in _COSTS:
                known = bool(values) and all(value is not None for value in values)
                totals[name] = sum(values, Decimal()) if known else None
            else:
                totals[name] = sum(values)
        return cls(**totals)

    def with_costs(self, total: Decimal, read: Decimal | None, price_list: str | None) -> Usage:
        """Return the same usage at these costs; what was not for reading was for writing."""
        costs: dict[str, Any] = {"total_cost": total, "price_list": price_list}
        if read is not None:
            costs |= {"input_cost": read, "output_cost": total - read}
        return Usage.of(**{**self.__dict__, **costs})

    def to_dict(self) -> dict[str, Json]:
        """Return every field; costs as exact decimal text."""
        data: dict[str, Json] = {name: getattr(self, name) for name in _NAMES}
        for name in _COSTS:
            data[name] = decimal_text(data[name])
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> Usage:
        """Return the usage that `to_dict` described; missing fields take their defaults."""
        return cls(**{name: data[name] for name in _NAMES if name in data})


_NAMES = tuple(field.name for field in fields(Usage))
