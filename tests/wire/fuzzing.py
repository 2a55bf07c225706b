"""How much damage is done, counted while it is done: a test that runs fewer trials than it says fails."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

LEAST = 10_000
"""Damaged streams, or bodies where nothing streams, of each API."""
RUNS = 20
"""Tests that they are shared out over, each with a seed and with the deadline that every test has."""
EACH = LEAST // RUNS


@dataclass
class Trials:
    """What became of damaged streams: an error, an answer that was checked, or one that nobody can."""

    ends: Counter[str] = field(default_factory=Counter)

    def failed(self) -> None:
        """Count an error of the right type."""
        self.ends["failed"] += 1

    def answered(self, *, checked: bool) -> None:
        """Count an answer; `checked` against what the damaged bytes say."""
        self.ends["checked" if checked else "unclear"] += 1

    def finish(self, *, share: float = 0.15) -> None:
        """Check that there were enough, and that each end was that of its share at least."""
        assert self.ends.total() * RUNS >= LEAST
        assert self.ends["checked"] >= share * self.ends.total()
        assert self.ends["failed"] >= share * self.ends.total()
