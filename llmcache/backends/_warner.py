"""Warnings that say a thing once, and then once a minute."""

from __future__ import annotations

import logging
import time
from typing import Final

__all__ = ["Warner"]

_log = logging.getLogger("llmcache")
_QUIET_FOR: Final = 60.0


class Warner:
    """Warns of the failures of one store."""

    def __init__(self, store: str) -> None:
        """`store` is named in the warnings."""
        self._store = store
        self.failures = 0
        """How much was warned of, said or not."""
        self._warned: dict[tuple[str, str], float] = {}

    def warn(self, operation: str, kind: str, reason: str) -> None:
        """Log one warning per operation and kind of failure, and then one a minute."""
        self.failures += 1
        now = time.monotonic()
        last = self._warned.get((operation, kind))
        if last is not None and now - last < _QUIET_FOR:
            return
        self._warned[operation, kind] = now
        _log.warning(
            "llmcache: %s %s failed, the call goes on without it: %s: %s",
            self._store,
            operation,
            kind,
            reason,
        )
