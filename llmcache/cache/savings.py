"""What the cache did: counts, and the seconds and dollars it spared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal

from ..types._json import Json, decimal_text

__all__ = ["CacheStats"]


@dataclass(slots=True)
class CacheStats:
    """Counters of one cache in this process, since it was made.

    - `hits`: answers served without a call; `memory_hits` and `shared` (joined a call
      in flight) are parts of it. `stale_hits` were past their time.
    - `misses`: calls to the provider for want of an answer; `bypassed`: calls that
      the cache took no part in.
    - `stored`, `refused`: answers kept, and answers that admission turned away. `dropped`:
      those that the store should have kept and did not.
    - `store_failures`: operations of the store that failed, came too late or were spared it
      while it is down; of a composition, each of its stores'.
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
    dropped: int = 0
    store_failures: int = 0
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
