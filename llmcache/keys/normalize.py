"""From the wire body to the body that is hashed: the safe rules, one plan per wire API.

A plan maps a field to the function that normalizes it; `DROPPED` takes it out.
Null equals absent on every object that belongs to an API (not inside schemas,
tool inputs or fields nobody has classified, where it may mean something). The
order of keys counts inside schemas, wherever they stand, and in fields that
nobody has classified. What is a credential by its name counts as a digest; see `secrets`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, Final

from ..types._json import Json
from .canonical import ordered, plain
from .media import base64_digest, media_url
from .rules import TABLES, Verdict
from .secrets import SCHEMA_FIELDS, TOOL_FIELDS, discreet, sealed, sealed_url

__all__ = ["is_list", "is_object", "native_chat", "native_responses", "normalize_body"]

_Normalizer = Callable[[Json], Json]
_Special = Mapping[str, _Normalizer]


class _Dropped:
    """The type of `DROPPED`: what a normalizer returns for a value that does not count."""


DROPPED: Final = _Dropped()

# Marks on content and tools that steer the provider's own prompt cache.
_PROMPT_CACHE_MARKS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})
_WHERE: Final = frozenset({"server_url", "url"})


def is_object(value: Json) -> bool:
    """Return whether `value` is a JSON object, whatever mapping the caller made it of."""
    return type(value) is dict or isinstance(value, Mapping)


def is_list(value: Json) -> bool:
    """Return whether `value` is a JSON list."""
    return type(value) is list or isinstance(value, list | tuple)


def normalize_body(kind: str, body: Mapping[str, Json], *, native: bool) -> dict[str, Json]:
    """Return `body` under the safe rules of `kind`.

    `native` says that the endpoint is the API's own provider, where documented
    defaults hold. An unknown `kind` has no rules: every field is in the key.

    Raises:
        TypeError, ValueError: a value has no JSON form.
    """
    plan = _PLANS.get(kind, _NO_PLAN)
    absent = _EMPTY_IS_ABSENT.get(kind, _NOTHING)
    # Responses: beside an inherited context, null and empty mean "nothing", absent "as before".
    inherited: Container[str] = (
        _INHERITED if kind == "responses" and _has_context(body) else _NOTHING
    )
    out: dict[str, Json] = {}
    for name, value in body.items():
        normalizer = plan.get(name)
        if normalizer is None:
            out[name] = ordered(discreet(name, value))
            continue
        if value is None:
            if name in inherited:
                out[name] = None
            continue
        normal = value if normalizer is _deep and type(value) is str else normalizer(value)
        if normal is DROPPED or (
            not normal and name in absent and normal == absent[name] and name not in inherited
        ):
            continue
        out[name] = normal
    if native and kind in _NATIVE:
        _NATIVE[kind](out)
    return out


def _has_context(body: Mapping[str, Json]) -> bool:
    return any(body.get(name) is not None for name in _CONTEXT)


def _dropped(_: Json) -> Json:
    return DROPPED


def _deep(value: Json) -> Json:
    """Normalize a value inside a classified field: plain, with the order of schemas kept."""
    if type(value) is str:
        return value
    if is_object(value):
        return {
            name: ordered(item) if name in SCHEMA_FIELDS else _deep(item)
            for name, item in value.items()
        }
    if is_list(value):
        return [_deep(item) for item in value]
    return plain(value)


def _object(value: Json, special: _Special | None = None) -> Json:
    """Normalize an object that belongs to an API: nulls and prompt-cache marks do not count."""
    if type(value) is not dict and not is_object(value):
        return _deep(value)
    out: dict[str, Json] = {}
    for name, item in value.items():
        if special is not None and name in special:
            if item is not None:
                out[name] = special[name](item)
        elif type(item) is str:
            out[name] = item
        elif item is not None and name not in _PROMPT_CACHE_MARKS:
            out[name] = ordered(item) if name in SCHEMA_FIELDS else _deep(item)
    return out


def _objects(value: Json, special: _Special | None = None) -> Json:
    if type(value) is list or is_list(value):
        return [_object(item, special) for item in value]
    return _deep(value)


# --- messages and parts -----------------------------------------------------------------


def _image(value: Json) -> Json:
    return media_url(value) if isinstance(value, str) else _object(value, _IMAGE_URL)


def _source(value: Json) -> Json:
    # Anthropic's text source holds literal text in `data`; only base64 sources hold bytes.
    is_bytes = is_object(value) and value.get("type") == "base64"
    return _object(value, _SOURCE if is_bytes else None)


def _content(value: Json) -> Json:
    return value if type(value) is str else _objects(value, _PART)


def _images(value: Json) -> Json:
    return [base64_digest(image) for image in value] if is_list(value) else _deep(value)


_IMAGE_URL: Final[_Special] = {"url": media_url}
_SOURCE: Final[_Special] = {"data": base64_digest, "url": media_url}
_PART: Final[dict[str, _Normalizer]] = {
    "image_url": _image,
    "input_audio": lambda value: _object(value, {"data": base64_digest}),
    "file": lambda value: _object(value, {"file_data": media_url}),
    "file_data": media_url,
    "source": _source,
    "content": _content,  # Anthropic: blocks inside a tool result
}
_TOOL_CALL: Final[_Special] = {"function": _object, "custom": _object}
_MESSAGE: Final[_Special] = {
    "content": _content,
    "tool_calls": lambda value: _objects(value, _TOOL_CALL),
}
_OLLAMA_MESSAGE: Final[_Special] = {**_MESSAGE, "images": _images}


def _messages(value: Json) -> Json:
    return _objects(value, _MESSAGE)


def _response_input(value: Json) -> Json:
    if type(value) is str:
        return [{"role": "user", "content": value}]
    special = {"content": _content, "output": _content, "tools": _tools}
    items = _objects(value, special)
    for item in items if is_list(items) else ():
        if is_object(item) and item.get("type") == "message" and "role" in item:
            del item["type"]
    return items


# --- tools and formats --------------------------------------------------------------------


def _chat_function(value: Json) -> Json:
    function = _object(value)
    if is_object(function) and function.get("strict") is False:
        del function["strict"]
    return function


def _tools(value: Json, special: _Special | None = None) -> Json:
    """Normalize tools: those that run elsewhere come with the credentials for it."""
    if not is_list(value):
        return _deep(value)
    return [_object(_discreet_tool(tool), special) for tool in value]


def _discreet_tool(tool: Json) -> Json:
    # Every call passes here.
    if not is_object(tool) or tool.keys() <= TOOL_FIELDS:
        return tool
    return {
        name: sealed_url(item)
        if name in _WHERE and item is not None
        else item
        if name in TOOL_FIELDS
        else discreet(name, item)
        for name, item in tool.items()
    }


def _chat_tools(value: Json) -> Json:
    return _tools(value, {"function": _chat_function})


def _ollama_format(value: Json) -> Json:
    return value if type(value) is str else ordered(value)


def _string_set(value: Json) -> Json:
    if type(value) is str:
        return [value]
    if is_list(value) and all(type(item) is str for item in value):
        return sorted(set(value))
    return _deep(value)


def _tagged(value: Json) -> Json:
    if not isinstance(value, str):
        return _deep(value)
    name = value.rpartition("/")[2]
    return value if ":" in name else f"{value}:latest"


def _vector_encoding(value: Json) -> Json:
    # int8 and binary vectors are other vectors, not another spelling.
    return DROPPED if value in ("float", "base64") else _deep(value)


def _mcp_servers(value: Json) -> Json:
    return _objects(discreet("mcp_servers", value), {"url": sealed_url})


def _sealed(value: Json) -> Json:
    return _deep(sealed(value))


def _prompt_cache_options(value: Json) -> Json:
    # `prewarm` asks for no answer at all; the rest is price.
    prewarm = value.get("prewarm") if is_object(value) else None
    return {"prewarm": plain(prewarm)} if prewarm else DROPPED


# --- plans ------------------------------------------------------------------------------

_NO_PLAN: Final[_Special] = {}
_CONTEXT: Final = ("previous_response_id", "prompt")
_INHERITED: Final = frozenset({"tools", "instructions"})
_NOTHING: Final[Mapping[str, Json]] = {}
_EMPTY_IS_ABSENT: Final[Mapping[str, Mapping[str, Json]]] = {
    "chat": {"tools": [], "functions": [], "stop": [], "logit_bias": {}},
    "responses": {"tools": []},
    "messages": {"tools": [], "stop_sequences": []},
    "ollama.chat": {"tools": []},
}

_SPECIAL: Final[Mapping[str, _Special]] = {
    "chat": {
        "messages": _messages,
        "tools": _chat_tools,
        "functions": _objects,
        "response_format": _object,
        "stop": _string_set,
        "audio": _object,
        "web_search_options": _object,
        "prediction": lambda value: _object(value, {"content": _content}),
        "prompt_cache_options": _prompt_cache_options,
    },
    "responses": {
        "input": _response_input,
        "tools": _tools,
        "text": lambda value: _object(value, {"format": _object}),
        "reasoning": _object,
        "prompt_cache_options": _prompt_cache_options,
    },
    "messages": {
        "messages": _messages,
        "system": _content,
        "tools": _tools,
        "output_config": lambda value: _object(value, {"format": _object}),
        "output_format": _object,
        "stop_sequences": _string_set,
        "thinking": _object,
        "tool_choice": _object,
        "mcp_servers": _mcp_servers,
        "fallback_credit_token": _sealed,
    },
    "ollama.chat": {
        "messages": lambda value: _objects(value, _OLLAMA_MESSAGE),
        "tools": _chat_tools,
        "format": _ollama_format,
        "model": _tagged,
        "options": _object,
    },
    "ollama.generate": {
        "format": _ollama_format,
        "images": _images,
        "model": _tagged,
        "options": _object,
    },
    "embedding": {"encoding_format": _vector_encoding},
}


def _plan(kind: str) -> dict[str, _Normalizer]:
    special = _SPECIAL.get(kind, {})
    return {
        name: special.get(name, _dropped if rule.verdict is Verdict.NEUTRAL else _deep)
        for name, rule in TABLES[kind].items()
    }


_PLANS: Final[Mapping[str, _Special]] = {kind: _plan(kind) for kind in TABLES}


# --- documented defaults, on the API's own endpoint only ----------------------------------

_CHAT_DEFAULTS: Final[Mapping[str, Json]] = {
    "n": 1,
    "logprobs": False,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}


def native_chat(body: dict[str, Json]) -> None:
    """Drop from a normalized chat `body` what OpenAI documents as the default."""
    for name, default in _CHAT_DEFAULTS.items():
        if name in body and body[name] == default and type(body[name]) is type(default):
            del body[name]
    native_responses(body)
    messages = body.get("messages")
    for message in messages if type(messages) is list else ():
        if type(message) is dict:
            _native_message(message)


def _native_message(message: dict[str, Any]) -> None:
    content = message.get("content")
    if content == "" and message.get("tool_calls"):
        del message["content"]
    for part in content if type(content) is list else ():
        image = part.get("image_url") if type(part) is dict else None
        if type(image) is dict and image.get("detail") == "auto":
            del image["detail"]


def native_responses(body: dict[str, Json]) -> None:
    """Drop `tool_choice: auto` from a normalized `body` that has tools: it is the default."""
    if body.get("tool_choice") == "auto" and body.get("tools"):
        del body["tool_choice"]


def _native_messages(body: dict[str, Json]) -> None:
    if body.get("temperature") == 1 and type(body["temperature"]) is int:
        del body["temperature"]


_NATIVE: Final[Mapping[str, Callable[[dict[str, Json]], None]]] = {
    "chat": native_chat,
    "responses": native_responses,
    "messages": _native_messages,
}
