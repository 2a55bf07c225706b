"""OpenAI embeddings: one vector per input, each an entry of its own.

A stored vector is a line of JSON (element type, model, its share of the usage)
and the numbers behind it: float32 when that is exact, which it is for every
base64 answer and most servers' decimals, float64 when it is not.
"""

from __future__ import annotations

import base64
import binascii
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from ..errors import InvalidRequestError, InvalidResponseError
from ..types import Recording, Usage
from ..types._json import Json
from .failures import snippet
from .http import HTTPReply
from .openai_chat_answer import parse_usage

__all__ = ["EMBED_FIELDS", "embedding_inputs", "parse_vector", "vector_recordings"]

EMBED_FIELDS: Final = frozenset({"dimensions", "encoding_format", "user"})
_FLOAT32, _FLOAT64 = "<f4", "<f8"
_CODES: Final = {_FLOAT32: "f", _FLOAT64: "d"}


def embedding_inputs(inputs: Any) -> list[Json]:
    """Return the list of inputs: texts, or lists of token ids; one of either is a list of one.

    Raises:
        InvalidRequestError: anything else, naming the item.
    """
    if isinstance(inputs, str):
        return [inputs]
    if not isinstance(inputs, Sequence) or isinstance(inputs, bytes | bytearray):
        reason = f"must be text, a list of texts, or token ids, not {type(inputs).__name__}"
        raise InvalidRequestError("input", reason)
    if not inputs:
        raise InvalidRequestError("input", "must not be empty")
    if _is_tokens(inputs):
        return [list(inputs)]
    for i, item in enumerate(inputs):
        if not isinstance(item, str) and not _is_tokens(item):
            raise InvalidRequestError(f"input[{i}]", "must be text or a list of token ids")
    return [item if isinstance(item, str) else list(item) for item in inputs]


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
        usages = _shares(data.get("usage") or {}, inputs)
        return [
            _recording(item["embedding"], data.get("model"), usage, reply.kept_headers)
            for item, usage in zip(items, usages, strict=True)
        ]
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
        message = f"not embeddings ({error}): {snippet(reply.body)}"
        raise InvalidResponseError(message, provider=provider, status=reply.status) from error


def _recording(
    value: Json, model: Json, usage: Usage, headers: tuple[tuple[str, str], ...]
) -> Recording:
    if isinstance(value, str):
        numbers = base64.b64decode(value, validate=True)
        if len(numbers) % 4:
            msg = "base64 is not a list of float32"
            raise ValueError(msg)
        kind = _FLOAT32
    else:
        exact = struct.pack(f"<{len(value)}d", *value)
        numbers, kind = _narrowed(value, exact)
    head = {"dtype": kind, "model": model, "usage": usage.to_dict()}
    return Recording(body=orjson.dumps(head) + b"\n" + numbers, headers=headers)


def _narrowed(values: list[float], exact: bytes) -> tuple[bytes, str]:
    try:
        narrow = struct.pack(f"<{len(values)}f", *values)
    except OverflowError:
        return exact, _FLOAT64
    widened = struct.pack(f"<{len(values)}d", *struct.unpack(f"<{len(values)}f", narrow))
    return (narrow, _FLOAT32) if widened == exact else (exact, _FLOAT64)


def parse_vector(body: bytes, provider: str) -> tuple[tuple[float, ...], Usage | None, str | None]:
    """Return the vector, its share of the usage, and the model, from a recording's body.

    Raises:
        InvalidResponseError: not a vector.
    """
    try:
        line, _, numbers = body.partition(b"\n")
        head: Mapping[str, Any] = orjson.loads(line)
        vector = array(_CODES[head["dtype"]])
        vector.frombytes(numbers)
        if sys.byteorder == "big":
            vector.byteswap()
        return tuple(vector), Usage.from_dict(head["usage"]), head.get("model")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"not a stored vector ({error})"
        raise InvalidResponseError(message, provider=provider) from error


def _shares(usage: Mapping[str, Any], inputs: Sequence[Json]) -> list[Usage]:
    """Split the tokens of one call over its inputs by their length; the parts add up exactly."""
    whole = parse_usage(usage)
    weights = [max(1, len(item)) for item in inputs]
    total_weight = sum(weights)
    shares, given, passed = [], 0, 0
    for weight in weights:
        passed += weight
        # Cumulative rounding: the last input gets what is left, no token is lost or made.
        upto = whole.total_tokens * passed // total_weight
        tokens, given = upto - given, upto
        cost = None if whole.total_cost is None else whole.total_cost * weight / total_weight
        shares.append(Usage(input_tokens=tokens, total_tokens=tokens, total_cost=cost))
    return shares
