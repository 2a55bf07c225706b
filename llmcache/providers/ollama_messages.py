"""Messages for Ollama's chat: what it said itself goes back as it came, the rest is compiled.

A message there has text in `content`, pictures in `images`, calls with their arguments
as an object, and names the tool whose result it is in `tool_name`. Dicts that are
written so pass as they are.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..errors import InvalidRequestError
from ..types import ImagePart, Message, MessageInput
from ..types._json import Json
from .ollama_answer import CHAT
from .openai_chat_messages import ChatServer, wire_messages
from .turns import native_of

__all__ = ["ollama_messages", "wire_images"]

# What others said comes in words that all know; Ollama's own words are the same on every server.
_SERVER: Final = ChatServer("ollama")
_ROLES: Final = {"developer": "system", "function": "tool"}
# What chat completions say of a turn that Ollama has no word for.
_FOREIGN: Final = frozenset(
    "annotations audio function_call reasoning reasoning_content reasoning_details refusal".split()
)
_COMPILED: Final = frozenset({"role", "content", "tool_calls", "tool_call_id", "images"}) | _FOREIGN


def ollama_messages(messages: MessageInput) -> list[Json]:
    """Return the messages for the wire.

    Raises:
        InvalidRequestError: naming the place, as in `messages[3].content[0].type`.
    """
    neutral = wire_messages(messages, _SERVER)
    given: Any = [messages] if isinstance(messages, str | Message | Mapping) else messages
    compiler = _Compiler()
    return [
        compiler.message(item, message, f"messages[{i}]")
        for i, (item, message) in enumerate(zip(given, neutral, strict=True))
    ]


class _Compiler:
    """Goes through a conversation; knows the calls that results further on belong to."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._server_ids: set[str] = set()

    def message(self, item: object, message: Mapping[str, Any], path: str) -> Json:
        """Return one message; `message` is `item` in the neutral words."""
        calls = _calls(message, path)
        self._names.update({name: call["function"]["name"] for name, call in _by_id(calls)})
        native = _native(item, path)
        own = calls if native is None else _calls(native, path)
        self._server_ids.update(name for name, call in _by_id(own) if _is_own(call))
        if native is not None:
            return native
        role = message["role"]
        out: dict[str, Json] = {"role": _ROLES.get(role, role)}
        text, images = _content(message, path)
        if text is not None:
            out["content"] = text
        images += wire_images(message.get("images") or (), f"{path}.images")
        if images:
            out["images"] = images
        thinking = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(thinking, str):
            out["thinking"] = thinking
        if calls:
            out["tool_calls"] = [
                _call(call, f"{path}.tool_calls[{i}]", is_answer=native_of(item) is not None)
                for i, call in enumerate(calls)
            ]
        out.update({name: value for name, value in message.items() if name not in _COMPILED})
        if out["role"] == "tool":
            self._result(message, out)
        return out

    def _result(self, message: Mapping[str, Any], out: dict[str, Json]) -> None:
        """Say whose result it is: by the tool's name, and by the id if that is the server's own."""
        given = message.get("tool_call_id")
        identifier = given if isinstance(given, str) else ""
        name = out.pop("name", None) or self._names.get(identifier)
        if name is not None:
            out.setdefault("tool_name", name)
        if identifier in self._server_ids:
            out["tool_call_id"] = identifier


def _native(item: object, path: str) -> dict[str, Any] | None:
    """Return the message as Ollama said it, if it did."""
    found = native_of(item)
    native: dict[str, Any] | None = None if found is None else found.for_api(CHAT)
    if native is not None and not isinstance(native, dict):
        raise InvalidRequestError(f"{path}.native.body", "must be the message that Ollama sent")
    return native


