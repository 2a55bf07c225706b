"""What a call gives back: the answer, where it came from, and what that saved."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, fields, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, TypeAlias

from ._built import Built
from ._json import FrozenDict, Json, decimal_text, freeze, thaw
from .messages import Message, Role, ToolCall
from .native import Native
from .usage import Usage

__all__ = ["CacheInfo", "CacheStatus", "Choice", "CompletionResult", "EmbeddingResult"]

CacheStatus: TypeAlias = Literal["hit", "miss", "bypass", "semantic"]

_EMPTY = FrozenDict()
_OK = 200


@dataclass(frozen=True)
class CacheInfo(Built):
    """Where an answer came from.

    - `status`: `hit` (stored, or shared with an identical call in flight), `miss`
      (the provider was called), `bypass` (the cache took no part; `reason` says
      why), `semantic` (stored for a request of the same meaning).
    - `key`, `collection`, `sample`: the entry's place.
    - `tier`: `memory`, `backend`, or `flight` for a call that joined another's.
    - `age`: seconds since the answer was made. `stale`: past its time to live.
    - `saved_seconds`, `saved_cost`: what the hit spared; `None` when unknown.
    - `stored`: the answer is in the cache now; not yet, where its write goes on behind the
      call. `reason`: why not, or why bypassed.
    - `items`, `items_hit`: for embeddings, inputs asked and inputs found; `tier`
      (`memory` when all of these came from there), `age` (the oldest's) and savings
      are those of the inputs found.
    """

    status: CacheStatus = "bypass"
    key: str | None = None
    collection: str | None = None
    sample: int = 0
    tier: str | None = None
    age: float | None = None
    stale: bool = False
    saved_seconds: float | None = None
    saved_cost: Decimal | None = None
    stored: bool = False
    reason: str | None = None
    items: int = 1
    items_hit: int = 0
    # No field: what stands behind it, the store and its tasks, is nothing to copy or to compare.
    _reject: InitVar[Callable[[], Awaitable[bool]] | None] = None

    def __post_init__(self, _reject: Callable[[], Awaitable[bool]] | None) -> None:
        if _reject is not None:
            object.__setattr__(self, "_reject", _reject)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle and a copy hold: all but the handle behind `reject`."""
        return {name: value for name, value in self.__dict__.items() if name != "_reject"}

    @property
    def hit(self) -> bool:
        """Whether no call was made for this answer."""
        return self.status in {"hit", "semantic"}

    async def reject(self) -> bool:
        """Remove the stored answer that the caller found bad; the next equal call asks again.

        Returns whether an entry was removed. An answer that replaced it in the
        meantime stays. A copy from a pickle, `deepcopy` or `from_dict` removes nothing.
        """
        handle: Callable[[], Awaitable[bool]] | None = self.__dict__.get("_reject")
        return False if handle is None else await handle()

    def to_dict(self) -> dict[str, Json]:
        """Return every field but the handle behind `reject`."""
        data: dict[str, Json] = {name: getattr(self, name) for name in _INFO_FIELDS}
        data["saved_cost"] = decimal_text(self.saved_cost)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> CacheInfo:
        """Return the info that `to_dict` described; its `reject` does nothing."""
        known: dict[str, Any] = {name: data[name] for name in _INFO_FIELDS if name in data}
        if known.get("saved_cost") is not None:
            known["saved_cost"] = Decimal(known["saved_cost"])
        return cls(**known)


_INFO_FIELDS = tuple(f.name for f in fields(CacheInfo))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several answers to one request (`n > 1`)."""

    index: int
    message: Message
    finish_reason: str | None = None
    logprobs: Json = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "logprobs", freeze(self.logprobs))

    def to_dict(self) -> dict[str, Json]:
        """Return the choice in the chat-completions shape."""
        return {
            "index": self.index,
            "message": self.message.to_dict(),
            "finish_reason": self.finish_reason,
            "logprobs": thaw(self.logprobs),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> Choice:
        """Return the choice that `to_dict` described."""
        message = Message.from_dict(data["message"])
        return cls(data["index"], message, data.get("finish_reason"), data.get("logprobs"))


@dataclass(frozen=True)
class CompletionResult(Built):
    """An answer; immutable, and equal to another when everything but `cache` is.

    `content`, `tool_calls`, `reasoning` and `refusal` are those of the first
    choice; `choices` holds all of them when `n > 1` and is empty otherwise.
    `raw_json` is the provider's own JSON as it came (for a stream: the message
    that its chunks add up to), `raw` the same parsed. `extra` keeps fields of the
    assistant's message that we do not model, `native` whose words the turn has, and
    which they are in an API other than chat completions, so `to_message()` loses nothing.
    `samples` holds every answer when a call asked for `samples=k`.
    """

    content: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    usage: Usage | None = None
    reasoning: str | None = None
    refusal: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    status: int = _OK
    error: str | None = None
    id: str | None = None
    logprobs: Json = None
    choices: tuple[Choice, ...] = ()
    extra: Mapping[str, Json] = _EMPTY
    native: Native | None = None
    raw_json: bytes | None = field(default=None, repr=False)
    samples: tuple[CompletionResult, ...] = field(default=(), compare=False, repr=False)
    cache: CacheInfo | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        # Written out: this runs on every hit that comes from a store.
        if self.tool_calls is not None and type(self.tool_calls) is not tuple:
            object.__setattr__(self, "tool_calls", tuple(self.tool_calls))
        if type(self.choices) is not tuple:
            object.__setattr__(self, "choices", tuple(self.choices))
        if type(self.samples) is not tuple:
            object.__setattr__(self, "samples", tuple(self.samples))
        if type(self.extra) is not FrozenDict:
            object.__setattr__(self, "extra", FrozenDict(self.extra))
        if self.logprobs is not None:
            object.__setattr__(self, "logprobs", freeze(self.logprobs))

    @property
    def ok(self) -> bool:
        """Whether the call succeeded: status 200 and no error."""
        return self.status == _OK and self.error is None

    @property
    def has_tool_calls(self) -> bool:
        """Whether the model asks for at least one tool call."""
        return bool(self.tool_calls)

    @cached_property
    def raw(self) -> Json:
        """The provider's JSON, parsed afresh for this result: changing it harms nobody else."""
        return None if self.raw_json is None else json.loads(self.raw_json)

    def with_cache(self, cache: CacheInfo | None) -> CompletionResult:
        """Return the same answer with another `cache`."""
        # A hit is served a million times: copying the attribute dict costs a third of replace().
        attributes = self.__dict__.copy()
        attributes.pop("raw", None)
        attributes["cache"] = cache
        twin = object.__new__(CompletionResult)
        object.__setattr__(twin, "__dict__", attributes)
        return twin

    def with_usage(self, usage: Usage) -> CompletionResult:
        """Return the same answer with another `usage`."""
        attributes = {name: value for name, value in self.__dict__.items() if name != "raw"}
        return CompletionResult.of(**{**attributes, "usage": usage})

    def with_samples(self, samples: Sequence[CompletionResult]) -> CompletionResult:
        """Return the same answer carrying all `samples` of its request."""
        return replace(self, samples=tuple(samples))

    def to_message(self) -> Message:
        """Return the assistant turn to append to the conversation."""
        return Message(
            Role.ASSISTANT,
            self.content,
            tool_calls=self.tool_calls or None,
            extra=self.extra,
            native=self.native,
        )

    def parse(self, into: type[Any] | Any) -> Any:
        """Return `content` validated as `into`: a pydantic model, dataclass or any type.

        Raises:
            pydantic.ValidationError: the text is not that type's JSON.
            ValueError: there is no content (a refusal, or only tool calls).
        """
        if self.content is None:
            msg = f"no content to parse: {self.refusal or self.finish_reason}"
            raise ValueError(msg)
        from pydantic import TypeAdapter  # noqa: PLC0415 - 60 ms that only this method needs

        return TypeAdapter(into).validate_json(self.content)

    def to_dict(self) -> dict[str, Json]:
        """Return every field as JSON; `raw_json` as text, `cache` without its handle."""
        return {
            "content": self.content,
            "tool_calls": _dicts(self.tool_calls),
            "usage": None if self.usage is None else self.usage.to_dict(),
            "reasoning": self.reasoning,
            "refusal": self.refusal,
            "model": self.model,
            "finish_reason": self.finish_reason,
            "status": self.status,
            "error": self.error,
            "id": self.id,
            "logprobs": thaw(self.logprobs),
            "choices": _dicts(self.choices),
            "extra": thaw(self.extra),
            "native": None if self.native is None else self.native.to_dict(),
            "raw_json": None if self.raw_json is None else self.raw_json.decode(),
            "samples": _dicts(self.samples),
            "cache": None if self.cache is None else self.cache.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> CompletionResult:
        """Return the result that `to_dict` described."""
        values = dict(data)
        for name, parse in _PARSERS.items():
            if values.get(name) is not None:
                values[name] = parse(values[name])
        values["samples"] = tuple(cls.from_dict(item) for item in data.get("samples") or ())
        return cls(**values)


def _dicts(values: Sequence[ToolCall | Choice | CompletionResult] | None) -> list[Json] | None:
    return None if values is None else [value.to_dict() for value in values]


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "tool_calls": lambda calls: tuple(ToolCall.from_dict(call) for call in calls),
    "usage": Usage.from_dict,
    "choices": lambda choices: tuple(Choice.from_dict(choice) for choice in choices),
    "native": Native.from_dict,
    "raw_json": lambda text: text.encode(),
    "cache": CacheInfo.from_dict,
}


