"""What one call asks, and what a look-up found for it."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..providers.base import Call
from .admission import Freshness
from .control import Control
from .tier import Held

__all__ = ["NOTHING", "Asked", "Stored"]


class Stored(NamedTuple):
    """What a look-up found, where, and what it may still be used for."""

    held: Held | None = None
    tier: str = "memory"
    state: Freshness = Freshness.EXPIRED

    def serves(self, control: Control) -> bool:
        """Whether it answers the call now."""
        if self.state is Freshness.REVALIDATE:
            return control.calls
        return self.state is Freshness.FRESH

    @property
    def spare(self) -> Held | None:
        """What may answer if the provider fails."""
        return self.held if self.state in {Freshness.REVALIDATE, Freshness.IF_ERROR} else None


NOTHING: Final = Stored()


class Asked:
    """A call as it was asked.

    It refers to what the caller passed in, who may change that as soon as others get
    to run. It is copied before they do; a hit that nobody waited for needs no copy.
    """

    __slots__ = ("_call", "_owned")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._owned = False

    def own(self) -> Call:
        """Return the call with a request that nobody else can change."""
        if not self._owned:
            self._call = self._call.snapshot()
            self._owned = True
        return self._call
