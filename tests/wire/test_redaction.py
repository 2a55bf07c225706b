"""Which texts in a request are credentials, and how they are found in an error."""

from __future__ import annotations

from typing import Any

import pytest

from llmcache import OpenAIProvider
from llmcache.errors import InvalidRequestError, LLMCacheError, ProviderError
from llmcache.providers.redaction import Redaction
from llmcache.testing.upstream import Reply

from .support import SECRET, as_json, collect, serving
from .test_secrets import check_clean

URL = "https://x.test/v1"


def redacted(text: str, *sources: Any, url: str = URL) -> str:
    with pytest.raises(ProviderError) as raised, Redaction(url, *sources):
        raise ProviderError(text, provider="p", code=text, request_id=text)
    error = raised.value
    assert error.message == error.code == error.request_id
    assert error.args == (f"p: {error.message}",)
    return error.message


@pytest.mark.parametrize(
    "source",
    [
        {"authorization": f"Bearer {SECRET}"},
        {"Proxy-Authorization": f"Basic {SECRET}"},
        {"api-key": SECRET},
        {"X-Goog-Api-Key": SECRET},
        {"x-amz-security-token": SECRET},
        {"cf-access-client-secret": SECRET},
        {"cookie": f"theme=dark; session={SECRET}; x=y"},
        {"apiKey": SECRET},
        {"data_sources": [{"parameters": {"authentication": {"type": "api_key", "key": SECRET}}}]},
        {"tools": ({"headers": {"Authorization": SECRET}},)},
    ],
    ids=str,
)
def test_what_has_a_credentials_name_is_one(source: Any) -> None:
    assert redacted(f"no {SECRET} here", None, source) == "no [redacted] here"


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@x.test/v1",
        f"https://{SECRET}@x.test/v1",
        f"https://x.test/v1?api-version=2024-10-21&subscription={SECRET}",
    ],
)
def test_an_address_has_some_too(url: str) -> None:
    assert redacted(f"no {SECRET} here, 2024-10-21", url=url) == "no [redacted] here, 2024-10-21"


@pytest.mark.parametrize(
    "source",
    [
        {"content": "a sentence"},
        {"max_tokens": 123_456},
        {"key": "EMPTY"},
        {"key": ["a sentence"]},
        {"keyboard": "a sentence"},
        None,
    ],
    ids=str,
)
def test_what_is_none_stays(source: Any) -> None:
    text = "EMPTY 123456 a sentence"
    assert redacted(text, source) == text


@pytest.mark.parametrize("cut", ["", "…"])
@pytest.mark.parametrize("length", range(6, len(SECRET)))
def test_one_that_was_cut_is_recognized(length: int, cut: str) -> None:
    headers = {"api-key": SECRET}
    assert redacted(f"HTML: {SECRET[:length]}{cut}", headers) == f"HTML: [redacted]{cut}"
    assert redacted(f"{SECRET[:length]} not at the end", headers).startswith(SECRET[:length])


def test_the_longest_is_taken_first() -> None:
    headers = {"api-key": SECRET[:12], "token": SECRET}
    assert redacted(f"{SECRET} and {SECRET[:12]}!", headers) == "[redacted] and [redacted]!"


def test_what_led_to_an_error_is_cleaned_too() -> None:
    def fail() -> None:
        try:
            raise ValueError(f"cannot send {SECRET}", 7)
        except ValueError as error:
            raise InvalidRequestError("a", f"has {SECRET}") from error

    with pytest.raises(LLMCacheError) as raised, Redaction(URL, {"api-key": SECRET}):
        fail()
    check_clean(raised.value)
    assert raised.value.__cause__ is not None
    assert raised.value.__cause__.args == ("cannot send [redacted]", 7)


def test_the_errors_of_others_pass() -> None:
    with pytest.raises(KeyError, match=SECRET), Redaction(URL, {"api-key": SECRET}):
        raise KeyError(SECRET)


def test_a_body_that_contains_itself_is_read_once() -> None:
    body: dict[str, Any] = {"api_key": SECRET}
    body["self"] = [body]
    assert redacted(SECRET, body) == "[redacted]"


async def asked(provider: OpenAIProvider, how: str, **options: Any) -> None:
    if how == "stream":
        await collect(provider.stream("x", **options))
    else:
        await getattr(provider, how)("x", **options)


@pytest.mark.parametrize("ask", ["complete", "stream", "embed"])
async def test_a_credential_in_the_body_of_a_call(ask: str) -> None:
    extra = {"extra_body": {"litellm": {"api_key": SECRET}}}
    echo = Reply(body=b"<html>" + SECRET.encode())
    for reply in (echo, Reply(401, as_json({"error": {"message": SECRET}}))):
        async with serving(reply, api_key=None) as (provider, _):
            with pytest.raises(ProviderError) as raised:
                await asked(provider, ask, cache_response=True, **extra)
            check_clean(raised.value)
