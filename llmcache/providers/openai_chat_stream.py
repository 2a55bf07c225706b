"""Chat-completion chunks, added up to the completion they stand for.

The sum is a chat completion like any other and is parsed by the same function, so
streamed and whole answers cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from ..errors import InvalidResponseError, StreamInterruptedError
from ..streaming.events import result_events
from ..types import CompletionResult, Native, StreamEvent, StreamEventType, WireEvent
from ..types._json import Json
from .failures import MALFORMED, embedded_error, error_from_json, snippet
from .openai_chat_answer import parse_completion
from .openai_chat_choice import StreamedChoice
from .usage import parse_usage

__all__ = ["ChatStreamDecoder"]

_Event = StreamEventType

# Padding against length analysis (OpenAI, Mistral); it says nothing.
_PADDING: Final = frozenset({"obfuscation", "p"})
_TOP_LEVEL: Final = frozenset({"choices", "usage", "object"}) | _PADDING


class ChatStreamDecoder:
    """Understands one stream of chunks."""

    def __init__(
        self, provider: str, mark: Native, choices: int = 1, *, needs_usage: bool = False
    ) -> None:
        """`provider` names the server in errors; `choices` is how many were asked for.

        `mark` is for turns with words of the server's own. A stream that says no usage is not
        whole where it `needs_usage`.
        """
        self.terminal = False
        self._provider = provider
        self._mark = mark
        self._asked = choices
        self._needs_usage = needs_usage
        self._id: Json = None
        self._top: dict[str, Json] = {}
        self._choices: dict[int, StreamedChoice] = {}
        self._whole: CompletionResult | None = None

    def feed(self, event: WireEvent) -> list[StreamEvent]:
        """Return what one chunk means.

        Raises:
            ProviderError: the chunk is an error, or not a chunk.
        """
        data = event.data
        try:
            if data.strip() == b"[DONE]":
                self.terminal = True
                choices = self._choices.values()
                return [end for choice in choices for end in choice.close_calls(self._id)]
            chunk = orjson.loads(data)
            if embedded_error(chunk) or (event.event == "error" and isinstance(chunk, Mapping)):
                raise error_from_json(self._provider, chunk, 200)
            return self._chunk(chunk, data)
        except MALFORMED as error:
            message = f"not a chat completion chunk ({error}): {snippet(data)}"
            raise InvalidResponseError(message, provider=self._provider, status=200) from error

    def finish(self) -> CompletionResult:
        """Return the whole answer.

        Raises:
            StreamInterruptedError: the stream ended without `[DONE]` and before
                every choice had its `finish_reason`.
            InvalidResponseError: the chunks add up to no answer.
        """
        if self._whole is not None:
            return self._whole
        if not self.terminal and not self._has_ended():
            done = sum(choice.has_ended for choice in self._choices.values())
            asked = max(self._asked, len(self._choices))
            message = f"the stream ended early, with {done} of {asked} choice(s) finished"
            raise StreamInterruptedError(message, provider=self._provider, retryable=True)
        try:
            choices = [self._choices[index].to_dict() for index in sorted(self._choices)]
            completion = {**self._top, "object": "chat.completion", "choices": choices}
            if self._id:  # the first one: ids of calls that were told are made of it
                completion["id"] = self._id
            raw = orjson.dumps(completion)
        except MALFORMED as error:
            message = f"chunks that add up to no chat completion ({error})"
            raise InvalidResponseError(message, provider=self._provider, status=200) from error
        return parse_completion(completion, raw, self._provider, self._mark)

    @property
    def is_whole(self) -> bool:
        """Whether every choice that was asked for has ended, and the stream too.

        A stream ends with `[DONE]`; some servers (Databricks) never send it, and
        there the usage is what comes last. `[DONE]` alone is not enough: a proxy that
        loses its server closes with it.
        """
        if self._whole is not None:
            return True
        marked = self.terminal and not self._needs_usage
        return self._has_ended() and (marked or "usage" in self._top)

    def _has_ended(self) -> bool:
        choices = self._choices.values()
        return len(choices) >= self._asked and all(choice.has_ended for choice in choices)

    def _chunk(self, chunk: Mapping[str, Any], data: bytes) -> list[StreamEvent]:
        choices = chunk.get("choices") or []
        if choices and "message" in choices[0] and "delta" not in choices[0]:
            # Some servers ignore `stream` and send the whole completion.
            self._whole = parse_completion(chunk, data, self._provider, self._mark)
            self.terminal = True
            return result_events(self._whole)
        events: list[StreamEvent] = []
        self._id = self._id or chunk.get("id")
        if not (self._top.get("id") and self._top.get("model")):
            self._introduce(chunk, events)
        for piece in choices:
            if piece.get("error"):  # OpenRouter
                raise error_from_json(self._provider, piece, 200)
            events.extend(self._choice(piece.get("index") or 0).add(piece, self._id))
        for name, value in chunk.items():
            if name not in _TOP_LEVEL:
                self._note(name, value, events)
        groq = chunk.get("x_groq") or {}
        if groq.get("error"):  # why it stopped early
            raise error_from_json(self._provider, groq, 200)
        usage = chunk.get("usage") or groq.get("usage")
        if usage:
            self._top["usage"] = usage
            events.append(StreamEvent(_Event.USAGE, parse_usage(usage)))
        return events

    def _introduce(self, chunk: Mapping[str, Any], events: list[StreamEvent]) -> None:
        """Report the id and the model once they are known; Azure's first chunk has neither."""
        known = {name: chunk[name] for name in ("id", "model") if chunk.get(name)}
        news = {name: value for name, value in known.items() if not self._top.get(name)}
        if news:
            events.append(StreamEvent(_Event.META, news))

    def _choice(self, index: int) -> StreamedChoice:
        choice = self._choices.get(index)
        if choice is None:
            if type(index) is not int:
                msg = f"{index!r} is no index of a choice"
                raise TypeError(msg)
            choice = self._choices[index] = StreamedChoice(index)
        return choice

    def _note(self, name: str, value: Json, events: list[StreamEvent]) -> None:
        known = self._top.get(name)
        if known and not value:
            return
        self._top[name] = value
        # Safety results, citations and the like appear once, somewhere; ids are repeated.
        if value and value != known and isinstance(value, dict | list):
            events.append(StreamEvent(_Event.META, {name: value}))
