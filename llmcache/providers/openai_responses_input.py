"""Messages as input items of the Responses API.

A turn that came from this API goes back in its own words (`Message.native`). Anything
else is compiled: text, images, files and audio become `input_*` parts, tool calls and
their results items of their own. What already is an item, or a part, of this API goes
as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..errors import InvalidRequestError
from ..types import Message, MessageInput, Native, ToolCall
from ..types._json import Json

__all__ = ["input_items"]

_API: Final = "responses"
# Chat's fields that are written in another way here, or mean nothing to this API.
_COMPILED: Final = frozenset(
    "content name refusal role tool_call_id tool_calls native annotations audio function_call "
    "reasoning reasoning_content reasoning_details".split()
)
# What of a `Message` this API may be told: its `extra` may hold the words of another one.
_FIELDS: Final = frozenset(
    "content id name phase refusal role status tool_call_id tool_calls type".split()
)
_RESULTS: Final = {"function": "function_call_output", "custom": "custom_tool_call_output"}


def input_items(messages: MessageInput) -> Json:
    """Return `input`: text as it is, anything else as a list of items.

    Raises:
        InvalidRequestError: naming the place, as in `messages[3].content[0]`.
    """
    if type(messages) is str:
        return messages
    if isinstance(messages, str | Message | Mapping):
        messages = [messages]
    if not isinstance(messages, Sequence) or isinstance(messages, bytes | bytearray):
        kind = type(messages).__name__
        reason = f"must be a string, a message or a list of messages, not {kind}"
        raise InvalidRequestError("messages", reason)
    if not messages:
        raise InvalidRequestError("messages", "must not be empty")
    calls = _Calls()
    return [
        item
        for i, message in enumerate(messages)
        for item in _items(message, f"messages[{i}]", calls)
    ]


class _Calls:
    """The tool calls of a conversation so far: which id and which kind their results need."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._nameless: deque[str] = deque()
        self._made = 0

    def note(self, call_id: Json, kind: str) -> str:
        """Return the id of a call, one of our own where the server gave none."""
        name = str(call_id or "")
        if not name:
            name = f"call_{self._made}"
            self._made += 1
            self._nameless.append(name)
        self._kinds[name] = kind
        return name

    def result(self, call_id: Json) -> tuple[str, str]:
        """Return the id of the call that a result answers, and the type of the item that it is."""
        name = str(call_id or "")
        if not name and self._nameless:
            name = self._nameless.popleft()
        return name, _RESULTS[self._kinds.get(name, "function")]


def _items(message: object, path: str, calls: _Calls) -> Iterable[Json]:
    if isinstance(message, str):
        return [{"role": "user", "content": message}]
    native: Native | None = None
    if isinstance(message, Message):
        native, fields = message.native, message.to_dict()
        message = {name: value for name, value in fields.items() if name in _FIELDS}
    elif isinstance(message, Mapping) and Native.is_dict(message.get("native")):
        native = Native.from_dict(message["native"])
    if not isinstance(message, Mapping):
        reason = f"must be a string, a Message or an object, not {type(message).__name__}"
        raise InvalidRequestError(path, reason)
    own = None if native is None else native.for_api(_API)
    if isinstance(own, list):
        return [_noted(item, path, calls) for item in own]
    if message.get("role") is None and isinstance(message.get("type") or message.get("id"), str):
        return [_noted(message, path, calls)]
    return _compiled(message, path, calls)


def _compiled(message: Mapping[str, Any], path: str, calls: _Calls) -> Iterable[Json]:
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidRequestError(f"{path}.role", f"must be a role's name, not {role!r}")
    if role == "tool":
        return [_result(message, path, calls)]
    if role == "function":
        reason = "the Responses API has no `function` role; answer a tool call instead"
        raise InvalidRequestError(f"{path}.role", reason)
    if role != "assistant" and message.get("name") is not None:
        raise InvalidRequestError(f"{path}.name", "the Responses API has no names of participants")
    return _turn(role, message, path, calls)


def _noted(item: object, path: str, calls: _Calls) -> Json:
    """Return an item of this API as it is; its id may be what a later result answers."""
    if not isinstance(item, Mapping):
        raise InvalidRequestError(path, f"an item is an object, not {type(item).__name__}")
    kind = item.get("type")
    if kind in {"function_call", "custom_tool_call"} and item.get("call_id"):
        calls.note(item["call_id"], "custom" if kind == "custom_tool_call" else "function")
    return item if type(item) is dict else dict(item)


def _turn(role: str, message: Mapping[str, Any], path: str, calls: _Calls) -> Iterator[Json]:
    """Yield the message, if it says something, and the calls it makes."""
    given = message.get("tool_calls")
    content = _content(message.get("content"), role, f"{path}.content")
    refusal = message.get("refusal")
    if refusal and role == "assistant":
        said = [{"type": "output_text", "text": content}] if isinstance(content, str) else content
        content = [*(said or ()), {"type": "refusal", "refusal": refusal}]
    if content or not given:
        kept = {name: value for name, value in message.items() if name not in _COMPILED}
        yield {**kept, "role": role, "content": "" if content is None else content}
    for i, call in enumerate(given or ()):
        yield _call(call, f"{path}.tool_calls[{i}]", calls)


def _call(call: Any, path: str, calls: _Calls) -> Json:
    known = call if isinstance(call, ToolCall) else ToolCall.from_dict(call, path=path)
    call_id = calls.note(known.id, known.type)
    if known.type == "custom":
        start: dict[str, Json] = {"type": "custom_tool_call", "call_id": call_id}
        return {**start, "name": known.name, "input": known.arguments}
    start = {"type": "function_call", "call_id": call_id}
    return {**start, "name": known.name, "arguments": known.arguments}


def _result(message: Mapping[str, Any], path: str, calls: _Calls) -> Json:
    call_id, kind = calls.result(message.get("tool_call_id"))
    if not call_id:
        reason = "must be the id of the tool call that this answers"
        raise InvalidRequestError(f"{path}.tool_call_id", reason)
    output = _content(message.get("content"), "tool", f"{path}.content")
    return {"type": kind, "call_id": call_id, "output": "" if output is None else output}


# --- content ------------------------------------------------------------------------------


def _content(content: Any, role: str, path: str) -> str | list[Json] | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        reason = f"must be a string or a list of parts, not {type(content).__name__}"
        raise InvalidRequestError(path, reason)
    text = "output_text" if role == "assistant" else "input_text"
    return [_part(part, text, f"{path}[{i}]") for i, part in enumerate(content)]


def _part(part: Any, text: str, path: str) -> Json:
    """Return a part in this API's words; `text` is the type of text in this turn."""
    to_dict = getattr(part, "to_dict", None)
    if to_dict is not None:
        part = to_dict()
    if isinstance(part, str):
        return {"type": text, "text": part}
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise InvalidRequestError(path, "a content part is an object with a string `type`")
    kind = part["type"]
    if kind == "text":
        return {**part, "type": text}
    if kind == "image_url":
        return _flat("input_image", part, kind, part.get(kind))
    if kind == "file":
        return _flat("input_file", part, kind, part.get(kind))
    return dict(part)


def _flat(kind: str, part: Mapping[str, Any], held: str, inside: Any) -> Json:
    """Return a part whose fields chat holds in an object of their own."""
    beside = {name: value for name, value in part.items() if name not in {"type", held}}
    if not isinstance(inside, Mapping):
        return dict(part)
    fields = {"image_url" if name == "url" else name: value for name, value in inside.items()}
    return {"type": kind, **fields, **beside}
