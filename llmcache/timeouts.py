"""Time-outs of a request, phase by phase."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .errors import InvalidRequestError

__all__ = ["Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each phase of a request may take; `None` for no limit.

    - `connect`: until the connection is open.
    - `read`: without a byte of the answer, again after each.
    - `write`: without a byte of the request leaving.
    - `pool`: for a connection while all are in use.

    Raises:
        InvalidRequestError: one is not a number above 0.
    """

    connect: float | None = 5.0
    read: float | None = 600.0
    write: float | None = 600.0
    pool: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value: Any = getattr(self, field.name)
            wrong = isinstance(value, bool) or not isinstance(value, int | float)
            if value is not None and (wrong or not value > 0):
                reason = f"must be seconds above 0, not {value!r}"
                raise InvalidRequestError(f"timeout.{field.name}", reason)

    @classmethod
    def of(cls, timeout: float | Timeouts | None) -> Timeouts:
        """Return the phases that a number stands for: so many seconds without a byte.

        Connecting takes 5 seconds at most, and waiting for a connection has no limit.

        Raises:
            InvalidRequestError: neither a number above 0 nor `Timeouts`.
        """
        if isinstance(timeout, Timeouts):
            return timeout
        wrong = isinstance(timeout, bool) or not isinstance(timeout, int | float)
        if timeout is not None and (wrong or not timeout > 0):
            raise InvalidRequestError("timeout", f"must be seconds above 0, not {timeout!r}")
        usual = cls()
        connect = usual.connect if timeout is None else min(timeout, usual.connect or timeout)
        return cls(connect=connect, read=timeout, write=timeout)
