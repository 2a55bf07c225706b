"""Shared by the tests of Ollama's API: a stand-in server, and the shapes it sends."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from llmcache import OllamaProvider
from llmcache.providers.ollama_answer import CHAT, OllamaDialect
from llmcache.providers.sse import NDJSONDecoder
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import CompletionResult, StreamEvent, WireEvent

from .support import Answer, Sleeps, as_json, handler

MOMENT = "2026-11-21T12:00:00.000001Z"
NDJSON = {"content-type": "application/x-ndjson"}
COUNTS = {
    "total_duration": 30,
    "load_duration": 10,
    "prompt_eval_count": 7,
    "prompt_eval_duration": 5,
    "eval_count": 3,
    "eval_duration": 6,
}


def answer(text: str | None = "hi", *, reason: str = "stop", **message: Any) -> dict[str, Any]:
    """Return what `/api/chat` answers whole."""
    said = {"role": "assistant", **({} if text is None else {"content": text}), **message}
    top = {"model": "demo", "created_at": MOMENT, "message": said}
    return {**top, "done": True, "done_reason": reason, **COUNTS}


def generated(text: str = "hi", *, reason: str = "stop", **top: Any) -> dict[str, Any]:
    """Return what `/api/generate` answers whole."""
    said = {"model": "demo", "created_at": MOMENT, "response": text, "done": True}
    return {**said, "done_reason": reason, "context": [1, 2], **COUNTS, **top}


def line(text: str = "", **message: Any) -> dict[str, Any]:
    """Return one line of a chat that goes on."""
    said = {"role": "assistant", "content": text, **message}
    return {"model": "demo", "created_at": MOMENT, "message": said, "done": False}


def last(**top: Any) -> dict[str, Any]:
    """Return the line that closes a chat."""
    return {**answer(""), **top}


def call(
    name: str = "f", arguments: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": dict(arguments or {})}, **more}


def ndjson(*lines: Mapping[str, Any] | str) -> bytes:
    """Return lines as a stream; text goes as it is."""
    texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in lines]
    return "".join(f"{text}\n" for text in texts).encode()


def streamed(*lines: Mapping[str, Any] | str, **headers: str) -> Reply:
    return Reply(body=ndjson(*lines), headers={**NDJSON, **headers})


def outcome(stream: bytes, kind: str = CHAT) -> tuple[CompletionResult, bool]:
    """Return what our decoders make of a stream, and whether it may be stored."""
    lines, decoder = NDJSONDecoder(), OllamaDialect(kind).decoder()
    for data in [*lines.feed(stream), *lines.flush()]:
        decoder.feed(WireEvent(data))
        if decoder.terminal:
            break
    return decoder.finish(), decoder.is_whole


def run(
    *lines: Mapping[str, Any] | str, kind: str = CHAT
) -> tuple[list[StreamEvent], CompletionResult]:
    """Return the events and the answer of a stream."""
    decoder = OllamaDialect(kind).decoder()
    found = NDJSONDecoder().feed(ndjson(*lines))
    events = [event for data in found for event in decoder.feed(WireEvent(data))]
    return events, decoder.finish()


class OllamaUpstream(Upstream):
    """Stands in for an Ollama server: answers chat, generate and embed, and knows two models."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.statuses: list[int] = []
        self.digests = {"demo:latest": "sha256:aa", "other:1b": "sha256:bb"}

    @property
    def asked(self) -> list[UpstreamRequest]:
        """The requests that a model answered."""
        return [request for request in self.requests if request.method == "POST"]

    def _reply(self, request: UpstreamRequest) -> Reply:
        if request.path == "/api/tags":
            models = [{"name": n, "model": n, "digest": d} for n, d in self.digests.items()]
            return Reply(body=as_json({"models": models}))
        if self.statuses:
            return Reply(self.statuses.pop(), b'{"error": "made to fail"}')
        body = request.json()
        if request.path == "/api/embed":
            items = [body["input"]] if isinstance(body["input"], str) else body["input"]
            vectors = [[b / 256 for b in hashlib.sha256(i.encode()).digest()[:8]] for i in items]
            return Reply(body=as_json({"model": body["model"], "embeddings": vectors, **COUNTS}))
        asked = json.dumps({k: v for k, v in body.items() if k != "stream"}, sort_keys=True)
        words = ["You", " asked", f" {hashlib.sha256(asked.encode()).hexdigest()[:8]}", "."]
        if request.path == "/api/generate":
            whole = generated("".join(words))
            parts = [{**generated(word), "done": False} for word in words]
            closing = generated("")
        else:
            whole, parts, closing = answer("".join(words)), [line(word) for word in words], last()
        return streamed(*parts, closing) if body["stream"] else Reply(body=as_json(whole))


def host_of(upstream: Upstream) -> str:
    return upstream.base_url.removesuffix("/v1")


def ollama_of(upstream: Upstream, **options: Any) -> OllamaProvider:
    """Return a provider of `upstream` that keeps its cache in memory and never really sleeps."""
    settings = {
        "model": "demo",
        "base_url": host_of(upstream),
        "cache_backend": "memory",
        **options,
    }
    provider = OllamaProvider(**settings)
    provider._transport._sleep = Sleeps()
    return provider


@contextlib.asynccontextmanager
async def serving(
    reply: Answer, **options: Any
) -> AsyncGenerator[tuple[OllamaProvider, Upstream], None]:
    """Open a server that answers `reply`, and a provider of it."""
    async with Upstream(handler(reply)) as upstream, ollama_of(upstream, **options) as provider:
        yield provider, upstream


def sent(upstream: Upstream) -> Sequence[Any]:
    """Return the bodies that arrived."""
    return [request.json() for request in upstream.requests]
