"""Checks of the numbers that a backend is given, when it is made and not when it is used."""

from __future__ import annotations

from typing import Any, Final

from ..errors import ConfigurationError

__all__ = ["check_count", "check_seconds"]

# What timers and drivers can count with.
_MOST: Final = 10**9


def check_seconds(name: str, value: Any, *, most: float = _MOST) -> None:
    """Do nothing when `value` is a number of seconds above 0.

    Raises:
        ConfigurationError: it is not.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= most:
        msg = f"{name} must be a number of seconds above 0, not {value!r}"
        raise ConfigurationError(msg)


def check_count(name: str, value: Any, *, least: int = 1) -> None:
    """Do nothing when `value` is a whole number, at least `least`.

    Raises:
        ConfigurationError: it is not.
    """
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not least <= value <= _MOST:
        msg = f"{name} must be a whole number, {least} or more, not {value!r}"
        raise ConfigurationError(msg)
