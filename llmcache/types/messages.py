"""Messages and tool calls, and the one way from what a caller writes to a list of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from ..errors import InvalidRequestError
from ._json import FrozenDict, Json, thaw
from .content import (
    AudioPart,
    ContentPart,
    FilePart,
    ImagePart,
    RawPart,
    TextPart,
    part_from_dict,
)
from .native import Native

__all__ = [
    "Message",
    "MessageInput",
    "Role",
    "ToolCall",
    "ToolCallDelta",
    "normalize_messages",
]

_EMPTY = FrozenDict()


class Role(StrEnum):
    """Who speaks. A string, so `message.role == "user"` holds."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    FUNCTION = "function"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for. `arguments` is the provider's JSON text, byte for byte.

    `id` is empty where a server sends none; `type` is `custom` for a free-form tool,
    whose input is any text. `extra` keeps fields we do not model (Gemini's
    `extra_content.google.thought_signature` must travel back).
    """

    id: str
    name: str
    arguments: str
    type: str = "function"
    extra: Mapping[str, Json] = _EMPTY

    def __post_init__(self) -> None:
        if type(self.extra) is not FrozenDict:
            object.__setattr__(self, "extra", FrozenDict(self.extra))

    def parse_arguments(self) -> dict[str, Json]:
        """Return the arguments as an object; empty text is an empty object.

        Raises:
            ValueError: the model wrote something that is not a JSON object.
        """
        if not self.arguments.strip():
            return {}
        value = json.loads(self.arguments)
        if not isinstance(value, dict):
            msg = f"tool call {self.name!r}: arguments are {type(value).__name__}, not an object"
            raise ValueError(msg)  # noqa: TRY004 - the text is wrong, not a type in the program
        return value

    def to_dict(self) -> dict[str, Json]:
        """Return the chat-completions shape: `{"id", "type": "function", "function": {…}}`."""
        text = "arguments" if self.type == "function" else "input"
        body = {"name": self.name, text: self.arguments}
        call: dict[str, Json] = {"id": self.id, "type": self.type, self.type: body}
        call.update(thaw(self.extra))
        return call

    @classmethod
    def from_dict(cls, data: Mapping[str, Json], *, path: str = "tool_call") -> ToolCall:
        """Return the call that `data` describes, in the nested or the flat shape.

        Raises:
            InvalidRequestError: no object, or no name.
        """
        if not isinstance(data, Mapping):
            raise InvalidRequestError(path, f"must be an object, not {type(data).__name__}")
        kind = "custom" if data.get("type") == "custom" else "function"
        nested = isinstance(data.get(kind), Mapping)
        body = data[kind] if nested else data
        if not isinstance(body.get("name"), str):
            raise InvalidRequestError(path, "a tool call needs a string `name`")
        arguments = body.get("arguments" if kind == "function" else "input")
        if not isinstance(arguments, str):
            arguments = "" if arguments is None else json.dumps(arguments, ensure_ascii=False)
        known = {"id", "type", kind} if nested else {"id", "type", "name", "arguments", "input"}
        extra = {key: value for key, value in data.items() if key not in known}
        return cls(str(data.get("id") or ""), body["name"], arguments, kind, FrozenDict(extra))


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call in a stream. `arguments` is the new text only."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the four fields."""
        return {
            "index": self.index,
            "id": self.id,
            "name": self.name,
            "arguments": self.arguments,
        }


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; immutable.

    `content` is text, or parts, or `None` (an assistant that only calls tools).
    `extra` keeps every other field of the wire form (`reasoning_content`,
    `refusal`, `audio`, …), so `Message.from_dict(d).to_dict() == d`. `native` is there in
    turns that a server said: which one, and its words if they are not those of chat
    completions. Sent back to that server the turn goes as it came; any other gets its
    text, its tool calls and its refusal. A message without `native` is the caller's own, and
    goes as it is written.
    """

    role: Role
    content: str | tuple[ContentPart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    extra: Mapping[str, Json] = field(default=_EMPTY)
    native: Native | None = None

    def __post_init__(self) -> None:
        if type(self.role) is not Role:
            object.__setattr__(self, "role", _role(self.role))
        if isinstance(self.content, list):
            object.__setattr__(self, "content", tuple(self.content))
        if isinstance(self.tool_calls, list):
            object.__setattr__(self, "tool_calls", tuple(self.tool_calls))
        if type(self.extra) is not FrozenDict:
            object.__setattr__(self, "extra", FrozenDict(self.extra))

    @classmethod
    def user(cls, content: str | Sequence[ContentPart], *, name: str | None = None) -> Message:
        """Return a user turn."""
        return cls(Role.USER, _content(content), name=name)

    @classmethod
    def assistant(
        cls,
        content: str | Sequence[ContentPart] | None = None,
        *,
        tool_calls: Sequence[ToolCall] | None = None,
    ) -> Message:
        """Return an assistant turn, with the tool calls it made."""
        calls = tuple(tool_calls) if tool_calls else None
        return cls(Role.ASSISTANT, _content(content), tool_calls=calls)

    @classmethod
    def system(cls, content: str | Sequence[ContentPart]) -> Message:
        """Return a system instruction."""
        return cls(Role.SYSTEM, _content(content))

    @classmethod
    def tool_result(
        cls, tool_call_id: str, content: str | Sequence[ContentPart], name: str | None = None
    ) -> Message:
        """Return what a tool answered to the call `tool_call_id`."""
        return cls(Role.TOOL, _content(content), name=name, tool_call_id=tool_call_id)

    @property
    def text(self) -> str:
        """The text of the content: parts joined, other media left out."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    def to_dict(self) -> dict[str, Json]:
        """Return the chat-completions message, and `native` if there is one; no absent fields."""
        message: dict[str, Json] = {"role": self.role.value}
        if self.content is not None:
            parts = self.content
            message["content"] = parts if isinstance(parts, str) else [p.to_dict() for p in parts]
        if self.name is not None:
            message["name"] = self.name
        if self.tool_calls is not None:
            message["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        message.update(thaw(self.extra))
        if self.native is not None:
            message["native"] = self.native.to_dict()
        return message

    @classmethod
    def from_dict(cls, data: Mapping[str, Json], *, path: str = "message") -> Message:
        """Return the message that `data` describes.

        Raises:
            InvalidRequestError: naming the place below `path` and what belongs there.
        """
        if not isinstance(data, Mapping):
            raise InvalidRequestError(path, f"must be an object, not {type(data).__name__}")
        rest = dict(data)
        role = _role(rest.pop("role", None), path)
        known: dict[str, Json] = {}
        for name in ("name", "tool_call_id"):
            value = rest.get(name)
            if isinstance(value, str):
                known[name] = rest.pop(name)
            elif value is not None:
                raise InvalidRequestError(f"{path}.{name}", "must be a string")
        if Native.is_dict(rest.get("native")):
            known["native"] = Native.from_dict(rest.pop("native"))
        if rest.get("content") is not None:
            known["content"] = _parsed_content(rest.pop("content"), f"{path}.content")
        if rest.get("tool_calls") is not None and _plain_calls(rest["tool_calls"], path):
            calls = rest.pop("tool_calls")
            known["tool_calls"] = tuple(
                ToolCall.from_dict(call, path=f"{path}.tool_calls[{i}]")
                for i, call in enumerate(calls)
            )
        return cls(role, **known, extra=FrozenDict(rest))


MessageInput: TypeAlias = (
    str | Message | Mapping[str, Json] | Sequence[str | Message | Mapping[str, Json]]
)
"""What every call takes as its messages: a prompt, one message, or a list of either."""


def normalize_messages(messages: MessageInput) -> list[Message]:
    """Return the conversation that `messages` stands for; a bare string is a user turn.

    Raises:
        InvalidRequestError: naming the message and field, as in `messages[2].content[0].text`.
    """
    if isinstance(messages, str | Message | Mapping):
        messages = [messages]
    if not isinstance(messages, Sequence) or isinstance(messages, bytes | bytearray):
        kind = type(messages).__name__
        reason = f"must be a string, a message or a list of messages, not {kind}"
        raise InvalidRequestError("messages", reason)
    return [_message(item, f"messages[{i}]") for i, item in enumerate(messages)]


def _message(item: object, path: str) -> Message:
    if isinstance(item, Message):
        return item
    if isinstance(item, str):
        return Message(Role.USER, item)
    if isinstance(item, Mapping):
        return Message.from_dict(item, path=path)
    reason = f"must be a string, a Message or an object, not {type(item).__name__}"
    raise InvalidRequestError(path, reason)


def _role(value: object, path: str = "message") -> Role:
    try:
        return Role(str(value))
    except ValueError:
        names = ", ".join(role.value for role in Role)
        raise InvalidRequestError(
            f"{path}.role", f"must be one of {names}, not {value!r}"
        ) from None


def _content(content: str | Sequence[ContentPart] | None) -> str | tuple[ContentPart, ...] | None:
    if content is None or isinstance(content, str):
        return content
    return tuple(content)


def _parsed_content(content: object, path: str) -> str | tuple[ContentPart, ...]:
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return tuple(_part(part, f"{path}[{i}]") for i, part in enumerate(content))
    reason = f"must be a string or a list of parts, not {type(content).__name__}"
    raise InvalidRequestError(path, reason)


def _part(part: object, path: str) -> ContentPart:
    if isinstance(part, TextPart | ImagePart | AudioPart | FilePart | RawPart):
        return part
    if not isinstance(part, Mapping):
        raise InvalidRequestError(path, f"must be a part, not {type(part).__name__}")
    return part_from_dict(part, path=path)


def _plain_calls(calls: object, path: str) -> bool:
    """Whether `calls` are all ordinary function calls that `ToolCall` gives back unchanged."""
    if not isinstance(calls, list | tuple):
        raise InvalidRequestError(f"{path}.tool_calls", "must be a list")
    return all(
        isinstance(call, ToolCall)
        or ToolCall.from_dict(call, path=f"{path}.tool_calls[{i}]").to_dict() == call
        for i, call in enumerate(calls)
    )
