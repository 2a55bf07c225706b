"""Which texts in a request are credentials, and how they are found in an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmcache import OpenAIProvider
from llmcache.errors import InvalidRequestError, LLMCacheError, ProviderError
from llmcache.providers.redaction import Redaction
from llmcache.testing.upstream import Reply
from llmcache.types import Recording, WireEvent

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


# --- as JSON writes it ------------------------------------------------------------------------

ODD = "abc/def+ghi/jkl&mno\"p'qrs<1>=="
WRITTEN = {
    "Python": json.dumps(ODD),
    "PHP": json.dumps(ODD).replace("/", "\\/"),
    "Go": ODD.replace('"', '\\"').replace("&", "\\u0026").replace("<", "\\u003c"),
    "Gson": json.dumps(ODD).replace("=", "\\u003d").replace("'", "\\u0027"),
    ".NET": ODD.replace("+", "\\u002B").replace('"', "\\u0022"),
    "twice": json.dumps(json.dumps(ODD).replace("/", "\\/")),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_one_in_escaped_json_is_found(written: str) -> None:
    redaction = Redaction(URL, {"authorization": f"Bearer {ODD}"})
    body = f'{{"you sent": "Bearer {written}"}}'.encode()
    assert redaction.applies_to(Recording(body=body))
    assert redaction.applies_to(Recording(events=(WireEvent(b"{}"), WireEvent(body))))
    assert redaction.hides(written)
    assert "jkl" not in redacted(f"not an answer: {written} it was", {"api-key": ODD})


@pytest.mark.parametrize("cut", ["", "…"])
@pytest.mark.parametrize("length", range(len("abc\\/de"), len("abc\\/def\\u002fghi") + 1))
def test_one_that_was_cut_in_escaped_json_is_found(length: int, cut: str) -> None:
    quoted = "abc\\/def\\u002fghi"[:length] + cut
    assert redacted(f"HTML: {quoted}", {"key": "abc/def/ghi/jkl"}) == f"HTML: [redacted]{cut}"


def test_backslashes_stay_where_there_is_no_credential() -> None:
    text = 'C:\\users\\new, "a\\/b", \\u003d'
    assert redacted(text, {"api-key": ODD}) == text
    assert not Redaction(URL, {"api-key": ODD}).applies_to(Recording(body=text.encode()))


# --- what an answer may say -------------------------------------------------------------------


def repeated(text: str, **body: Any) -> bool:
    """Return whether an answer of this text gives away a call with this body."""
    sent = {"authorization": f"Bearer {SECRET}", "user-agent": "llmcache/1.0 (python 3.14)"}
    return Redaction(URL, sent, body).applies_to(Recording(body=text.encode()))


def _mcp(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"type": "mcp", "server_label": "m", **fields}]}


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("application/json; charset=utf-8", _mcp(headers={"X-Format": "application/json"})),
        ("a-readable-tenant-name", _mcp(headers={"X-Tenant": "a-readable-tenant-name"})),
        ("gzip, deflate, br, zstd", {"extra_headers": {"X-Coding": "gzip, deflate, br, zstd"}}),
        ("llmcache/1.0 (python 3.14)", {}),
        ("mcp.production.example.com", _mcp(server_url="https://mcp.production.example.com/mcp")),
        ("of/documents-and-pictures", _mcp(server_url="https://h/of/documents-and-pictures")),
        ("PreferredColourScheme", _mcp(headers={"Cookie": "PreferredColourScheme=dark"})),
        ("api.example-of-a-domain.com", {
            "container": {"domain_secrets": [
                {"domain": "api.example-of-a-domain.com", "name": "n", "value": SECRET}
            ]},
        }),
        ("a-basic-thing-of-many-letters", {"style": "basic a-thing-of-many-letters"}),
    ],
)  # fmt: skip
def test_an_answer_may_say_what_is_no_credential(text: str, body: Any) -> None:
    assert not repeated(text, **body)


@pytest.mark.parametrize(
    "body",
    [
        _mcp(authorization=SECRET),
        _mcp(headers={"Authorization": f"Bearer {SECRET}"}),
        _mcp(headers={"X-Any-Name": f"Bearer {SECRET}"}),
        _mcp(headers={"X-Api-Key": SECRET}),
        _mcp(headers={"Cookie": f"theme=dark; id={SECRET}"}),
        _mcp(server_url=f"https://h.example/{SECRET}/mcp"),
        {"mcp_servers": [{"url": f"https://h.example/mcp?k={SECRET}"}]},
        {"container": {"domain_secrets": [{"domain": "d", "name": "n", "value": SECRET}]}},
        {"data_sources": [{"parameters": {"authentication": {"key": SECRET}}}]},
        {"input": [{"type": "later", **_mcp(authorization=SECRET)}]},
        {},
    ],
    ids=repr,
)
def test_an_answer_may_not_repeat_what_is_one(body: Any) -> None:
    assert repeated(f"you sent {SECRET}!", **body)
    assert not repeated("you sent nothing at all", **body)


def test_what_a_turn_brings_along_has_credentials_in_its_tools_alone() -> None:
    tools = _mcp(authorization=SECRET)
    assert redacted(f"no {SECRET}", {"input": [{"type": "later", **tools}]}) == "no [redacted]"
    said = {"type": "tool_use", "input": {"headers": {"A": "a-plain-value"}, "key": "primary"}}
    text = "a-plain-value, primary"
    assert redacted(text, {"messages": [{"role": "assistant", "content": [said]}]}) == text


def test_an_object_that_stands_in_two_places_is_judged_in_both() -> None:
    shared = {"api_key": SECRET}
    for body in ({"input": [shared], "later": shared}, {"later": shared, "input": [shared]}):
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
