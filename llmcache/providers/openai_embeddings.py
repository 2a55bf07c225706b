"""OpenAI embeddings: one vector per input, each an entry of its own.

A stored vector is a line of JSON (element type, model, its share of the usage)
and the numbers behind it: float32 when that is exact, which it is for every
base64 answer and most servers' decimals, float64 when it is not.
"""

from __future__ import annotations

import base64
import math
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from ..errors import InvalidRequestError, InvalidResponseError
from ..options import CALL_FIELDS, checked_object
from ..types import Recording, Usage
from ..types._json import Json
from .failures import MALFORMED, snippet
from .http import HTTPReply
from .usage import parse_usage

__all__ = [
    "EMBEDDING_OPTIONS",
    "embedding_body",
    "embedding_inputs",
    "parse_vector",
    "recorded",
    "vector_recordings",
]

_FIELDS: Final = ("dimensions", "encoding_format", "user")
EMBEDDING_OPTIONS: Final = CALL_FIELDS | frozenset(_FIELDS)
"""Options that an embedding knows."""
_FLOAT32, _FLOAT64 = "<f4", "<f8"
_CODES: Final = {_FLOAT32: "f", _FLOAT64: "d"}
_NUMBERS: Final = frozenset({int, float})
_FLOATS: Final = (None, "float")  # Voyage's and Mistral's names for what base64 holds elsewhere
# Costs are split to the trillionth of a dollar, or finer where they are stated finer.
_COST_PLACES: Final = 12


def embedding_body(model: str, options: Mapping[str, Any]) -> dict[str, Json]:
    """Return the wire body without its inputs.

    Raises:
        InvalidRequestError: `extra_body` is no object, or asks for vectors that
            cannot be read.
    """
    body: dict[str, Json] = {"model": model}
    body.update({name: options[name] for name in _FIELDS if options.get(name) is not None})
    extra = options.get("extra_body")
    if extra is not None:
        body.update(checked_object("extra_body", extra))
    if not extra:
        # base64 is four bytes a number where decimals are twelve; the official SDK asks for it
        # too. Not beside a server's own fields: they may ask for elements that are no floats.
        body.setdefault("encoding_format", "base64")
    elif body.get("encoding_format") == "base64" and body.get("output_dtype") not in _FLOATS:
        raise InvalidRequestError("encoding_format", "base64 is read for floats only")
    return body


def embedding_inputs(inputs: Any) -> tuple[list[Json], bool]:
    """Return the list of inputs, texts or lists of token ids, and whether it was one without a list.

    Raises:
        InvalidRequestError: anything else, naming the item.
    """
    if isinstance(inputs, str):
        return [inputs], True
    if not isinstance(inputs, Sequence) or isinstance(inputs, bytes | bytearray):
        reason = f"must be text, a list of texts, or token ids, not {type(inputs).__name__}"
        raise InvalidRequestError("input", reason)
    if not inputs:
        raise InvalidRequestError("input", "must not be empty")
    if _is_tokens(inputs):
        return [list(inputs)], True
    for i, item in enumerate(inputs):
        if not isinstance(item, str) and not _is_tokens(item):
            raise InvalidRequestError(f"input[{i}]", "must be text or a list of token ids")
    return [item if isinstance(item, str) else list(item) for item in inputs], False


def _is_tokens(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes | bytearray)
        and bool(value)
        and all(type(token) is int for token in value)
    )


def vector_recordings(reply: HTTPReply, inputs: Sequence[Json], provider: str) -> list[Recording]:
    """Return a recording per input from the response to all of them, in the order of the inputs.

    Raises:
        InvalidResponseError: not embeddings, or not as many as there were inputs.
    """
    try:
        data = orjson.loads(reply.body)
        items = sorted(data["data"], key=lambda item: item["index"])
        if [item["index"] for item in items] != list(range(len(inputs))):
            msg = f"{len(items)} embeddings for {len(inputs)} inputs"
            raise ValueError(msg)
        vectors = [item["embedding"] for item in items]
        return recorded(vectors, data.get("model"), data.get("usage") or {}, inputs, reply)
    except MALFORMED as error:
        message = f"not embeddings ({error}): {snippet(reply.body)}"
        raise InvalidResponseError(message, provider=provider, status=reply.status) from error


