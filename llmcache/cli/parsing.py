"""What people write, as numbers: sizes, durations, and a request in a file."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import typer

from ..errors import InvalidRequestError
from .asking import Kind, kind_of

__all__ = ["option", "parse_duration", "parse_size", "read_request", "request_of"]

T = TypeVar("T")

_SIZES: Final[Mapping[str, int]] = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 10 ** (3 * i) for i, letter in enumerate("kmgt", 1)},
    **{letter: 10 ** (3 * i) for i, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 2 ** (10 * i) for i, letter in enumerate("kmgt", 1)},
}
_SECONDS: Final[Mapping[str, int]] = {
    "s": 1,
    "m": 60,
    "min": 60,
    "h": 3_600,
    "d": 86_400,
    "w": 604_800,
}
_FIELDS: Final = frozenset(kind.field for kind in Kind)
_SIZE: Final = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_SPAN: Final = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]+)\s*", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes that `text` means: `500MB`, `1.5 GiB`, `200000`; at least 1.

    Raises:
        ValueError: saying what it may look like.
    """
    found = _SIZE.fullmatch(text.strip())
    unit = None if found is None else _SIZES.get(found[2].lower())
    if found is None or unit is None:
        msg = f"{text!r} is not a size; write 500MB, 2GiB or a number of bytes"
        raise ValueError(msg)
    size = int(Decimal(found[1]) * unit)
    if size < 1:
        msg = f"{text!r} is nothing; a size is at least one byte"
        raise ValueError(msg)
    return size


def parse_duration(text: str) -> float:
    """Return the seconds that `text` means: `7d`, `12h`, `90 min`, `1d12h`.

    Raises:
        ValueError: saying what it may look like; a bare number has no unit.
    """
    rest, seconds = text.strip(), Decimal()
    while found := _SPAN.match(rest):
        unit = _SECONDS.get(found[2].lower())
        if unit is None:
            break
        seconds += Decimal(found[1]) * unit
        rest = rest[found.end() :]
    if rest or not text.strip() or not math.isfinite(float(seconds)):
        msg = f"{text!r} is not a duration; write 7d, 12h, 30min, 45s, 2w or 1d12h"
        raise ValueError(msg)
    return float(seconds)


def option(name: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """Return the value of an option, `None` when it was not given.

    Raises:
        typer.BadParameter: naming the option and what is wrong with its value.
    """
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=name) from None


def read_request(source: str, kind: Kind | None = None) -> tuple[Kind, dict[str, Any]]:
    """Return the request body in a JSON file, or on standard input for `-`, and its kind.

    Raises:
        InvalidRequestError: not JSON, or not a request of `kind`, or of any.
        OSError: the file cannot be read.
    """
    place = "standard input" if source == "-" else source
    data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    try:
        body = json.loads(data)
    except ValueError as error:
        raise InvalidRequestError(place, f"not JSON: {error}") from None
    except RecursionError:
        raise InvalidRequestError(place, "nested too deeply") from None
    if not isinstance(body, dict) or _FIELDS.isdisjoint(body):
        reason = (
            'a chat request is an object with "model" and "messages"; '
            'others have "input" or "prompt"'
        )
        raise InvalidRequestError(place, reason)
    found = kind or kind_of(body)
    if found.field not in body:
        raise InvalidRequestError(place, f'a request of {found} has "{found.field}"')
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise InvalidRequestError(place, '"model" must be a model\'s name')
    return found, body


def request_of(
    source: str | None, prompt: str | None, model: str | None, kind: Kind | None = None
) -> tuple[Kind, dict[str, Any]]:
    """Return the request body in the file `source`, or the one that asks `model` for `prompt`.

    With its kind, which for a prompt is a chat's unless told otherwise.

    Raises:
        typer.BadParameter: both are given, or neither in full.
        InvalidRequestError, OSError: as `read_request`.
    """
    if source is not None:
        if prompt is not None or model is not None:
            msg = "a file says it all: leave out --prompt and --model"
            raise typer.BadParameter(msg, param_hint="REQUEST")
        return read_request(source, kind)
    if not prompt or not model:
        msg = "give a file, or both --prompt and --model"
        raise typer.BadParameter(msg, param_hint="REQUEST")
    kind = kind or Kind.CHAT
    turns = [{"role": "user", "content": prompt}]
    return kind, {"model": model, kind.field: turns if kind.field == "messages" else prompt}
