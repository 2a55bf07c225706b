"""The opt-in rules: each takes a normalized body and merges what its caller vouches for.

They run in a fixed order after the safe rules and work on any body; a rule that
finds nothing to do leaves it alone. None of them looks inside the input of a
tool call: what a model wrote there, or a tool was given, is data.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from ..types._json import Json
from .canonical import canonical_bytes
from .media import unsigned_url
from .normalize import native_chat, native_responses

__all__ = ["apply_merges"]

_Body = dict[str, Json]


def apply_merges(kind: str, body: _Body, names: Iterable[str]) -> None:
    """Apply the rules called `names` to a normalized `body`, in place."""
    chosen = frozenset(names)
    for name, rule in _RULES.items():
        if name in chosen:
            rule(kind, body)


def _dropping(*fields: str) -> Callable[[str, _Body], None]:
    def rule(_kind: str, body: _Body) -> None:
        for field in fields:
            body.pop(field, None)

    return rule


def _defaults(kind: str, body: _Body) -> None:
    if kind == "chat":
        native_chat(body)
    elif kind == "responses":
        native_responses(body)


def _sampling_defaults(_kind: str, body: _Body) -> None:
    for field in ("temperature", "top_p"):
        if body.get(field) == 1 and type(body[field]) is int:
            del body[field]


def _max_tokens(kind: str, body: _Body) -> None:
    if kind == "chat" and "max_tokens" in body and "max_completion_tokens" not in body:
        body["max_completion_tokens"] = body.pop("max_tokens")


def _instructions(kind: str, body: _Body) -> None:
    items = body.get("input")
    if kind == "responses" and isinstance(body.get("instructions"), str) and type(items) is list:
        body["input"] = [{"role": "system", "content": body.pop("instructions")}, *items]


def _system_developer(_kind: str, body: _Body) -> None:
    for turn in _turns(body):
        if turn.get("role") == "developer":
            turn["role"] = "system"


def _empty_content(_kind: str, body: _Body) -> None:
    for turn in _turns(body):
        if turn.get("content") == "" and turn.get("tool_calls"):
            del turn["content"]


_TEXT_TYPES: Final = ("text", "input_text", "output_text")


def _is_text(part: Json) -> bool:
    return (
        type(part) is dict
        and part.keys() == {"type", "text"}
        and part["type"] in _TEXT_TYPES
        and isinstance(part["text"], str)
    )


def _text_parts(_kind: str, body: _Body) -> None:
    for holder, field in _contents(body):
        content = holder[field]
        if type(content) is list and len(content) == 1 and _is_text(content[0]):
            holder[field] = content[0]["text"]


def _joined_text_parts(_kind: str, body: _Body) -> None:
    for holder, field in _contents(body):
        content = holder[field]
        if type(content) is list and content and all(_is_text(part) for part in content):
            holder[field] = "".join(part["text"] for part in content)


def _unicode(_kind: str, body: _Body) -> None:
    def normal(text: str) -> str:
        text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
        return unicodedata.normalize("NFC", text)

    for holder, field in _contents(body):
        content = holder[field]
        if isinstance(content, str):
            holder[field] = normal(content)
        for part in content if type(content) is list else ():
            if _is_text(part):
                part["text"] = normal(part["text"])
    for field in ("prompt", "instructions"):
        if isinstance(body.get(field), str):
            body[field] = normal(body[field])


def _signed_urls(_kind: str, body: _Body) -> None:
    for holder in _objects(_conversation(body)):
        for field in ("url", "image_url"):
            url = holder.get(field)
            if isinstance(url, str) and url.startswith(("http://", "https://")):
                holder[field] = unsigned_url(url)


def _tool_order(_kind: str, body: _Body) -> None:
    if type(body.get("tools")) is list:
        body["tools"] = sorted(body["tools"], key=canonical_bytes)


# --- tool calls -----------------------------------------------------------------------------


def _tool_arguments(_kind: str, body: _Body) -> None:
    for holder in _objects(_conversation(body)):
        text = holder.get("arguments")
        if isinstance(text, str):
            parsed = _parsed_arguments(text)
            if parsed is not None:
                # An object where others have text: the two cannot meet.
                holder["arguments"] = parsed


def _parsed_arguments(text: str) -> Json:
    """Return JSON text as a value that keeps number literals; `None` when it is no plain object."""

    def unique(pairs: list[tuple[str, Json]]) -> Json:
        if len({name for name, _ in pairs}) < len(pairs):
            msg = "a name occurs twice: what the server makes of it is unknown"
            raise ValueError(msg)
        # Wrapped, so that an object of the caller's cannot pretend to be a number.
        return {"object": dict(pairs)}

    def literal(number: str) -> Json:
        return {"number": number}

    try:
        value = json.loads(
            text,
            object_pairs_hook=unique,
            parse_int=literal,
            parse_float=literal,
            parse_constant=literal,
        )
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "object" in value else None


_REFERENCES: Final = ("tool_call_id", "tool_use_id", "call_id")
_CALL_TYPES: Final = (
    "function",
    "custom",
    "tool_use",
    "server_tool_use",
    "mcp_tool_use",
)


def _tool_call_ids(_kind: str, body: _Body) -> None:
    """Rename ids by first appearance: the same call keeps one name in call and result.

    An id counts as a call's where a call has it or a result refers to it, and is
    renamed in every place, so that no pairing is lost.
    """
    names: dict[str, str] = {}
    holders = list(_objects(_conversation(body)))
    for holder in holders:
        fields = [*_REFERENCES, "id"] if _is_call(holder) else _REFERENCES
        for field in fields:
            value = holder.get(field)
            if isinstance(value, str):
                names.setdefault(value, f"call_{len(names)}")
    for holder in holders:
        for field in (*_REFERENCES, "id"):
            value = holder.get(field)
            if isinstance(value, str) and value in names:
                holder[field] = names[value]


def _is_call(holder: dict[str, Any]) -> bool:
    return holder.get("type") in _CALL_TYPES or "function" in holder or "custom" in holder


# Output items whose id names nothing but themselves.
_OWN_IDS: Final = (
    "message",
    "reasoning",
    "function_call",
    "custom_tool_call",
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "computer_call",
)


def _item_ids(kind: str, body: _Body) -> None:
    if kind != "responses":
        return
    for item in _turns(body):
        if item.get("type", "message" if "role" in item else None) not in _OWN_IDS:
            continue
        if item.get("type") == "reasoning" and not item.get("encrypted_content"):
            continue  # without its content, the id is all that names it
        item.pop("id", None)
        item.pop("status", None)


def _thinking_signatures(_kind: str, body: _Body) -> None:
    for holder in _objects(_conversation(body)):
        if holder.get("type") in ("thinking", "reasoning"):
            holder.pop("signature", None)
            if holder.get("summary") or holder.get("content"):
                holder.pop("encrypted_content", None)


# --- walking a body -----------------------------------------------------------------------

# What stands under these names was written by a model or for a tool.
_DATA: Final = ("input", "arguments")


def _conversation(body: _Body) -> list[Json]:
    turns = body.get("messages", body.get("input"))
    return turns if type(turns) is list else []


def _turns(body: _Body) -> Iterator[dict[str, Any]]:
    return (turn for turn in _conversation(body) if type(turn) is dict)


def _objects(value: Json) -> Iterator[dict[str, Any]]:
    """Yield every object inside `value` but those that are data; outer before inner, in order."""
    if type(value) is dict:
        yield value
        for name, item in list(value.items()):
            if name not in _DATA:
                yield from _objects(item)
    elif type(value) is list:
        for item in value:
            yield from _objects(item)


def _contents(body: _Body) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the places that hold content: the turns', those inside tool results, the system's."""
    for holder in _objects(_conversation(body)):
        if "content" in holder:
            yield holder, "content"
    if "system" in body:
        yield body, "system"


_RULES: Final[dict[str, Callable[[str, _Body], None]]] = {
    "store": _dropping("store"),
    "service_tier": _dropping("service_tier", "speed", "inference_geo", "billing_policy"),
    "prediction": _dropping("prediction"),
    "defaults": _defaults,
    "sampling_defaults": _sampling_defaults,
    "max_tokens": _max_tokens,
    "instructions": _instructions,
    "system_developer": _system_developer,
    "empty_content": _empty_content,
    "text_parts": _text_parts,
    "joined_text_parts": _joined_text_parts,
    "unicode": _unicode,
    "signed_urls": _signed_urls,
    "tool_arguments": _tool_arguments,
    "item_ids": _item_ids,
    "thinking_signatures": _thinking_signatures,
    "tool_call_ids": _tool_call_ids,
    "tool_order": _tool_order,
}