def recorded(
    vectors: Sequence[Json],
    model: Json,
    usage: Mapping[str, Any],
    inputs: Sequence[Json],
    reply: HTTPReply,
) -> list[Recording]:
    """Return a recording per vector, with its share of the usage of them all.

    Raises:
        ValueError, TypeError, …: one of `MALFORMED`: no vectors, or not one per input.
    """
    return [
        _recording(vector, model, share, reply.kept_headers)
        for vector, share in zip(vectors, _shares(usage, inputs), strict=True)
    ]


def _recording(
    value: Json, model: Json, usage: Usage, headers: tuple[tuple[str, str], ...]
) -> Recording:
    numbers, kind = _unpacked(value) if isinstance(value, str) else _packed(value)
    head = {"dtype": kind, "model": model, "usage": usage.to_dict()}
    return Recording(body=orjson.dumps(head) + b"\n" + numbers, headers=headers)


def _unpacked(text: str) -> tuple[bytes, str]:
    numbers = base64.b64decode(text, validate=True)
    vector = _vector(_FLOAT32, numbers)
    # The sum shows what is not finite, and float32s are too small to make it so.
    if not vector or not math.isfinite(sum(vector)):
        msg = "base64 that is no list of finite numbers"
        raise ValueError(msg)
    return numbers, _FLOAT32


def _packed(values: list[float]) -> tuple[bytes, str]:
    if not values or not isinstance(values, list) or not set(map(type, values)) <= _NUMBERS:
        msg = "an embedding that is no list of numbers"
        raise ValueError(msg)
    exact = struct.pack(f"<{len(values)}d", *values)
    try:
        narrow = struct.pack(f"<{len(values)}f", *values)
    except OverflowError:
        return exact, _FLOAT64
    widened = struct.pack(f"<{len(values)}d", *struct.unpack(f"<{len(values)}f", narrow))
    return (narrow, _FLOAT32) if widened == exact else (exact, _FLOAT64)


def _vector(kind: str, numbers: bytes) -> array[float]:
    vector: array[float] = array(_CODES[kind])
    vector.frombytes(numbers)
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def parse_vector(body: bytes, provider: str) -> tuple[tuple[float, ...], Usage | None, str | None]:
    """Return the vector, its share of the usage, and the model, from a recording's body.

    Raises:
        InvalidResponseError: not a vector.
    """
    try:
        line, _, numbers = body.partition(b"\n")
        head: Mapping[str, Any] = orjson.loads(line)
        vector = _vector(head["dtype"], numbers)
        return tuple(vector), Usage.from_dict(head["usage"]), head.get("model")
    except MALFORMED as error:
        message = f"not a stored vector ({error})"
        raise InvalidResponseError(message, provider=provider) from error


def _shares(usage: Mapping[str, Any], inputs: Sequence[Json]) -> list[Usage]:
    """Split the usage of one call over its inputs by their length; the parts add up exactly."""
    whole = parse_usage(usage, "embedding")
    weights = [max(1, len(item)) for item in inputs]
    tokens = _split(whole.total_tokens, weights)
    if whole.total_cost is None:
        return [Usage(input_tokens=part, total_tokens=part) for part in tokens]
    places = max(_COST_PLACES, -int(whole.total_cost.as_tuple().exponent))
    units = _split(int(whole.total_cost.scaleb(places)), weights)
    costs = [Decimal(unit).scaleb(-places).normalize() for unit in units]
    return [
        Usage(input_tokens=part, total_tokens=part, total_cost=cost)
        for part, cost in zip(tokens, costs, strict=True)
    ]


def _split(amount: int, weights: Sequence[int]) -> list[int]:
    whole, passed, given = sum(weights), 0, 0
    parts = []
    for weight in weights:
        passed += weight
        # Cumulative rounding: the last input gets what is left, nothing is lost or made.
        upto = amount * passed // whole
        parts.append(upto - given)
        given = upto
    return parts
