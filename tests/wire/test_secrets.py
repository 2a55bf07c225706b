"""A credential never shows in an error, whatever the server says and however the call fails."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import pytest

from llmcache import OpenAIProvider, StreamEventType
from llmcache.errors import LLMCacheError, ProviderError
from llmcache.testing.upstream import Reply, Upstream

from .support import (
    SECRET,
    as_json,
    chunk,
    collect,
    completion,
    serving,
    sse,
    stored,
    streamed,
    until_error,
)

GOOD = Reply(body=as_json(completion("hi")))
ECHO = f"Incorrect API key provided: {SECRET}."


def check_clean(error: BaseException, secret: str = SECRET) -> None:
    """Check every way in which an error shows itself, and those that led to it."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        pending += [one.__cause__, None if one.__suppress_context__ else one.__context__]
        shown = [str(one), repr(one), repr(one.args), "".join(traceback.format_exception_only(one))]
        if isinstance(one, LLMCacheError):
            shown.append(repr(vars(one)))
        for text in shown:
            assert secret not in text
            # A part of it is as bad: nothing shows half of a key by accident.
            assert secret[: len(secret) - 3] not in text


def _in_snippet(offset: int) -> bytes:
    """Return a page whose quoted start ends inside the key."""
    return b"<html>" + b"x" * (300 - 6 - len(SECRET) + offset) + SECRET.encode() + b"</html>"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(401, as_json({"error": {"message": ECHO, "code": "invalid_api_key"}})),
        Reply(401, as_json({"error": ECHO})),
        Reply(401, as_json({"detail": [{"msg": ECHO}]})),
        Reply(401, ECHO.encode()),
        Reply(500, b"<html>" + ECHO.encode()),
        Reply(200, as_json({"error": {"message": ECHO, "code": 401}})),
        Reply(401, as_json({"error": {"message": "m", "code": SECRET}})),
        Reply(401, b"{}", {"x-request-id": SECRET}),
        Reply(500, _in_snippet(1)),
        Reply(500, _in_snippet(3)),
        Reply(200, b"<html>" + ECHO.encode()),
        Reply(200, as_json({"choices": [], "x": ECHO})),
        Reply(200, as_json({"x": "y" * 5000, "error": ECHO})),
    ],
    ids=lambda reply: f"{reply.status} {reply.body[:40]!r}",
)
async def test_a_server_that_echoes_the_key_does_not_put_it_into_the_error(reply: Reply) -> None:
    async with serving(reply, attempts=1) as (provider, _):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x", cache_response=True)
        check_clean(raised.value)


@pytest.mark.parametrize(
    "body",
    [
        sse({"error": {"message": ECHO}}),
        sse(chunk({"content": "a"}), {"error": {"message": ECHO}}),
        sse(chunk({"content": "a"}), f"{{{ECHO}"),
        b"<html>" + ECHO.encode(),
        b"{" + ECHO.encode(),
    ],
    ids=lambda body: repr(body[:50]),
)
@pytest.mark.parametrize("cached", [True, False])
async def test_a_stream_that_echoes_the_key_shows_it_nowhere(body: bytes, *, cached: bool) -> None:
    async with serving(streamed(body), attempts=1) as (provider, _):
        events, error = await until_error(provider.stream("x", cache_response=cached))
        check_clean(error)
        shown = [event for event in events if event.type is StreamEventType.ERROR]
        assert shown
        assert SECRET not in repr(shown)


async def test_embeddings_that_echo_the_key_do_not_put_it_into_the_error() -> None:
    async with serving(Reply(body=as_json({"data": [], "x": ECHO}))) as (provider, _):
        with pytest.raises(ProviderError) as raised:
            await provider.embed("x")
        check_clean(raised.value)


@pytest.mark.parametrize(
    "key",
    [f"{SECRET}\n", f"{SECRET}é", f"{SECRET}\x00"],
    ids=repr,
)
async def test_a_key_that_cannot_be_sent_is_a_typed_error_that_does_not_show_it(key: str) -> None:
    async with serving(GOOD, api_key=key) as (provider, upstream):
        with pytest.raises(LLMCacheError) as raised:
            await provider.complete("x")
        check_clean(raised.value)
        assert upstream.calls == 0


@pytest.mark.parametrize("header", ["authorization", "Authorization", "api-key", "x-api-key"])
@pytest.mark.parametrize("where", ["headers", "extra_headers"])
async def test_a_credential_in_a_header_is_one_too(header: str, where: str) -> None:
    own = {header: f"Bearer {SECRET}"}
    reply = Reply(401, as_json({"error": {"message": ECHO}}))
    settings: dict[str, Any] = {"api_key": "other", "headers": own if where == "headers" else None}
    async with serving(reply, **settings) as (provider, _):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x", extra_headers=own if where == "extra_headers" else None)
        check_clean(raised.value)


async def test_a_key_in_the_address_does_not_show_when_nobody_answers() -> None:
    async with Upstream(lambda _: GOOD) as upstream:
        address = upstream.base_url.replace("http://", f"http://user:{SECRET}@")
    async with OpenAIProvider(
        model="m", base_url=f"{address}?key={SECRET}", cache_backend="memory", attempts=1
    ) as provider:
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x", cache_response=True)
        check_clean(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        f"ftp://user:{SECRET}@example.org",
        f"user:{SECRET}@example.org",
        f"http://user:{SECRET}@[::1",
        f"http://user:{SECRET}@example.org:port/v1",
    ],
)
def test_a_key_in_an_address_that_is_none_does_not_show(address: str) -> None:
    with pytest.raises(LLMCacheError) as raised:
        OpenAIProvider(model="m", base_url=address, cache_backend="memory")
    check_clean(raised.value)


async def test_the_key_is_nowhere_in_the_provider_or_the_entry() -> None:
    async with serving(GOOD) as (provider, upstream):
        await provider.complete("x", cache_response=True)
        assert upstream.requests[0].headers["authorization"] == f"Bearer {SECRET}"
        (entry,) = await stored(provider)
        assert SECRET not in repr(entry)
        assert SECRET not in repr(provider)
        assert SECRET not in repr(provider._transport)


async def test_errors_survive_pickling() -> None:
    async with serving(
        Reply(429, as_json({"error": {"message": "m"}}), {"retry-after": "500"})
    ) as (
        provider,
        _,
    ):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x")
        copy = pickle.loads(pickle.dumps(raised.value))
        assert type(copy) is type(raised.value)
        assert (copy.message, copy.status, copy.retry_after) == ("m", 429, 500.0)
        assert str(copy) == str(raised.value)


async def test_a_redirect_does_not_take_the_key_to_another_server() -> None:
    async with Upstream(lambda _: GOOD) as elsewhere:
        moved = Reply(307, b"", {"location": f"{elsewhere.base_url}/chat/completions"})
        async with serving(moved) as (provider, upstream):
            assert (await provider.complete("x")).content == "hi"
            assert "authorization" in upstream.requests[0].headers
            assert SECRET not in repr(elsewhere.requests)


async def test_a_redirect_does_not_take_another_header_to_another_server() -> None:
    async with Upstream(lambda _: GOOD) as elsewhere:
        moved = Reply(307, b"", {"location": f"{elsewhere.base_url}/chat/completions"})
        async with serving(moved, headers={"api-key": SECRET}) as (provider, _):
            await collect(provider.stream("x"))
            assert SECRET not in repr(elsewhere.requests)
