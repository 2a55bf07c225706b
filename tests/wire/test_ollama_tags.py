"""`pin_digest`: a tag that was moved is another question, whichever way it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from llmcache import CacheMissError, InvalidRequestError, OllamaProvider
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

from .ollama_support import OllamaUpstream, ndjson, ollama_of
from .support import collect, final, stored


async def test_a_tag_that_moved_is_another_question() -> None:
    async with OllamaUpstream() as server, ollama_of(server, pin_digest=True) as provider:
        first = await provider.complete("q", cache_response=True)
        assert (await provider.complete("q", cache_response=True, model="demo:latest")) == first
        server.digests["demo:latest"] = "sha256:new"
        assert (await provider.complete("q", cache_response=True)).cache.hit  # type: ignore[union-attr]
        await provider.embed("q", cache_response=True)
        assert provider._digests is not None
        provider._digests.forget()
        for ask in (provider.complete, provider.generate, provider.embed):
            result = await ask("q", cache_response=True)  # type: ignore[operator]
            assert result.cache.status == "miss"
        events = await collect(provider.stream("q", cache_response=True))
        assert final(events).cache.hit  # type: ignore[union-attr]
        assert (await provider.explain("q")).stored
        assert sum(request.path == "/api/tags" for request in server.requests) == 2


async def _explained(provider: OllamaProvider, **_: Any) -> bool:
    return (await provider.explain("q")).stored


async def _warmed(provider: OllamaProvider, **_: Any) -> bool:
    return not (await provider.warm_cache(["q"])).made


async def _found(answer: Awaitable[Any]) -> bool:
    got = await answer
    result = got[0] if isinstance(got, tuple) else got
    return bool(result.cache.hit)


async def _streamed(events: Any) -> bool:
    answer = final(await collect(events))
    assert answer.cache is not None
    return answer.cache.hit


# Whatever can find an answer that is stored, and how it says that it did.
DOORS: dict[str, Callable[..., Awaitable[bool]]] = {
    "complete": lambda p, **o: _found(p.complete("q", **o)),
    "stream": lambda p, **o: _streamed(p.stream("q", **o)),
    "complete_with_stats": lambda p, **o: _found(p.complete_with_stats("q", **o)),
    "stream_with_stats": lambda p, **o: _streamed(p.stream_with_stats("q", **o)),
    "generate": lambda p, **o: _found(p.generate("q", **o)),
    "generate_stream": lambda p, **o: _streamed(p.generate_stream("q", **o)),
    "embed": lambda p, **o: _found(p.embed("q", **o)),
    "explain": _explained,
    "warm_cache": _warmed,
}


@pytest.mark.parametrize("door", DOORS)
async def test_no_door_leads_past_a_tag_that_moved(door: str) -> None:
    async with OllamaUpstream() as server, ollama_of(server, pin_digest=True) as provider:
        await provider.complete("q", cache_response=True)
        await provider.generate("q", cache_response=True)
        await provider.embed("q", cache_response=True)
        assert await DOORS[door](provider, cache_response=True)
        server.digests["demo:latest"] = "sha256:new"
        assert provider._digests is not None
        provider._digests.forget()
        assert not await DOORS[door](provider, cache_response=True)


@pytest.mark.parametrize("how", ["rewrite_cache", "regen_cache"])
async def test_what_is_made_anew_is_an_answer_of_the_model_that_made_it(how: str) -> None:
    async with OllamaUpstream() as server, ollama_of(server, pin_digest=True) as provider:
        server.digests = {"demo:latest": "sha256:new"}
        await provider.complete_with_stats("q", cache_response=True, **{how: True})  # type: ignore[arg-type]
        (entry,) = await stored(provider)
        assert b"sha256:new" in entry.identity


async def test_offline_takes_the_digest_that_was_known_last() -> None:
    async with OllamaUpstream() as server, ollama_of(server, pin_digest=True) as provider:
        first = await provider.complete("q", cache_response=True)
        server.digests["demo:latest"] = "sha256:new"
        assert provider._digests is not None
        provider._digests.forget()
        for door in ("complete", "stream", "complete_with_stats", "stream_with_stats"):
            assert await DOORS[door](provider, mode="offline")
        again, _ = await provider.complete_with_stats("q", mode="offline")
        assert again == first
        assert sum(request.path == "/api/tags" for request in server.requests) == 1


async def test_what_is_refused_asks_for_no_tag() -> None:
    wrong: tuple[dict[str, Any], ...] = {"temprature": 1}, {"extra_body": {"x": object()}}
    async with OllamaUpstream() as server, ollama_of(server, pin_digest=True) as provider:
        for options in wrong:
            for door in ("complete", "stream", "complete_with_stats", "stream_with_stats"):
                with pytest.raises(InvalidRequestError):
                    await DOORS[door](provider, cache_response=True, **options)
        assert server.requests == []


async def test_what_the_caller_changes_while_a_tag_is_looked_up_is_not_asked() -> None:
    inner = OllamaUpstream()
    messages: list[Any] = [{"role": "user", "content": "as it was", "tags": ["a"]}]

    def reply(request: UpstreamRequest) -> Reply:
        if request.path == "/api/tags":
            messages[0]["content"] = "changed"
            messages[0]["tags"].append("b")
        return inner._reply(request)

    async with Upstream(reply) as upstream, ollama_of(upstream, pin_digest=True) as provider:
        await provider.complete(messages, cache_response=True)
        (sent,) = upstream.requests[1].json()["messages"]
        assert (sent["content"], sent["tags"]) == ("as it was", ["a"])


async def test_a_call_whose_digest_nobody_looked_up_is_not_cached() -> None:
    """Who builds a door of their own and leaves out the step before the cache loses the cache."""
    async with OllamaUpstream() as server, ollama_of(server, pin_digest=True) as provider:
        await provider.complete("q", cache_response=True)
        control, call = provider._asked("q", {"cache_response": True})
        result = await provider.cache.complete(call, control)
        assert result.cache is not None
        assert result.cache.status == "bypass"


async def test_without_pinning_a_tag_is_a_name() -> None:
    async with OllamaUpstream() as server, ollama_of(server) as provider:
        first = await provider.complete("q", cache_response=True)
        server.digests["demo:latest"] = "sha256:new"
        again = await provider.complete("q", cache_response=True, model="demo:latest")
        assert again == first
        vectors = await provider.embed("q", cache_response=True, keep_alive=5)
        assert (await provider.embed("q", mode="offline", model="demo:latest")) == vectors
        assert len(server.requests) == 2


async def test_many_calls_at_once_look_a_tag_up_once_and_a_call_without_cache_never() -> None:
    async with OllamaUpstream() as server, ollama_of(server, pin_digest=True) as provider:
        await provider.complete("q")
        assert [request.path for request in server.requests] == ["/api/chat"]
        await asyncio.gather(*(provider.complete(str(i), cache_response=True) for i in range(9)))
        assert sum(request.path == "/api/tags" for request in server.requests) == 1


async def test_a_tag_that_nobody_can_look_up_goes_past_the_cache() -> None:
    async with OllamaUpstream() as server, ollama_of(server, pin_digest=True) as provider:
        server.digests = {}
        reason = "the digest of what answers is not known"
        for _ in range(2):
            result = await provider.complete("q", cache_response=True)
            vectors = await provider.embed("q", cache_response=True)
            assert result.cache is not None
            assert vectors.cache is not None
            assert (result.cache.status, result.cache.reason) == ("bypass", reason)
            assert (vectors.cache.status, vectors.cache.reason) == ("bypass", reason)
        with pytest.raises(CacheMissError, match=reason):
            await provider.complete("q", mode="offline")
        with pytest.raises(CacheMissError, match=reason):
            await provider.embed("q", mode="offline")
        assert await stored(provider) == []


async def test_a_look_up_that_fails_fails_no_call() -> None:
    inner = OllamaUpstream()

    def reply(request: UpstreamRequest) -> Reply:
        return Reply(500) if request.path == "/api/tags" else inner._reply(request)

    async with Upstream(reply) as upstream, ollama_of(upstream, pin_digest=True) as provider:
        result = await provider.complete("q", cache_response=True)
        assert result.cache is not None
        assert result.cache.status == "bypass"
        assert [request.path for request in upstream.requests] == ["/api/tags", "/api/chat"]


async def test_a_pull_makes_the_tags_be_looked_up_anew() -> None:
    inner = OllamaUpstream()

    def reply(request: UpstreamRequest) -> Reply:
        return (
            Reply(body=ndjson({"status": "success"}))
            if request.path == "/api/pull"
            else inner._reply(request)
        )

    async with Upstream(reply) as upstream, ollama_of(upstream, pin_digest=True) as provider:
        await provider.complete("q", cache_response=True)
        inner.digests["demo:latest"] = "sha256:new"
        await provider.pull_model()
        again = await provider.complete("q", cache_response=True)
        assert again.cache is not None
        assert again.cache.status == "miss"


async def test_what_the_server_said_before_a_tag_moved_is_not_believed_after_it() -> None:
    """It was being asked when the tag moved, and answers only then."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async with OllamaUpstream() as server, ollama_of(server, pin_digest=True) as provider:
        await provider.complete("q", cache_response=True)
        digests: Any = provider._digests
        plain = digests._delivery.get

        async def slow() -> Any:
            reply = await plain()
            asked.set()
            await go_on.wait()
            return reply

        digests._delivery = _Slow(slow, digests._delivery)
        digests.forget()
        early = asyncio.create_task(provider.complete("q", cache_response=True))
        await asked.wait()
        server.digests["demo:latest"] = "sha256:new"
        digests.forget()  # as `pull_model` does
        go_on.set()
        await early
        assert digests.of("demo") == "sha256:new"
        assert {b"sha256:new" in entry.identity for entry in await stored(provider)} == {
            True,
            False,
        }


class _Slow:
    """A delivery whose `get` is another."""

    def __init__(self, get: Callable[[], Awaitable[Any]], delivery: Any) -> None:
        self.get = get
        self.transport = delivery.transport
