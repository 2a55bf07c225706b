"""A provider for your own tests: it answers from a script or a function, without a network.

    async with FakeProvider(["Paris.", RateLimitError("slow down"), "Rome."]) as provider:
        await my_code(provider)
        assert provider.calls == 3
        assert provider.requests[0].prompt == "The capital of France?"

Between `complete` and the answer lies everything that lies there for a real
provider: the wire body, the key, the cache with all its controls, the parser.
Only the server is made up.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import struct
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import orjson

from ..backends.memory import MemoryBackend
from ..cache.manager import CacheManager
from ..keys import DEFAULT_RULES, KeyRules, Request
from ..providers.cached import CachedProvider
from ..providers.failures import error_from_response
from ..providers.http import HTTPReply
from ..providers.openai_chat import CHAT_OPTIONS, ChatDialect, chat_body
from ..providers.openai_embeddings import (
    EMBEDDING_OPTIONS,
    embedding_inputs,
    parse_vector,
    vector_recordings,
)
from ..providers.outgoing import encode_body
from ..types import (
    CompletionResult,
    Message,
    MessageInput,
    Recording,
    Usage,
    WireEvent,
    normalize_messages,
)
from ..types._json import Json, thaw
from ._fake_wire import FAKE, chunks_of, completion_of, tokens_in

__all__ = ["Answer", "Answers", "FakeProvider", "FakeRequest"]

_ENDPOINT: Final = "https://fake.invalid/v1"
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class FakeRequest:
    """One call that reached the made-up server. `body` is a copy of what was on the wire."""

    body: Mapping[str, Json]
    streamed: bool = False

    @property
    def model(self) -> str:
        """The model that was asked."""
        return str(self.body["model"])

    @property
    def messages(self) -> list[Message]:
        """The conversation; empty for embeddings."""
        return normalize_messages(self.body.get("messages", []))

    @property
    def prompt(self) -> str:
        """The text of the last user turn."""
        turns = [message.text for message in self.messages if message.role == "user"]
        return turns[-1] if turns else ""

    @property
    def inputs(self) -> list[Json]:
        """The texts or token lists to embed; empty for completions."""
        return list(self.body.get("input", []))


Answer: TypeAlias = str | CompletionResult | Exception
"""What one call gets: a text, a whole result (tool calls, usage, …), or an error to raise."""

Answers: TypeAlias = Answer | Sequence[Answer] | Callable[[FakeRequest], Answer | Awaitable[Answer]]
"""One answer for every call, a script of them, or a function (plain or async) of the request."""


class FakeProvider(CachedProvider):
    """A provider whose answers you write.

    `requests` has every call that came through to it, `calls` their number: a call
    that the cache answered is not among them. Attempts are not repeated: an
    error is what the caller sees.
    """

    name = FAKE
    _fields = CHAT_OPTIONS
    _embedding_fields = EMBEDDING_OPTIONS

    def __init__(  # noqa: PLR0913 - settings of a test double, all with defaults
        self,
        answers: Answers | None = None,
        *,
        model: str = FAKE,
        embedding: Callable[[Any], Sequence[float]] | None = None,
        dimensions: int = 8,
        latency: float = 0.0,
        token_delay: float = 0.0,
        cache: CacheManager | None = None,
        key_rules: KeyRules = DEFAULT_RULES,
        tenant: str | None = None,
    ) -> None:
        """Call nothing, ever.

        Args:
            answers: see `Answers`; without, every prompt is answered with itself.
                A script that runs out raises `AssertionError`.
            model: the default model's name.
            embedding: the vector of one input; without, one that depends on the
                input alone, of unit length.
            dimensions: length of such a vector, unless the call names another.
            latency: seconds before the first byte.
            token_delay: seconds between two words of a stream.
            cache: a cache to share, which is not closed with the provider; without,
                one of its own in memory. Calls use it when they say `cache_response=True`.
            key_rules: which requests count as equal beyond the safe rules.
            tenant: a namespace of keys that others do not share.
        """
        super().__init__(
            cache or CacheManager(MemoryBackend()), owns_cache=cache is None, enabled=True
        )
        self.model = model
        self._server = _Server(answers, embedding, dimensions, latency, token_delay)
        self._rules = key_rules
        self._tenant = tenant
        self._dialect = ChatDialect(FAKE)
        self._cache.register(self._dialect)

    @property
    def requests(self) -> list[FakeRequest]:
        """The calls that reached the server, oldest first."""
        return self._server.requests

    @property
    def calls(self) -> int:
        """How many calls reached the server."""
        return len(self._server.requests)

    def fail(self, error: Exception | int, *, times: int = 1, after: int = 0) -> None:
        """Let the next `times` calls fail, before any of `answers` is used.

        `error` is raised as it is; a number is an HTTP status, and becomes the error
        that a real provider raises for it. A stream breaks after `after` chunks.
        """
        self._server.failures.extend([(_error(error), after)] * times)

    def _call(self, messages: MessageInput, options: Mapping[str, Any]) -> _FakeCall:
        body = chat_body(options.get("model") or self.model, messages, options, native=False)
        request = self._request("chat", "chat/completions", body, options)
        return _FakeCall(request, self._dialect, self._server)

    def _embed_call(self, inputs: Any, options: Mapping[str, Any]) -> _FakeEmbedCall:
        body: dict[str, Json] = {"model": options.get("model") or self.model}
        if options.get("dimensions") is not None:
            body["dimensions"] = options["dimensions"]
        items, _ = embedding_inputs(inputs)
        requests = [
            self._request("embedding", "embeddings", {**body, "input": item}, options)
            for item in items
        ]
        return _FakeEmbedCall(requests, items, body, self._server)

    def _request(
        self, kind: str, path: str, body: dict[str, Json], options: Mapping[str, Any]
    ) -> Request:
        return Request(
            kind,
            f"{_ENDPOINT}/{path}",
            body,
            tenant=self._tenant,
            salt=options.get("salt"),
            rules=self._rules,
        )


class _Server:
    """What stands in for the provider's machines."""

    def __init__(
        self,
        answers: Answers | None,
        embedding: Callable[[Any], Sequence[float]] | None,
        dimensions: int,
        latency: float,
        token_delay: float,
    ) -> None:
        self.requests: list[FakeRequest] = []
        self.failures: deque[tuple[Exception, int]] = deque()
        self.token_delay = token_delay
        self._answers = answers
        self._used = 0
        self._embedding = embedding
        self._dimensions = dimensions
        self._latency = latency

    async def completion(self, body: Mapping[str, Json]) -> dict[str, Json]:
        """Return the chat completion that answers `body`, or raise what was scripted."""
        request = await self._arrived(body)
        if self.failures:
            raise self.failures.popleft()[0]
        return completion_of(request, await self._answer(request))

    async def chunks(self, body: Mapping[str, Json]) -> AsyncGenerator[bytes, None]:
        """Yield the same answer word by word, then the terminal marker."""
        request = await self._arrived(body, streamed=True)
        error, after = self.failures.popleft() if self.failures else (None, 0)
        if error is not None and not after:
            raise error
        completion = completion_of(request, await self._answer(request))
        for number, chunk in enumerate(chunks_of(completion)):
            if error is not None and number >= after:
                raise error
            if number and self.token_delay:
                await asyncio.sleep(self.token_delay)
            yield orjson.dumps(chunk)
        if error is not None:
            raise error
        yield b"[DONE]"

    async def embeddings(self, body: Mapping[str, Json]) -> dict[str, Json]:
        """Return the vectors that answer `body`."""
        request = await self._arrived(body)
        if self.failures:
            raise self.failures.popleft()[0]
        vectors = [self._vector(item, body.get("dimensions")) for item in request.inputs]
        tokens = sum(tokens_in(str(item)) for item in request.inputs)
        return {
            "object": "list",
            "model": request.model,
            "data": [
                {"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    async def _arrived(self, body: Mapping[str, Json], *, streamed: bool = False) -> FakeRequest:
        # Through the wire's encoder: what has no JSON form fails here as it does for real.
        request = FakeRequest(json.loads(encode_body(body)), streamed)
        self.requests.append(request)
        await asyncio.sleep(self._latency)
        return request

    async def _answer(self, request: FakeRequest) -> CompletionResult:
        answers = self._answers
        answer: Any = answers
        if answers is None:
            answer = request.prompt
        elif callable(answers):
            answer = answers(request)
            if inspect.isawaitable(answer):
                answer = await answer
        elif not isinstance(answers, str | CompletionResult | Exception):
            answer = self._next(answers)
        if isinstance(answer, Exception):
            raise answer
        return CompletionResult(content=answer) if isinstance(answer, str) else answer

    def _next(self, script: Sequence[Answer]) -> Answer:
        if self._used >= len(script):
            msg = f"the script has {len(script)} answers, and this is one call more"
            raise AssertionError(msg)
        self._used += 1
        return script[self._used - 1]

    def _vector(self, item: Json, dimensions: int | None) -> list[float]:
        if self._embedding is not None:
            return list(self._embedding(item))
        count = dimensions or self._dimensions
        stream = hashlib.shake_256(json.dumps(item).encode()).digest(count * 2)
        numbers = [n / 32_768 - 1 for n in struct.unpack(f"<{count}H", stream)]
        norm = sum(n * n for n in numbers) ** 0.5 or 1.0
        return [n / norm for n in numbers]


@dataclass(frozen=True, slots=True)
class _FakeCall:
    """One completion, ready to be asked for."""

    request: Request
    dialect: ChatDialect
    server: _Server

    def is_given_away_by(self, recording: Recording) -> bool:  # noqa: ARG002 - the protocol's
        """Return that there is nothing to tell."""
        return False

    def snapshot(self) -> _FakeCall:
        """Return the same call with a request that nobody else can change."""
        return replace(self, request=self.request.snapshot())

    async def send(self) -> Recording:
        """Return the complete answer."""
        return Recording(body=orjson.dumps(await self.server.completion(self.request.body)))

    async def stream(self) -> AsyncGenerator[WireEvent, None]:
        """Yield the answer's chunks."""
        started = time.monotonic()
        async for chunk in self.server.chunks(self.request.body):
            yield WireEvent(chunk, None, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _FakeEmbedCall:
    """A list of inputs to embed."""

    requests: Sequence[Request]
    inputs: Sequence[Json]
    body: Mapping[str, Json]
    server: _Server
    provider: str = FAKE

    def snapshot(self) -> _FakeEmbedCall:
        """Return the same call with inputs that nobody else can change."""
        requests = [request.snapshot() for request in self.requests]
        inputs = [request.body["input"] for request in requests]
        return replace(self, requests=requests, inputs=inputs, body=thaw(self.body))

    async def send(self, indices: Sequence[int]) -> list[Recording]:
        """Return a recording per input at `indices`."""
        inputs = [self.inputs[index] for index in indices]
        answer = await self.server.embeddings({**self.body, "input": inputs})
        return vector_recordings(HTTPReply(_OK, {}, orjson.dumps(answer)), inputs, FAKE)

    def parse(self, recording: Recording) -> tuple[tuple[float, ...], Usage | None, str | None]:
        """Return the vector, its share of the usage, and the model."""
        return parse_vector(recording.body or b"", FAKE)


def _error(error: Exception | int) -> Exception:
    if isinstance(error, int):
        return error_from_response(FAKE, error, {}, b'{"error": {"message": "made to fail"}}')
    return error
