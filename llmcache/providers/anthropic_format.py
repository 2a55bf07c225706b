"""`response_format` for the Messages API: a JSON Schema that constrains the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import InvalidRequestError
from ..types._json import Json
from .openai_chat_format import wire_response_format

__all__ = ["output_schema", "wire_output_format"]

# https://docs.claude.com/en/docs/build-with-claude/structured-outputs#json-schema-limitations
_STRING_FORMATS: Final = frozenset(
    "date-time time date duration email hostname uri ipv4 ipv6 uuid".split()
)
_PRIMITIVE: Final = (str, int, float, bool, type(None))


def wire_output_format(value: Any) -> Json:
    """Return the wire's `output_config.format`; `None` for plain text.

    Takes what `wire_response_format` takes, and the API's own object. A JSON Schema
    goes as it is, that of a pydantic model as the API wants it.

    Raises:
        InvalidRequestError: none of these, or a format that only other APIs have.
    """
    if isinstance(value, Mapping) and value.get("type") == "json_schema" and "schema" in value:
        return dict(value)
    if not isinstance(value, str | Mapping) and hasattr(value, "model_json_schema"):
        return {"type": "json_schema", "schema": output_schema(value.model_json_schema())}
    wire = wire_response_format(value)
    kind = wire.get("type")
    if kind == "text":
        return None
    nested = wire.get("json_schema")
    if kind == "json_schema" and isinstance(nested, Mapping) and "schema" in nested:
        return {"type": "json_schema", "schema": nested["schema"]}
    reason = f"the Messages API has no format {kind!r}; give a JSON Schema or a pydantic model"
    raise InvalidRequestError("response_format", reason)


def output_schema(schema: Mapping[str, Any]) -> dict[str, Json]:
    """Return `schema` as the API takes it: objects are closed, `oneOf` is `anyOf`.

    What the API cannot enforce (`minimum`, `default`, a format of one's own) goes into
    the description, where the model may follow it.

    Source: anthropic-python `lib/_parse/_transform.py`.

    Raises:
        InvalidRequestError: a schema that says nothing of what it describes.
    """
    rest = dict(schema)
    out: dict[str, Json] = {}
    definitions = rest.pop("$defs", None)
    if definitions is not None:
        out["$defs"] = {name: output_schema(item) for name, item in definitions.items()}
    if "$ref" in rest:
        out["$ref"] = rest["$ref"]
        return out
    kind = _take_type(rest, out)
    for name in ("description", "title"):
        if rest.get(name) is not None:
            out[name] = rest[name]
        rest.pop(name, None)
    _take_content(kind, rest, out)
    if rest:
        unenforced = "{" + ", ".join(f"{name}: {value}" for name, value in rest.items()) + "}"
        known = out.get("description")
        out["description"] = unenforced if known is None else f"{known}\n\n{unenforced}"
    return out


def _take_type(rest: dict[str, Any], out: dict[str, Json]) -> str | None:
    """Move what a schema allows from `rest` to `out`; return its type where that says it all."""
    kind = rest.pop("type", None)
    variants = {name: rest.pop(name, None) for name in ("anyOf", "oneOf", "allOf")}
    enum = rest.get("enum")
    if isinstance(enum, list) and enum and all(isinstance(one, _PRIMITIVE) for one in enum):
        out["enum"] = rest.pop("enum")
    if "const" in rest and isinstance(rest["const"], _PRIMITIVE):
        out["const"] = rest.pop("const")
    literal = "enum" in out or "const" in out
    for name, target in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
        if isinstance(variants[name], list):
            out[target] = [output_schema(one) for one in variants[name]]
            return None if literal else kind
    if literal:
        return None
    if not isinstance(kind, str):
        reason = "a part of its schema has no type, no alternatives and no values"
        raise InvalidRequestError("response_format", reason)
    out["type"] = kind
    return kind


def _take_content(kind: str | None, rest: dict[str, Any], out: dict[str, Json]) -> None:
    """Move what the API enforces of the schema of a `kind` from `rest` to `out`."""
    if kind == "object":
        _take_object(rest, out)
    elif kind == "string":
        _take_one(rest, out, "format", _STRING_FORMATS)
    elif kind == "array":
        if rest.get("items") is not None:
            out["items"] = output_schema(rest.pop("items"))
        _take_one(rest, out, "minItems", frozenset({0, 1}))


def _take_one(
    rest: dict[str, Any], out: dict[str, Json], name: str, enforced: frozenset[Json]
) -> None:
    """Move the value of `name` if the API enforces it; else it is the last thing to describe."""
    value = rest.pop(name, None)
    if value in enforced:
        out[name] = value
    elif value:
        rest[name] = value


def _take_object(rest: dict[str, Any], out: dict[str, Json]) -> None:
    properties = rest.pop("properties", {})
    out["properties"] = {name: output_schema(one) for name, one in properties.items()}
    rest.pop("additionalProperties", None)
    out["additionalProperties"] = False
    required = rest.pop("required", None)
    if required is not None:
        out["required"] = list(required)
