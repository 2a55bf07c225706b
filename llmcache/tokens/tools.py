"""Tools as OpenAI's models are shown them: a namespace of TypeScript functions.

Not documented; found by those who asked the models, and true to seven of the eight
recorded requests that have tools (`tests/models/test_tokens.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ..types._json import Json

__all__ = ["tools_text"]

_NAMES: Final = {
    "boolean": "boolean",
    "integer": "number",
    "null": "null",
    "number": "number",
    "string": "string",
}
# Descriptions further inside are not shown.
_DESCRIBED: Final = 1
_DEEPEST: Final = 32


def tools_text(tools: Sequence[Mapping[str, Json]]) -> str:
    """Return the text that stands for `tools`, which are in the wire's shape.

    A tool that is no function is shown as its JSON: nobody knows how it is really shown.
    """
    lines = ["namespace functions {", ""]
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, Mapping):
            lines += [*_function(function), ""]
        else:
            lines += [json.dumps(tool, ensure_ascii=False, default=str), ""]
    return "\n".join([*lines, "} // namespace functions"])


def _function(function: Mapping[str, Json]) -> Iterator[str]:
    yield from _comment(function)
    parameters = function.get("parameters")
    name = function.get("name")
    if isinstance(parameters, Mapping) and parameters.get("properties"):
        yield f"type {name} = (_: {{"
        yield from _properties(parameters, 0)
        yield "}) => any;"
    else:
        yield f"type {name} = () => any;"


def _comment(schema: Mapping[str, Json]) -> Iterator[str]:
    description = schema.get("description")
    if isinstance(description, str) and description:
        yield from (f"// {line}" for line in description.split("\n"))


def _properties(schema: Mapping[str, Json], depth: int) -> Iterator[str]:
    indent = " " * (2 * depth)
    required = schema.get("required") or ()
    for name, inner in schema["properties"].items():
        if not isinstance(inner, Mapping):
            continue
        if depth < _DESCRIBED:
            yield from (indent + line for line in _comment(inner))
        mark = "" if name in required else "?"
        yield f"{indent}{name}{mark}: {_type(inner, depth)},"


def _type(schema: Mapping[str, Json], depth: int) -> str:
    kind = schema.get("type")
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if depth > _DEEPEST:
        return "any"
    if kind == "array":
        items = schema.get("items")
        return (_type(items, depth + 1) if isinstance(items, Mapping) else "any") + "[]"
    if kind == "object" and schema.get("properties"):
        return "\n".join(["{", *_properties(schema, depth + 1), "}"])
    if kind == "object":
        return "object"
    return _NAMES.get(kind, "any") if isinstance(kind, str) else "any"
