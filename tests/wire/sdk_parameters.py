"""What the official clients' methods take: a parameter of tomorrow fails the tests that ask here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# How a request travels, not what it says.
_TRAVEL = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}


def parameters(method: Callable[..., Any]) -> set[str]:
    """Return the names that a client's method takes for the request itself."""
    return set(inspect.signature(method).parameters) - _TRAVEL


def asked(*cases: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return every option that any of some cases has."""
    return {name for options in cases for one in options for name in one}
