"""The OpenAI Responses API: the wire body of a request, the dialect of its answers.

Also spoken by Azure, OpenRouter, DeepSeek, xAI, LM Studio, vLLM and others. Options have
the names that chat completions gave them where the two APIs mean the same
(`max_tokens`, `response_format`, `reasoning_effort`), and the API's own names beside
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import InvalidRequestError
from ..options import CALL_FIELDS, checked_object
from ..types import CompletionResult, MessageInput
from ..types._json import Json
from .json_dialect import JSONReader
from .openai_chat import CHAT_OPTIONS
from .openai_chat_format import wire_response_format
from .openai_chat_messages import ANYWHERE, ChatServer
from .openai_responses_answer import parse_response
from .openai_responses_input import input_items
from .openai_responses_stream import ResponseStreamDecoder
from .tools import wire_tool

__all__ = ["RESPONSES_OPTIONS", "ResponsesDialect", "responses_body"]

_FIELDS: Final = frozenset(
    "access_programs background background_options context_management conversation image include "
    "instructions max_output_tokens max_tool_calls metadata moderation parallel_tool_calls "
    "previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention "
    "safety_identifier service_tier store stream_options temperature top_logprobs top_p truncation "
    "user".split()
)
_COMPILED: Final = frozenset(
    "logprobs max_completion_tokens max_tokens reasoning reasoning_effort response_format text "
    "tool_choice tools verbosity".split()
)
RESPONSES_OPTIONS: Final = _FIELDS | _COMPILED
"""All that a response can be asked with. Those of `_FIELDS` go onto the wire as they are."""
_CHAT_ONLY: Final = CHAT_OPTIONS - CALL_FIELDS - RESPONSES_OPTIONS
_LIMITS: Final = ("max_output_tokens", "max_completion_tokens", "max_tokens")
_CHOICES: Final = frozenset({"auto", "none", "required"})
_LOGPROBS: Final = "message.output_text.logprobs"


def responses_body(
    model: str,
    messages: MessageInput,
    options: Mapping[str, Any],
    server: ChatServer = ANYWHERE,
) -> dict[str, Json]:
    """Return the wire body, without the fields that only choose how it is delivered.

    `server` is who is sent the turns that others may have said.

    Raises:
        InvalidRequestError: naming the place of a message or option of the wrong shape,
            or an option that this API does not have.
    """
    body: dict[str, Json] = {"model": model, "input": input_items(messages, server)}
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name in _FIELDS:
            body[name] = value
        elif name in _CHAT_ONLY:
            reason = (
                "the Responses API has no such option (a server's own fields go into extra_body)"
            )
            raise InvalidRequestError(name, reason)
    if not _COMPILED.isdisjoint(given):
        _compile(body, given)
    if "extra_body" in given:
        body.update(checked_object("extra_body", given["extra_body"]))
    return body


def _compile(body: dict[str, Json], given: Mapping[str, Any]) -> None:
    """Put into `body` what chat completions call by another name, or write in another shape."""
    limits = {name: given[name] for name in _LIMITS if name in given}
    if limits:
        body["max_output_tokens"] = _only(limits)
    if "tools" in given:
        body["tools"] = _tools(given["tools"])
    if "tool_choice" in given:
        body["tool_choice"] = _tool_choice(given["tool_choice"], body.get("tools") or ())
    reasoning = _joined("reasoning", given, {"effort": given.get("reasoning_effort")})
    if reasoning is not None:
        body["reasoning"] = reasoning
    wanted = given.get("response_format")
    shape = None if wanted is None else _text_format(wanted)
    text = _joined("text", given, {"format": shape, "verbosity": given.get("verbosity")})
    if text is not None:
        body["text"] = text
    if given.get("logprobs") and _LOGPROBS not in body.get("include", ()):
        body["include"] = [*body.get("include", ()), _LOGPROBS]


def _only(limits: Mapping[str, Any]) -> Json:
    """Return the value that one option has, or several agree on."""
    (first, value), *rest = limits.items()
    for name, other in rest:
        if other != value:
            raise InvalidRequestError(name, f"is another number than {first}; give one of them")
    return value


def _joined(
    option: str, given: Mapping[str, Any], fields: Mapping[str, Json]
) -> dict[str, Json] | None:
    """Return an option's object with fields that have options of their own, `None` without any."""
    stated = given.get(option)
    if stated is None and all(value is None for value in fields.values()):
        return None
    whole = {} if stated is None else dict(checked_object(option, stated))
    for name, value in fields.items():
        if value is None:
            continue
        if whole.get(name, value) != value:
            raise InvalidRequestError(f"{option}.{name}", "is given twice, and differently")
        whole[name] = value
    return whole


