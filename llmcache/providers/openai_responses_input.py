"""Messages as input items of the Responses API.

A turn that came from this server goes back in its own words (`Message.native`). Anything
else is compiled: text, images, files and audio become `input_*` parts, tool calls and
their results items of their own. What already is an item, or a part, of this API goes
as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..errors import InvalidRequestError
from ..types import Message, MessageInput, ToolCall
from ..types._json import Json
from .openai_chat_messages import ANYWHERE, ChatServer, keeps_ids
from .openai_responses_answer import CALLS
from .tool_ids import CallIds
from .turns import native_of, neutral

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


def input_items(messages: MessageInput, server: ChatServer = ANYWHERE) -> Json:
    """Return `input`: text as it is, anything else as a list of items.

    `server` is who is sent the turns that others may have said.

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
    told = [_told(message, f"messages[{i}]", server) for i, message in enumerate(messages)]
    calls = _Calls(server, told)
    return [item for i, one in enumerate(told) for item in _items(one, f"messages[{i}]", calls)]


class _Told(NamedTuple):
    """A message on its way: items of this API, or what is to be compiled."""

    items: Sequence[Mapping[str, Any]] | None = None
    message: Mapping[str, Any] = {}
    calls: Sequence[ToolCall] = ()
    keeps_ids: bool = True


def _told(message: object, path: str, server: ChatServer) -> _Told:
    if isinstance(message, str):
        return _Told(message={"role": "user", "content": message})
    native, item = native_of(message), message
    if native is not None:
        own = native.for_api(_API, server.origin)
        if isinstance(own, list):
            return _Told([_checked(one, path) for one in own])
        message = neutral(message, path)
    if isinstance(message, Message):
        message = {name: value for name, value in message.to_dict().items() if name in _FIELDS}
    if not isinstance(message, Mapping):
        reason = f"must be a string, a Message or an object, not {type(message).__name__}"
        raise InvalidRequestError(path, reason)
    if message.get("role") is None and isinstance(message.get("type") or message.get("id"), str):
        return _Told([message])
    calls = [
        _tool_call(call, f"{path}.tool_calls[{i}]")
        for i, call in enumerate(message.get("tool_calls") or ())
    ]
    keeps = keeps_ids(item, [(call.id, call.name) for call in calls], server, _API)
    return _Told(None, message, calls, keeps)


def _tool_call(call: Any, path: str) -> ToolCall:
    return call if isinstance(call, ToolCall) else ToolCall.from_dict(call, path=path)


class _Calls:
    """The tool calls of a conversation so far: which id and which kind their results need."""

    def __init__(self, server: ChatServer, told: Sequence[_Told]) -> None:
        self._kinds: dict[str, str] = {}
        self._server = server
        self._ids = CallIds(server.ids)
        for one in told:
            items = (item["call_id"] for item in one.items or () if _is_call(item))
            self._ids.reserve(map(str, items), fixed=True)
            self._ids.reserve(call.id for call in one.calls)

    def note(self, item: Mapping[str, Any]) -> None:
        """Remember a call that is an item already; its id stays."""
        call_id = str(item["call_id"])
        self._kinds[call_id] = CALLS[item["type"]]
        self._ids.note([(call_id, str(item.get("name")))])

    def turn(self, told: _Told) -> list[str]:
        """Return the ids of a turn's calls, made where the server gave none that can be sent."""
        given = [(call.id, call.name) for call in told.calls]
        names = self._ids.turn(given, as_given=told.keeps_ids)
        self._kinds.update(zip(names, (call.type for call in told.calls), strict=True))
        return names

    def result(self, message: Mapping[str, Any]) -> tuple[str, str]:
        """Return the id of the call that a result answers, and the type of the item that it is."""
        given = str(message.get("tool_call_id") or "")
        name = self._ids.result(given, message.get("name"))
        if name is None:
            name = self._ids.stray(given) if given and self._server.is_strict else given
        return name, _RESULTS[self._kinds.get(name, "function")]


def _is_call(item: Mapping[str, Any]) -> bool:
    return item.get("type") in CALLS and bool(item.get("call_id"))


def _checked(item: object, path: str) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise InvalidRequestError(path, f"an item is an object, not {type(item).__name__}")
    return item


def _items(told: _Told, path: str, calls: _Calls) -> Iterable[Json]:
    if told.items is None:
        return _compiled(told, path, calls)
    for item in told.items:
        if _is_call(item):
            calls.note(item)
    return [item if type(item) is dict else dict(item) for item in told.items]


def _compiled(told: _Told, path: str, calls: _Calls) -> Iterable[Json]:
    message = told.message
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
    return _turn(role, told, path, calls)


def _turn(role: str, told: _Told, path: str, calls: _Calls) -> Iterator[Json]:
    """Yield the message, if it says something, and the calls it makes."""
    message = told.message
    content = _content(message.get("content"), role, f"{path}.content")
    refusal = message.get("refusal")
    if refusal and role == "assistant":
        said = [{"type": "output_text", "text": content}] if isinstance(content, str) else content
        content = [*(said or ()), {"type": "refusal", "refusal": refusal}]
    if content or not told.calls:
        kept = {name: value for name, value in message.items() if name not in _COMPILED}
        yield {**kept, "role": role, "content": "" if content is None else content}
    if told.calls:
        for call, call_id in zip(told.calls, calls.turn(told), strict=True):
            yield _call(call, call_id)


def _call(call: ToolCall, call_id: str) -> Json:
    if call.type == "custom":
        start: dict[str, Json] = {"type": "custom_tool_call", "call_id": call_id}
        return {**start, "name": call.name, "input": call.arguments}
    start = {"type": "function_call", "call_id": call_id}
    return {**start, "name": call.name, "arguments": call.arguments}


def _result(message: Mapping[str, Any], path: str, calls: _Calls) -> Json:
    call_id, kind = calls.result(message)
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
