"""OpenAI chat completions: the wire body of a request, the meaning of an answer.

Also spoken, with variations that are all handled here, by Azure, Groq, Mistral,
DeepSeek, OpenRouter, Together, xAI, Ollama, vLLM, LM Studio and many more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import InvalidRequestError
from ..options import CALL_FIELDS, checked_object
from ..types import CompletionResult, MessageInput
from ..types._json import Json
from .json_dialect import JSONReader
from .openai_chat_answer import KIND, mark_of, parse_completion
from .openai_chat_format import wire_response_format
from .openai_chat_messages import ANYWHERE, ChatServer, chat_messages, wire_messages
from .openai_chat_stream import ChatStreamDecoder
from .tools import wire_tool

__all__ = ["CHAT_FIELDS", "CHAT_OPTIONS", "ChatDialect", "chat_body", "wire_messages"]

CHAT_FIELDS: Final = frozenset(
    "audio frequency_penalty function_call functions logit_bias logprobs "
    "max_completion_tokens metadata modalities moderation n parallel_tool_calls prediction "
    "presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention "
    "reasoning_effort safety_identifier seed service_tier stop store stream_options "
    "temperature top_logprobs top_p user verbosity web_search_options".split()
)
"""Options that go onto the wire as they are."""
CHAT_OPTIONS: Final = (
    CALL_FIELDS | CHAT_FIELDS | {"max_tokens", "response_format", "tool_choice", "tools"}
)
"""Options that a chat completion knows."""

# Models that reject `max_tokens`: https://platform.openai.com/docs/guides/reasoning
_REASONING_MODEL: Final = re.compile(r"(gpt-5|o\d)")
_CHOICES: Final = frozenset({"auto", "none", "required"})


def chat_body(
    model: str,
    messages: MessageInput,
    options: Mapping[str, Any],
    *,
    native: bool,
    deployment: str | None = None,
    server: ChatServer = ANYWHERE,
) -> dict[str, Json]:
    """Return the wire body, without the fields that only choose how it is delivered.

    `native` says that the models are OpenAI's own, whose reasoning models want
    `max_completion_tokens` where everybody else wants `max_tokens`. The name tells which
    they are: of the `deployment` where the URL has one (Azure), which then answers
    whatever `model` says. A name that hides the model leaves `max_tokens`. `server` is who
    is sent the turns that others may have said.

    Raises:
        InvalidRequestError: naming the place of a message or option of the wrong shape.
    """
    body: dict[str, Json] = {"model": model, "messages": chat_messages(messages, server)}
    for name, value in options.items():
        if value is None:
            continue
        if name in CHAT_FIELDS:
            body[name] = value
        elif name == "max_tokens":
            renamed = native and _REASONING_MODEL.match(deployment or model)
            body["max_completion_tokens" if renamed else "max_tokens"] = value
        elif name == "tools":
            body["tools"] = _wire_tools(value)
        elif name == "tool_choice":
            body["tool_choice"] = _tool_choice(value)
        elif name == "response_format":
            body["response_format"] = wire_response_format(value)
    extra = options.get("extra_body")
    if extra is not None:
        body.update(checked_object("extra_body", extra))
    return body


def _wire_tools(tools: object) -> list[Json]:
    if isinstance(tools, Mapping) or not isinstance(tools, Iterable):
        raise InvalidRequestError("tools", f"must be a list of tools, not {type(tools).__name__}")
    return [wire_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]


def _function(function: dict[str, Json]) -> Json:
    return {"type": "function", "function": function}


def _tool_choice(choice: object) -> Json:
    if isinstance(choice, str):
        if choice in _CHOICES:
            return choice
        return _function({"name": choice})
    if isinstance(choice, Mapping):
        return dict(choice)
    raise InvalidRequestError(
        "tool_choice", "must be auto, none, required, a tool's name or an object"
    )


class ChatDialect(JSONReader):
    """Understands chat completions, whole and streamed."""

    kind = KIND

    def __init__(
        self,
        provider: str = "openai",
        choices: int = 1,
        origin: str | None = None,
        *,
        needs_usage: bool = False,
    ) -> None:
        """`provider` names the server in errors and price look-ups.

        A stream of fewer than `choices` finished choices is not whole; with `needs_usage`,
        neither is one without its usage. `origin` is the server whose words the answers
        have (`Native`); `provider` unless told.
        """
        super().__init__(provider, origin)
        self._choices = choices
        self._needs_usage = needs_usage
        self._mark = mark_of(self.origin)

    def read(self, data: Json, raw: bytes) -> CompletionResult:
        """Return the answer that a chat completion is; see `JSONReader.read`."""
        return parse_completion(data, raw, self.provider, self._mark)

    def decoder(self) -> ChatStreamDecoder:
        """Return a decoder for one stream."""
        return ChatStreamDecoder(
            self.provider, self._mark, self._choices, needs_usage=self._needs_usage
        )