def _by_id(calls: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the calls that have an id, with it."""
    for call in calls:
        identifier = call.get("id")
        if isinstance(identifier, str) and identifier:
            yield identifier, call


def _calls(message: Mapping[str, Any], path: str) -> list[Mapping[str, Any]]:
    """Return the tool calls of a message, each with a `function` that has a name."""
    legacy = message.get("function_call")
    calls = message.get("tool_calls") or ([{"function": legacy}] if legacy else [])
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise InvalidRequestError(f"{path}.tool_calls", "must be a list")
    return [_named(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(calls)]


def _named(call: object, path: str) -> Mapping[str, Any]:
    to_dict = getattr(call, "to_dict", None)
    value: Any = call if to_dict is None else to_dict()
    if isinstance(value, Mapping):
        found: Mapping[str, Any] = value
        custom = found.get("custom")
        if isinstance(custom, Mapping):
            # A free-form tool's input is text; a function's arguments are an object.
            text = {"name": custom.get("name"), "arguments": {"input": custom.get("input")}}
            found = {"id": found.get("id"), "function": text, "custom": custom}
        function = found.get("function")
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            return found
    raise InvalidRequestError(path, "a tool call needs a `function` with a `name`")


def _is_own(call: Mapping[str, Any]) -> bool:
    """Whether a call is in Ollama's words, ids and all; another API's ids mean nothing to it."""
    return isinstance(call["function"].get("arguments"), Mapping) and "custom" not in call


def _call(call: Mapping[str, Any], path: str, *, is_answer: bool) -> Json:
    if _is_own(call):
        return dict(call)
    function = call["function"]
    arguments = function.get("arguments")
    parsed = arguments
    if not isinstance(parsed, Mapping):
        try:
            parsed = json.loads(arguments, parse_constant=_refuse) if arguments else {}
        except (ValueError, TypeError, RecursionError):
            parsed = None
    if not isinstance(parsed, Mapping) and is_answer:
        # What a model wrote cannot be mended by its caller; it reads as it would by Claude.
        parsed = {"INVALID_JSON": arguments}
    if not isinstance(parsed, Mapping):
        reason = "must be a JSON object, which is how Ollama takes them"
        raise InvalidRequestError(f"{path}.function.arguments", reason)
    return {"function": {"name": function["name"], "arguments": parsed}}


def _refuse(constant: str) -> Json:
    """Raise: Python reads NaN and the like, which no JSON has, and which could not be sent."""
    raise ValueError(constant)


def _content(message: Mapping[str, Any], path: str) -> tuple[str | None, list[str]]:
    """Return the text of a message, parts joined, and its pictures."""
    content = message.get("content")
    if content is None:
        refusal = message.get("refusal")
        return (refusal if isinstance(refusal, str) else None), []
    if isinstance(content, str):
        return content, []
    texts, images = [], []
    for i, part in enumerate(content):
        place = f"{path}.content[{i}]"
        if part["type"] == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part["type"] == "image_url":
            images.append(_image(part.get("image_url"), f"{place}.image_url"))
        else:
            raise InvalidRequestError(f"{place}.type", f"Ollama takes no {part['type']!r}")
    return "".join(texts), images


def wire_images(images: object, path: str) -> list[str]:
    """Return pictures as base64: of bytes, of an `ImagePart` or a data URL; base64 stays.

    Raises:
        InvalidRequestError: none of these. A path is none: `ImagePart.from_file` reads one.
    """
    if not isinstance(images, Sequence) or isinstance(images, str | bytes):
        raise InvalidRequestError(path, "must be a list of pictures")
    return [_image(image, f"{path}[{i}]") for i, image in enumerate(images)]


def _image(image: object, path: str) -> str:
    if isinstance(image, Mapping):
        image = image.get("url")
    if isinstance(image, ImagePart):
        image = image.url
    if isinstance(image, bytes | bytearray):
        return base64.b64encode(image).decode("ascii")
    if isinstance(image, str):
        head, mark, data = image.partition(";base64,")
        if mark and head[:5].lower() == "data:":
            return data
        if "://" not in image and not head.startswith("data:"):
            return image
    reason = "must be the picture itself, as bytes, base64 or a data URL: Ollama fetches nothing"
    raise InvalidRequestError(path, reason)
