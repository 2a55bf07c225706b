"""Anthropic's Messages API: the wire body of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..errors import InvalidRequestError
from ..options import checked_object
from ..types import MessageInput
from ..types._json import Json
from .anthropic_format import wire_output_format
from .anthropic_turns import wire_conversation
from .tools import wire_tool

__all__ = ["DEFAULT_MAX_TOKENS", "MESSAGES_FIELDS", "count_body", "messages_body"]

DEFAULT_MAX_TOKENS: Final = 4_096
"""The API has no default; a thinking budget comes on top."""

_PLAIN: Final = frozenset(
    "cache_control container context_management inference_geo mcp_servers service_tier speed "
    "temperature thinking top_k top_p".split()
)
# Options that become something else on the wire, or only with others.
_COMPILED: Final = frozenset(
    "max_completion_tokens max_tokens metadata output_config parallel_tool_calls reasoning_effort "
    "response_format stop stop_sequences system tool_choice tools user".split()
)
MESSAGES_FIELDS: Final = _PLAIN | _COMPILED | {"betas"}
"""The options of a call that say what is asked."""

_CHOICES: Final[Mapping[str, str]] = {
    "auto": "auto",
    "any": "any",
    "required": "any",  # chat completions' word
    "none": "none",
}
# https://docs.claude.com/en/api/messages-count-tokens; fields that a caller adds go along.
_UNCOUNTED: Final = frozenset(
    "container diagnostics fallback_credit_token fallbacks inference_geo max_tokens metadata "
    "service_tier stop_sequences stream temperature thread top_k top_p".split()
)


def messages_body(
    model: str,
    messages: MessageInput,
    options: Mapping[str, Any],
    *,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    origin: str | None = None,
    later_system: Callable[[], bool] = lambda: True,
) -> dict[str, Json]:
    """Return the wire body, without `stream`, which only chooses how it is delivered.

    `max_tokens` is sent where the options have none; `origin` is the server that is asked,
    and `later_system` whether its model takes system messages among the turns.

    Raises:
        InvalidRequestError: naming the place of a message or option of the wrong shape.
    """
    prompt, turns = wire_conversation(messages, origin, later_system=later_system)
    body: dict[str, Json] = {"model": model, "messages": turns}
    body["max_tokens"] = _max_tokens(options, max_tokens)
    system = _system(options.get("system"), prompt)
    if system:
        body["system"] = system
    fields = {
        **{name: value for name, value in options.items() if name in _PLAIN},
        "metadata": _metadata(options),
        "stop_sequences": _stop(options),
        "output_config": _output_config(options),
        "tools": _tools(options.get("tools")),
        "tool_choice": _tool_choice(options),
    }
    body.update({name: value for name, value in fields.items() if value is not None})
    extra = options.get("extra_body")
    if extra is not None:
        body.update(checked_object("extra_body", extra))
    return body


def count_body(body: Mapping[str, Json]) -> dict[str, Json]:
    """Return what of a request's `body` the counting of its tokens takes."""
    return {name: value for name, value in body.items() if name not in _UNCOUNTED}


def _max_tokens(options: Mapping[str, Any], usual: int) -> Json:
    given = _one_of(options, "max_tokens", "max_completion_tokens")
    if given is not None:
        return given
    thinking = options.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return usual + budget if type(budget) is int else usual


def _one_of(options: Mapping[str, Any], name: str, other: str) -> Any:
    """Return the one of two options that is given."""
    value, second = options.get(name), options.get(other)
    if value is not None and second is not None:
        raise InvalidRequestError(other, f"is another name of {name}; give one of them")
    return second if value is None else value


def _system(given: Any, prompt: list[Json]) -> Json:
    """Return the system prompt: one text as text, several as blocks."""
    if given is None:
        pieces = prompt
    elif isinstance(given, str):
        pieces = [given, *prompt] if given else prompt
    elif isinstance(given, list | tuple):
        if not prompt:
            return list(given)
        pieces = [*given, *prompt]
    else:
        reason = f"must be text or a list of text blocks, not {type(given).__name__}"
        raise InvalidRequestError("system", reason)
    if len(pieces) == 1 and isinstance(pieces[0], str):
        return pieces[0]
    return [{"type": "text", "text": one} if isinstance(one, str) else one for one in pieces]


def _metadata(options: Mapping[str, Any]) -> Json:
    metadata, user = options.get("metadata"), options.get("user")
    if metadata is None and user is None:
        return None
    known = {} if user is None else {"user_id": user}
    return {**known, **checked_object("metadata", metadata or {})}


def _stop(options: Mapping[str, Any]) -> Json:
    value = _one_of(options, "stop_sequences", "stop")
    if value is None or isinstance(value, str):
        return value if value is None else [value]
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return list(value)
    raise InvalidRequestError("stop_sequences", "must be text or a list of texts")


def _output_config(options: Mapping[str, Any]) -> Json:
    given, effort = options.get("output_config"), options.get("reasoning_effort")
    config = {} if given is None else dict(checked_object("output_config", given))
    if effort is not None:
        config.setdefault("effort", effort)
    asked = options.get("response_format")
    wanted = None if asked is None else wire_output_format(asked)
    if wanted is not None:
        if config.get("format") is not None:
            reason = "is output_config.format; give one of them"
            raise InvalidRequestError("response_format", reason)
        config["format"] = wanted
    return config if config or given is not None else None


# --- tools --------------------------------------------------------------------------------------


def _tools(tools: object) -> Json:
    if tools is None:
        return None
    if isinstance(tools, Mapping) or not isinstance(tools, Iterable):
        raise InvalidRequestError("tools", f"must be a list of tools, not {type(tools).__name__}")
    return [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]


def _tool(tool: object, path: str) -> Json:
    """Return a tool in Anthropic's shape; one that has it already goes as it is."""
    if isinstance(tool, Mapping):
        is_other = isinstance(tool.get("type"), str) and tool["type"] != "function"
        if "input_schema" in tool or is_other:
            return dict(tool)
    wire = wire_tool(tool, path)
    function = wire["function"]
    beside = {name: value for name, value in wire.items() if name not in {"type", "function"}}
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    known = {k: v for k, v in function.items() if k != "parameters" and v is not None}
    return {**known, "input_schema": schema, **beside}


def _tool_choice(options: Mapping[str, Any]) -> Json:
    choice = _choice(options.get("tool_choice"))
    if options.get("parallel_tool_calls") is False and (choice or options.get("tools")):
        choice = choice or {"type": "auto"}
        if choice.get("type") != "none":
            choice.setdefault("disable_parallel_tool_use", True)
    return choice


def _choice(choice: object) -> dict[str, Json] | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        known = _CHOICES.get(choice)
        return {"type": "tool", "name": choice} if known is None else {"type": known}
    if isinstance(choice, Mapping):
        if choice.get("type") != "function":
            return dict(choice)
        function = choice.get("function")
        name = (function if isinstance(function, Mapping) else choice).get("name")
        if isinstance(name, str):
            return {"type": "tool", "name": name}
    reason = "must be auto, any, none, a tool's name or an object"
    raise InvalidRequestError("tool_choice", reason)
