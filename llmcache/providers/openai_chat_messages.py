"""Messages for chat completions: what this server said goes back as it came, the rest is compiled.

A caller's own words go as they are written. A turn that another server said goes without
what only that one understands, and with ids of tool calls that this one takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import InvalidRequestError
from ..types import Message, MessageInput
from ..types._json import Json
from .openai_chat_answer import KIND
from .tool_ids import MISTRAL_IDS, OPENAI_IDS, RESPONSES_IDS, CallIds, IdRule
from .turns import native_of, neutral

__all__ = ["ANYWHERE", "ChatServer", "chat_messages", "keeps_ids", "wire_messages"]

_OPENAI: Final = frozenset({"openai", "azure"})


@dataclass(frozen=True, slots=True)
class ChatServer:
    """Who is sent a conversation.

    - `origin`: as in `Native`; with `None` every turn counts as its own.
    - `ids`: which ids of tool calls it takes.
    - `is_strict`: whether it is known to refuse others, wherever they come from. Other servers
      take those that they, or the caller, made, of whatever length: some servers keep a
      signature in them.
    - `is_openai`: whether an answer's refusal has a field of its own.
    """

    origin: str | None = None
    ids: IdRule = OPENAI_IDS
    is_strict: bool = False
    is_openai: bool = False

    @classmethod
    def of(cls, name: str, origin: str, *, responses: bool = False) -> ChatServer:
        """Return the server that is called `name`; with `responses` as its Responses API is."""
        if name == "mistral":
            return cls(origin, MISTRAL_IDS, is_strict=True)
        is_openai = name in _OPENAI
        return cls(origin, RESPONSES_IDS if responses else OPENAI_IDS, is_openai, is_openai)


ANYWHERE: Final = ChatServer()
"""A server of which nothing is known."""


def chat_messages(messages: MessageInput, server: ChatServer = ANYWHERE) -> list[Json]:
    """Return the messages for the wire of `server`, with ids of tool calls that it takes.

    Raises:
        InvalidRequestError: as `wire_messages`.
    """
    if type(messages) is str:
        return [{"role": "user", "content": messages}]
    wire = wire_messages(messages, server)
    if not any(message.get("tool_calls") for message in wire):
        return wire
    given: Any = [messages] if isinstance(messages, str | Message | Mapping) else messages
    return list(_with_ids(given, wire, server))


def wire_messages(messages: MessageInput, server: ChatServer = ANYWHERE) -> list[Json]:
    """Return the messages for the wire: a dict goes as it is, checked; anything else is built.

    A turn that another than `server` said is put in words that all know. Ids of tool
    calls stay; `chat_messages` sees to them.

    Raises:
        InvalidRequestError: naming the place, as in `messages[3].content[0].type`.
    """
    if type(messages) is str:
        return [{"role": "user", "content": messages}]
    if isinstance(messages, str | Message | Mapping):
        messages = [messages]
    if not isinstance(messages, Sequence) or isinstance(messages, bytes | bytearray):
        kind = type(messages).__name__
        reason = f"must be a string, a message or a list of messages, not {kind}"
        raise InvalidRequestError("messages", reason)
    if not messages:
        raise InvalidRequestError("messages", "must not be empty")
    return [_wire_message(item, i, server) for i, item in enumerate(messages)]


def _wire_message(item: object, index: int, server: ChatServer) -> Json:
    if isinstance(item, str):
        return {"role": "user", "content": item}
    path = f"messages[{index}]"
    native = native_of(item)
    if native is not None and not native.is_from(KIND, server.origin):
        return _foreign(neutral(item, path), server)
    if isinstance(item, Message):
        message = item.to_dict()
        message.pop("native", None)
        return message
    if not isinstance(item, Mapping):
        reason = f"must be a string, a Message or an object, not {type(item).__name__}"
        raise InvalidRequestError(path, reason)
    if not isinstance(item.get("role"), str) or not item["role"]:
        raise InvalidRequestError(
            f"{path}.role", f"must be a role's name, not {item.get('role')!r}"
        )
    if native is not None:
        item = {name: value for name, value in item.items() if name != "native"}
    content = item.get("content")
    if isinstance(content, str) or content is None:
        return item if type(item) is dict else dict(item)
    if not isinstance(content, list | tuple):
        reason = f"must be a string or a list of parts, not {type(content).__name__}"
        raise InvalidRequestError(f"{path}.content", reason)
    parts = [_wire_part(part, f"{path}.content[{i}]") for i, part in enumerate(content)]
    return {**item, "content": parts}


def _foreign(message: Message, server: ChatServer) -> Json:
    """Return a turn that another server said, as `server` takes it."""
    told = message.to_dict()
    if "refusal" in told and not server.is_openai:
        spoken = told.pop("refusal")
        told["content"] = told.get("content") or spoken
    if "tool_calls" not in told and "refusal" not in told:
        told.setdefault("content", "")  # of what no other server understands, nothing is left
    return told


def _wire_part(part: object, path: str) -> Json:
    to_dict = getattr(part, "to_dict", None)
    if to_dict is not None:
        return to_dict()
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise InvalidRequestError(path, "a content part is an object with a string `type`")
    return part if type(part) is dict else dict(part)


# --- ids of tool calls ------------------------------------------------------------------------


def keeps_ids(
    item: object, calls: Sequence[tuple[str, str]], server: ChatServer, api: str = KIND
) -> bool:
    """Return whether the ids of a turn's calls go to `server` whatever they are.

    `api` is the one that it is asked by. Those that it made itself do, and those of a caller's own words where it is not known
    to refuse them. Calls without ids, or with the same one, have none that could stay.
    """
    given = {identifier for identifier, _ in calls}
    if "" in given or len(given) < len(calls):
        return False
    native = native_of(item)
    if native is None:
        return not server.is_strict
    if server.is_strict and native.api != api:
        return False
    return native.origin is not None and native.origin == server.origin


def _with_ids(
    given: Sequence[object], wire: Sequence[dict[str, Any]], server: ChatServer
) -> Iterator[Json]:
    """Yield the messages with ids that the server takes; those that have such go as they are."""
    # Where results follow their calls at once, an id may come again in a later turn.
    ids = CallIds(server.ids, by_turn=True)
    called = [_calls(message) for message in wire]
    kept = [keeps_ids(item, calls, server) for item, calls in zip(given, called, strict=True)]
    for calls, fixed in zip(called, kept, strict=True):
        ids.reserve((identifier for identifier, _ in calls), fixed=fixed)
    for i, (message, calls, fixed) in enumerate(zip(wire, called, kept, strict=True)):
        if calls:
            after = wire[i + 1].get("role") if i + 1 < len(wire) else None
            yield _asking(message, calls, ids, fixed=fixed, is_legacy=after == "function")
        elif message.get("role") == "tool":
            yield _telling(message, ids, server)
        else:
            yield message


def _calls(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the id and name of each call; nothing of what is no list of calls."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list | tuple) or not all(isinstance(c, Mapping) for c in calls):
        return []
    return [(_text(call.get("id")), _name(call)) for call in calls]


def _name(call: Mapping[str, Any]) -> str:
    inside = call.get("function") or call.get("custom")
    return _text(inside.get("name")) if isinstance(inside, Mapping) else ""


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _asking(
    message: dict[str, Any],
    calls: Sequence[tuple[str, str]],
    ids: CallIds,
    *,
    fixed: bool,
    is_legacy: bool,
) -> Json:
    if "function_call" in message and not any(identifier for identifier, _ in calls):
        # A legacy call, which is told once: in the way in which it is answered.
        if is_legacy:
            return {name: value for name, value in message.items() if name != "tool_calls"}
        message = {name: value for name, value in message.items() if name != "function_call"}
    names = ids.turn(calls, fixed=fixed)
    if names == [identifier for identifier, _ in calls]:
        return message
    renamed = [
        {**call, "id": name} for call, name in zip(message["tool_calls"], names, strict=True)
    ]
    return {**message, "tool_calls": renamed}


def _telling(message: dict[str, Any], ids: CallIds, server: ChatServer) -> Json:
    given = _text(message.get("tool_call_id"))
    found = ids.result(given, message.get("name"))
    if found is None and given and server.is_strict:
        found = ids.stray(given)
    return message if found in {None, given} else {**message, "tool_call_id": found}