# --- tools and formats ---------------------------------------------------------------------


def _tools(tools: object) -> list[Json]:
    if isinstance(tools, Mapping) or not isinstance(tools, Iterable):
        raise InvalidRequestError("tools", f"must be a list of tools, not {type(tools).__name__}")
    return [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]


def _tool(tool: Any, path: str) -> Json:
    """Return a tool in the flat shape of this API.

    A tool that has this shape already goes as it is, and so the API's own default
    (`strict`) holds. Chat's nested shape, and an object with a name and parameters, keep
    what they mean there: not strict unless they say so.
    """
    if isinstance(tool, Mapping) and "type" in tool:
        kind = tool["type"]
        if not isinstance(tool.get(str(kind)), Mapping) or kind not in {"function", "custom"}:
            return dict(tool)
        nested: dict[str, Any] = {**tool, **tool[kind]}
        del nested[kind]
        return _function(nested) if kind == "function" else _custom(nested)
    named = wire_tool(tool, path)
    return _function({**named["function"], "type": "function"})


def _function(tool: dict[str, Json]) -> Json:
    rest = {k: v for k, v in tool.items() if k not in {"type", "name", "parameters", "strict"}}
    parameters, strict = tool.get("parameters"), tool.get("strict")
    return {
        "type": "function",
        "name": tool.get("name"),
        **rest,
        "parameters": {"type": "object", "properties": {}} if parameters is None else parameters,
        "strict": False if strict is None else strict,
    }


def _custom(tool: dict[str, Json]) -> Json:
    shape = tool.get("format")
    if isinstance(shape, Mapping) and isinstance(shape.get("grammar"), Mapping):
        tool["format"] = {"type": "grammar", **shape["grammar"]}
    return tool


def _tool_choice(choice: Any, tools: Iterable[Mapping[str, Any]]) -> Json:
    if isinstance(choice, str):
        if choice in _CHOICES:
            return choice
        kinds = {tool.get("name"): tool.get("type") for tool in tools}
        return {"type": kinds.get(choice, "function"), "name": choice}
    if not isinstance(choice, Mapping):
        raise InvalidRequestError(
            "tool_choice", "must be auto, none, required, a tool's name or an object"
        )
    kind = str(choice.get("type"))
    nested = choice.get(kind)
    if not isinstance(nested, Mapping):
        return dict(choice)
    if kind == "allowed_tools":
        allowed = [_tool_choice(tool, ()) for tool in nested.get("tools") or ()]
        return {"type": kind, **nested, "tools": allowed}
    return {"type": kind, **nested}


def _text_format(wanted: Any) -> Json:
    """Return `text.format`: chat's response format without the object around the schema."""
    shape = wire_response_format(wanted)
    inside = shape.get("json_schema")
    return {"type": "json_schema", **inside} if isinstance(inside, Mapping) else shape


class ResponsesDialect(JSONReader):
    """Understands responses, whole and streamed."""

    kind = "responses"

    def __init__(self, provider: str = "openai", origin: str | None = None) -> None:
        """`provider` names the server in errors and price look-ups; `origin` as `JSONReader`'s."""
        super().__init__(provider, origin)

    def read(self, data: Json, raw: bytes) -> CompletionResult:
        """Return the answer that a response is; one that failed is an error. See `JSONReader.read`."""
        return parse_response(data, raw, self.provider, origin=self.origin)

    def decoder(self) -> ResponseStreamDecoder:
        """Return a decoder for one stream."""
        return ResponseStreamDecoder(self.provider, self.origin)
