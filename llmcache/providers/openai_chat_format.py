"""`response_format`: from a name, a JSON Schema or a pydantic model to what goes onto the wire."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ..errors import InvalidRequestError
from ..types._json import Json

__all__ = ["strict_schema", "wire_response_format"]

_SCHEMA_TYPES: Final = frozenset(
    {"array", "boolean", "integer", "null", "number", "object", "string"}
)
# Where a JSON Schema holds further ones: under names of one's own, in a list, alone.
_MAPS: Final = frozenset({"properties", "$defs", "definitions"})
_LISTS: Final = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_ALONE: Final = frozenset({"items", "additionalProperties"})


def wire_response_format(value: Any) -> Json:
    """Return the wire's `response_format` for a name, an object, a JSON Schema or a pydantic model.

    Raises:
        InvalidRequestError: none of these.
    """
    if isinstance(value, str):
        if value in {"text", "json_object"}:
            return {"type": value}
        raise InvalidRequestError("response_format", f"unknown format {value!r}")
    if isinstance(value, Mapping):
        kind = value.get("type")
        if isinstance(kind, str) and kind not in _SCHEMA_TYPES:
            return dict(value)  # a format, which may be a compatible server's own: grammar, regex
        name = str(value.get("title") or "response")
        plain = {"name": _identifier(name), "schema": dict(value)}
        return {"type": "json_schema", "json_schema": plain}
    if hasattr(value, "model_json_schema"):
        strict = {
            "name": _identifier(getattr(value, "__name__", "response")),
            "schema": strict_schema(value.model_json_schema()),
            "strict": True,
        }
        return {"type": "json_schema", "json_schema": strict}
    reason = "must be 'text', 'json_object', a JSON Schema, or a pydantic model"
    raise InvalidRequestError("response_format", reason)


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]


def strict_schema(schema: Mapping[str, Json]) -> dict[str, Json]:
    """Return `schema` as strict structured output wants it.

    Every property is required, objects are closed unless they say otherwise, no
    `$ref` stands beside other keys. Where strict mode has no way to say a thing
    (`dict[str, int]`), the schema goes as it is, so that the API can say so.

    Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas,
    openai-python `lib/_pydantic.py`.

    Raises:
        InvalidRequestError: a `$ref` beside other keys leads nowhere.
    """
    return _Strict(schema).of(schema, frozenset())


class _Strict:
    """Makes the parts of one schema strict."""

    def __init__(self, root: Mapping[str, Json]) -> None:
        self._root = root

    def of(self, schema: Mapping[str, Json], inside: frozenset[str]) -> dict[str, Json]:
        """Return `schema` made strict; `inside` are the definitions that it is being written into."""
        schema, inside = self._written_out(schema, inside)
        strict: dict[str, Json] = {}
        for key, value in schema.items():
            if key in _MAPS and isinstance(value, Mapping):
                strict[key] = {name: self._part(item, inside) for name, item in value.items()}
            elif key in _LISTS and isinstance(value, list):
                strict[key] = [self._part(item, inside) for item in value]
            elif key in _ALONE:
                strict[key] = self._part(value, inside)
            elif key != "default":  # has no meaning where all must be given, and is rejected
                strict[key] = value
        if strict.get("type") == "object":
            strict.setdefault("additionalProperties", False)
        if isinstance(strict.get("properties"), dict):
            strict["required"] = list(strict["properties"])
        return strict

    def _part(self, value: Json, inside: frozenset[str]) -> Json:
        return self.of(value, inside) if isinstance(value, Mapping) else value

    def _written_out(
        self, schema: Mapping[str, Json], inside: frozenset[str]
    ) -> tuple[Mapping[str, Json], frozenset[str]]:
        """Return `schema` with what a lone `allOf` and a `$ref` beside other keys stand for."""
        while True:
            match schema:
                case {"allOf": [dict(only)], **rest}:
                    schema = {**rest, **only}
                case {"$ref": str(ref), **rest} if ref in inside and rest:
                    # Inside itself a definition would be written out for ever.
                    schema = {"$ref": ref}
                case {"$ref": str(ref), **rest} if rest:
                    schema, inside = {**self._definition(ref), **rest}, inside | {ref}
                case _:
                    return schema, inside

    def _definition(self, ref: str) -> Mapping[str, Json]:
        found: Json = self._root
        for name in ref.removeprefix("#/").split("/"):
            found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            reason = f"its schema refers to {ref!r}, which is not in it"
            raise InvalidRequestError("response_format", reason)
        return found
