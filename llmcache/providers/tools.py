"""Tools and their calls in the shape that chat completions gave them.

That is the neutral shape: what every API's tools are compiled from, and what the calls of
an assistant's turn are read from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRequestError
from ..types import ToolCall
from ..types._json import Json

__all__ = ["tool_calls", "wire_tool"]


def wire_tool(tool: object, path: str) -> Json:
    """Return a tool in the wire's shape: `{"type": "function", "function": {…}}`.

    Takes that shape, with or without its `type` (Mistral's SDK leaves it out), the
    flat one (`name`, `description`, `parameters`), or an object with these attributes.
    Tools of another type go as they are.

    Raises:
        InvalidRequestError: none of these.
    """
    if isinstance(tool, Mapping):
        is_nested = isinstance(tool.get("function"), Mapping)
        is_other = isinstance(tool.get("type"), str) and tool["type"] != "function"
        if is_nested or is_other:
            return dict(tool)
        if isinstance(tool.get("name"), str):
            return _nested({key: value for key, value in tool.items() if key != "type"})
        raise InvalidRequestError(path, "a tool needs a `function`, or a `name` and `parameters`")
    name = getattr(tool, "name", None)
    if not isinstance(name, str):
        reason = (
            "a tool is a dict with `name`, `description` and `parameters` (a JSON Schema), or an "
            f"object with these attributes, not a {type(tool).__name__}"
        )
        raise InvalidRequestError(path, reason)
    function: dict[str, Json] = {"name": name}
    for field in ("description", "parameters", "strict"):
        value = getattr(tool, field, None)
        if value is not None:
            function[field] = value
    return _nested(function)


def _nested(function: dict[str, Json]) -> Json:
    return {"type": "function", "function": function}


def tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...] | None:
    """Return the calls of an assistant's message, a legacy `function_call` included."""
    calls = message.get("tool_calls")
    if calls:
        return tuple(ToolCall.from_dict(call) for call in calls)
    legacy = message.get("function_call")
    if legacy and legacy.get("name"):
        return (ToolCall("", legacy["name"], legacy.get("arguments") or ""),)
    return None