@dataclass(frozen=True)
class EmbeddingResult:
    """Vectors in the order of the inputs; `embeddings[i]` has the model's dimension.

    `usage` is what the vectors cost when they were made, found and fresh together.
    """

    embeddings: tuple[tuple[float, ...], ...] = ()
    usage: Usage | None = None
    model: str | None = None
    status: int = _OK
    error: str | None = None
    cache: CacheInfo | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not (type(self.embeddings) is tuple and all(type(v) is tuple for v in self.embeddings)):
            object.__setattr__(self, "embeddings", tuple(tuple(v) for v in self.embeddings))

    @property
    def embedding(self) -> tuple[float, ...]:
        """The first vector.

        Raises:
            IndexError: there is none.
        """
        return self.embeddings[0]

    @property
    def ok(self) -> bool:
        """Whether the call succeeded: status 200 and no error."""
        return self.status == _OK and self.error is None

    def to_dict(self) -> dict[str, Json]:
        """Return every field as JSON."""
        return {
            "embeddings": [list(vector) for vector in self.embeddings],
            "usage": None if self.usage is None else self.usage.to_dict(),
            "model": self.model,
            "status": self.status,
            "error": self.error,
            "cache": None if self.cache is None else self.cache.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> EmbeddingResult:
        """Return the result that `to_dict` described."""
        values = dict(data)
        for name in ("usage", "cache"):
            if values.get(name) is not None:
                values[name] = _PARSERS[name](values[name])
        return cls(**values)
