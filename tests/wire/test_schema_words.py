"""A schema may speak of headers, secrets and tokens: what it says of them is no credential."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from llmcache.errors import BadRequestError
from llmcache.testing.upstream import Reply, UpstreamRequest

from . import claude, ollama_support, responses
from .support import as_json, completion, handler, serving

NAMES: Final = ("headers", "extra_headers", "secrets", "token", "api_key", "password", "cookies")
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        name: {
            "type": "object",
            "description": f"The {name} of the request, e.g. application/json",
            "default": {"Accept-Encoding": "application/json", "token": f"the-default-{name}"},
            "examples": [{"headers": {"X-Format": "application/json"}, "key": "a-documented-key"}],
            "additionalProperties": {"type": "string"},
        }
        for name in NAMES
    },
    "required": list(NAMES),
    "additionalProperties": False,
}
GIVEN: Final[dict[str, Any]] = {
    name: {"Content-Type": "application/json", "key": f"the-default-{name}", "token": "of-a-model"}
    for name in NAMES
}
FUNCTION: Final = {"name": "f", "description": "Asks a server", "parameters": SCHEMA}
CHAT_TOOL: Final = {"type": "function", "function": FUNCTION}
FORMAT: Final = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": SCHEMA, "strict": True},
}
TURNS: Final[list[dict[str, Any]]] = [
    {"role": "user", "content": "q"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": json.dumps(GIVEN)},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": json.dumps(GIVEN)},
]
ASKED: Final[dict[str, tuple[str, Any, dict[str, Any]]]] = {
    f"{api}, {name}": (api, turns, options)
    for api in ("chat", "responses", "messages", "ollama")
    for name, turns, options in (
        ("tools", "q", {"tools": [CHAT_TOOL]}),
        ("format", "q", {"response_format": FORMAT}),
        ("both, and a call", TURNS, {"tools": [CHAT_TOOL], "response_format": FORMAT}),
    )
} | {
    "chat, functions": ("chat", "q", {"extra_body": {"functions": [FUNCTION]}}),
    "chat, guided": ("chat", "q", {"extra_body": {"guided_json": SCHEMA}}),
    "chat, structured": ("chat", "q", {"extra_body": {"structured_outputs": {"json": SCHEMA}}}),
}


def _answer(request: UpstreamRequest) -> Reply:
    """Answer with a call of the tool, and with all that the request says of tools and formats."""
    body, call = request.json(), json.dumps(GIVEN)
    named = ("tools", "text", "response_format", "output_config", "format", "functions")
    told = {name: body[name] for name in named if name in body}
    if request.path.endswith("/messages"):
        used = claude.tool_use("toolu_1", given=GIVEN)
        return claude.reply_of(claude.message(used, stop="tool_use", told=told))
    if request.path.endswith("/responses"):
        return Reply(body=as_json(responses.response(responses.call(call), **told)))
    if "/api/" in request.path:
        return Reply(body=as_json({**ollama_support.answer(call), "told": told}))
    return Reply(body=as_json(completion(call, told=told)))


def _open(api: str, answer: Any) -> Any:
    if api == "messages":
        return claude.serving(answer)
    if api == "ollama":
        return ollama_support.serving(answer)
    return serving(answer, use_responses_api=api == "responses")


@pytest.mark.parametrize(("api", "turns", "options"), ASKED.values(), ids=ASKED)
async def test_two_equal_calls_are_a_miss_and_a_hit(
    api: str, turns: Any, options: dict[str, Any]
) -> None:
    async with _open(api, _answer) as (provider, upstream):
        first = await provider.complete(turns, cache_response=True, **options)
        assert b"application/json" in first.raw_json, "the answer must say what the schema says"
        assert (first.cache.status, first.cache.reason) == ("miss", None)
        again = await provider.complete(turns, cache_response=True, **options)
        assert again.cache.hit
        assert upstream.calls == 1


@pytest.mark.parametrize(("api", "turns", "options"), ASKED.values(), ids=ASKED)
async def test_an_error_that_quotes_a_schema_is_told_as_it_is(
    api: str, turns: Any, options: dict[str, Any]
) -> None:
    said = "properties.headers: 'object' with 'the-default-token' or 'a-documented-key' is not"
    said += " application/json; 'of-a-model' is no token of type string"
    told = Reply(400, as_json({"error": {"message": said}}))
    async with _open(api, handler(told)) as (provider, _):
        with pytest.raises(BadRequestError) as raised:
            await provider.complete(turns, **options)
        assert raised.value.message.endswith(said)
