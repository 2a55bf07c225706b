"""Counting what a call would read: text by the model's vocabulary, and what the API puts around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

from ..providers.openai_chat import wire_messages
from ..providers.tools import wire_tool
from ..types import MessageInput
from ..types._json import Json
from .tools import tools_text
from .vocabulary import text_counter, vocabulary_of

__all__ = ["TokenCount", "count_tokens"]

# OpenAI cookbook, "How to count tokens with tiktoken": three around a message, one more with a
# name, three that begin the answer. Newer models begin it with two, in all recorded exchanges.
_DOCUMENTED: Final = re.compile(r"(gpt-4o|gpt-4|gpt-3\.5-turbo|gpt-35-turbo|chatgpt-4o)")
_MEASURED: Final = re.compile(r"gpt-5")
_PER_MESSAGE: Final = 3
_PER_NAME: Final = 1
_ANSWER: Final = 3
_NEWER_ANSWER: Final = 2
# The first model of its line put four around a message, and a name in the role's place.
_FIRST: Final = re.compile(r"gpt-3\.5-turbo-0301")
# Around the tools: fewer beside a system message, in which they stand then.
_TOOLS: Final = 9
_TOOLS_IN_SYSTEM: Final = 5
# https://platform.openai.com/docs/guides/images-vision: gpt-4o, low detail and 1024 by 1024 pixels.
_LOW_IMAGE: Final = 85
_IMAGE: Final = 765
# The vocabulary that stands in for one that is not public.
_STAND_IN: Final = "o200k_base"
_ASCII_PER_TOKEN: Final = 4
_PLAIN_ROLES: Final = frozenset({"system", "developer", "user", "assistant"})


class TokenCount(int):
    """A number of tokens; `estimated` where the model's own count may be another."""

    estimated: bool

    def __new__(cls, tokens: int, *, estimated: bool = False) -> Self:
        """Return the count of `tokens`."""
        count = super().__new__(cls, tokens)
        count.estimated = estimated
        return count

    @property
    def tokens(self) -> int:
        """The number alone."""
        return int(self)

    def __repr__(self) -> str:
        """Return what makes it again."""
        estimated = ", estimated=True" if self.estimated else ""
        return f"TokenCount({int(self)}{estimated})"

    def __getnewargs_ex__(self) -> tuple[tuple[int], dict[str, bool]]:
        """Return what a copy and a pickle are made from."""
        return (int(self),), {"estimated": self.estimated}


def count_tokens(content: MessageInput, *, model: Any, tools: Any = None) -> TokenCount:
    """Return how many tokens `content` is to `model`, a name or a profile.

    A text is counted alone. Messages are counted as a chat request, with what the API
    puts around them, and with `tools` as OpenAI shows them to the model. The schema of
    a response format is not counted.

    Exact for plain text, and for messages of plain text alone, where the vocabulary is
    public (OpenAI's models) and the `tokens` extra is installed; the first count of a
    vocabulary then takes half a second. Otherwise `estimated` is set: tools, images and
    tool calls are shown to models in ways that nobody documents (seven of eight recorded
    requests with tools are met exactly), and other makers' vocabularies are not public:
    OpenAI's stands in, or four characters a token without the extra. For Anthropic's
    models its API counts exactly.

    Raises:
        InvalidRequestError: a message or a tool of the wrong shape.
    """
    counter = _Counter(model)
    if isinstance(content, str):
        total = counter.text(content)
    else:
        total = counter.messages(wire_messages(content))
    if tools:
        in_system = not isinstance(content, str) and counter.has_system
        total += counter.tools(tools, in_system=in_system)
    return TokenCount(total, estimated=counter.estimated)


class _Counter:
    """Adds up, and notes when a number is not certain."""

    def __init__(self, model: Any) -> None:
        name = getattr(model, "model_name", model)
        self._name = str(name).removeprefix("openai/").removeprefix("ft:")
        vocabulary = vocabulary_of(model)
        exact = None if vocabulary is None else text_counter(vocabulary)
        self.estimated = exact is None
        self.has_system = False
        self.text: Callable[[str], int] = exact or text_counter(_STAND_IN) or _rough

    def messages(self, messages: Sequence[Json]) -> int:
        """Return the tokens of a chat request, without its tools."""
        newer = _MEASURED.match(self._name) is not None
        if not newer and not _DOCUMENTED.match(self._name):
            self.estimated = True
        around = _PER_MESSAGE + (_FIRST.match(self._name) is not None)
        total = _NEWER_ANSWER if newer else _ANSWER
        for message in messages:
            total += around + self._message(message)
        return total

    def _message(self, message: Mapping[str, Json]) -> int:
        role = message["role"]
        self.has_system = self.has_system or role in {"system", "developer"}
        total = self.text(role) + self._content(message.get("content"))
        for field, value in message.items():
            if field == "name":
                total += _PER_NAME + self.text(str(value))
            elif field == "tool_calls":
                self.estimated = True
                total += sum(self._call(call) for call in value or ())
            elif field not in {"role", "content"}:
                self.estimated = True
        if role not in _PLAIN_ROLES:
            self.estimated = True
        return total

    def _call(self, call: Mapping[str, Json]) -> int:
        function = call.get("function") or call.get("custom") or {}
        texts = (function.get("name"), function.get("arguments") or function.get("input"))
        return _PER_MESSAGE + sum(self.text(str(text)) for text in texts if text)

    def _content(self, content: Json) -> int:
        if isinstance(content, str):
            return self.text(content)
        total = 0
        for part in content or ():
            if part["type"] == "text":
                total += self.text(str(part.get("text") or ""))
                continue
            self.estimated = True
            if part["type"] == "image_url":
                image = part.get("image_url")
                low = isinstance(image, Mapping) and image.get("detail") == "low"
                total += _LOW_IMAGE if low else _IMAGE
        return total

    def tools(self, tools: Any, *, in_system: bool) -> int:
        """Return the tokens of the tools of a request."""
        self.estimated = True
        wire = [wire_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
        return self.text(tools_text(wire)) + (_TOOLS_IN_SYSTEM if in_system else _TOOLS)


def _rough(text: str) -> int:
    """Return a guess: four ASCII characters a token, and any other character one."""
    ascii_only = sum(character < "\x80" for character in text)
    return -(-ascii_only // _ASCII_PER_TOKEN) + len(text) - ascii_only
