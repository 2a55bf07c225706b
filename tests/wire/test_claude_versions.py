"""What the newer version of the Messages API refuses is said before anything is sent, and where."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmcache import FilePart, InvalidRequestError, Message, Native, TextPart

from .claude import plain_answer, reply_of, serving
from .support import collect

OLD, NEW = "2023-06-01", "2026-10-21"
_SOURCE: Final = {"type": "text", "media_type": "text/plain", "data": "Hello"}
DOCUMENT: Final = {"type": "document", "source": _SOURCE}
CITATION: Final = {"type": "char_location", "cited_text": "x", "document_index": 0}
CITED: Final = {"type": "text", "text": "x", "citations": [CITATION]}
TEXT: Final = {"type": "text", "text": "x"}


def _user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks) or "q"}


def _assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks) or "a"}


_SYSTEM: Final = {"role": "system", "content": "s"}
# Messages, and the place that is refused.
REFUSED: Final[dict[str, tuple[Any, str]]] = {
    "a document in an answer": (
        [_user(), _assistant(TEXT, DOCUMENT), _user()],
        "messages[1].content[1]",
    ),
    "the same as a part": (
        [
            Message("user", "q"),
            Message("assistant", [FilePart(file_data="data:application/pdf;base64,AAAA")]),
            Message("user", "q"),
        ],
        "messages[1].content[0]",
    ),
    "the same in the words of chat": (
        [_user(), _assistant({"type": "file", "file": {"file_data": "AAAA"}}), _user()],
        "messages[1].content[0]",
    ),
    "the same in the API's own words": (
        [
            Message("user", "q"),
            Message(
                "assistant",
                "a",
                native=Native("messages", {"role": "assistant", "content": [DOCUMENT]}),
            ),
            Message("user", "q"),
        ],
        "messages[1].native.content[0]",
    ),
    "citations on a question": ([_user(TEXT, CITED)], "messages[0].content[1]"),
    "after a system prompt and a turn that is merged": (
        [_SYSTEM, _user(), _user(TEXT), _assistant(), _user(CITED)],
        "messages[4].content[0]",
    ),
    "after an empty text": ([_user({"type": "text", "text": ""}, CITED)], "messages[0].content[1]"),
    "a system prompt may have them": (
        [{"role": "system", "content": [CITED]}, _user(), _assistant(), _user(CITED)],
        "messages[3].content[0]",
    ),
}
TAKEN: Final[dict[str, Any]] = {
    "a document in a question": [_user(DOCUMENT, TEXT)],
    "a document with citations": [_user({**DOCUMENT, "citations": {"enabled": True}})],
    "citations on an answer": [_user(), _assistant(CITED), _user()],
    "no citations": [_user({**TEXT, "citations": []}, {**TEXT, "citations": None})],
    "a document inside a tool's result": [
        _user(),
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
        },
        _user({"type": "tool_result", "tool_use_id": "t", "content": [DOCUMENT]}),
    ],
    "a document inside a server's result": [
        _user(),
        _assistant(
            {
                "type": "web_fetch_tool_result",
                "tool_use_id": "s",
                "content": {"type": "web_fetch_result", "url": "u", "content": DOCUMENT},
            }
        ),
        _user(),
    ],
    "parts": [Message("user", [TextPart("x")])],
}


async def _refusals(provider: Any, messages: Any, **options: Any) -> list[InvalidRequestError]:
    """Return what each way to ask says."""
    found = []
    for ask in (
        lambda: provider.complete(messages, cache_response=True, **options),
        lambda: provider.complete(messages, **options),
        lambda: collect(provider.stream(messages, **options)),
        lambda: provider.count_tokens(messages, **options),
        lambda: provider.explain(messages, **options),
    ):
        with pytest.raises(InvalidRequestError) as raised:
            await ask()
        found.append(raised.value)
    return found


@pytest.mark.parametrize("where", ["provider", "header"])
@pytest.mark.parametrize(("messages", "path"), REFUSED.values(), ids=REFUSED)
async def test_the_newer_version_refuses_it_by_its_place(
    messages: Any, path: str, where: str
) -> None:
    version = NEW if where == "provider" else OLD
    options = {} if where == "provider" else {"extra_headers": {"Anthropic-Version": NEW}}
    async with serving(plain_answer, api_version=version) as (provider, upstream):
        for error in await _refusals(provider, messages, **options):
            assert error.path == path
            assert NEW in error.reason
        assert upstream.calls == 0


@pytest.mark.parametrize("header", [None, OLD])
@pytest.mark.parametrize(("messages", "path"), REFUSED.values(), ids=REFUSED)
async def test_the_older_version_is_sent_it(messages: Any, path: str, header: str | None) -> None:
    version = OLD if header is None else NEW
    options = {} if header is None else {"extra_headers": {"anthropic-version": header}}
    async with serving(plain_answer, api_version=version) as (provider, upstream):
        assert (await provider.complete(messages, **options)).content == "hi"
        assert "document" in str(upstream.requests[0].json()) or "citations" in str(
            upstream.requests[0].json()
        )


@pytest.mark.parametrize("messages", TAKEN.values(), ids=TAKEN)
async def test_the_newer_version_takes_the_rest(messages: Any) -> None:
    async with serving(plain_answer, api_version=NEW) as (provider, upstream):
        assert (await provider.complete(messages)).content == "hi"
        assert upstream.calls == 1


async def test_turns_in_an_extra_body_are_looked_at_too() -> None:
    extra = {"messages": [_user(), _assistant(DOCUMENT), _user()]}
    async with serving(plain_answer, api_version=NEW) as (provider, upstream):
        for error in await _refusals(provider, "q", extra_body=extra):
            assert error.path == "messages[1].content[0]"
        assert upstream.calls == 0


@pytest.mark.parametrize("odd", ["x", [5], [{"role": "user", "content": 5}], [_user(5)], None])
async def test_turns_of_any_shape_are_for_the_api_to_refuse(odd: Any) -> None:
    async with serving(plain_answer, api_version=NEW) as (provider, upstream):
        await provider.complete("q", extra_body={"messages": odd})
        assert upstream.calls == 1


async def test_an_answer_goes_back_to_the_newer_version_as_it_came() -> None:
    """Citations of an answer stay in its turn, where they belong."""
    body = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [CITED],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    async with serving(reply_of(body), api_version=NEW) as (provider, upstream):
        answer = await provider.complete("q")
        await provider.complete([Message("user", "q"), answer.to_message(), Message("user", "r")])
        assert upstream.requests[1].json()["messages"][1]["content"] == [CITED]
