"""Turns that one server said, sent to it and to every other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmcache import (
    AnthropicProvider,
    CacheManager,
    CompletionResult,
    MemoryBackend,
    Message,
    Native,
    OllamaProvider,
    OpenAIProvider,
    ProviderError,
    provider_for,
)
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.providers.base import Dialect
from llmcache.providers.ollama_answer import OllamaDialect
from llmcache.providers.openai_chat import ChatDialect
from llmcache.providers.openai_responses import ResponsesDialect
from llmcache.providers.servers import SERVERS, server_origin
from llmcache.providers.sse import NDJSONDecoder, ServerSentEvent, SSEDecoder
from llmcache.providers.tool_ids import (
    ANTHROPIC_IDS,
    MISTRAL_IDS,
    OPENAI_IDS,
    RESPONSES_IDS,
    IdRule,
)
from llmcache.testing.upstream import Reply, Upstream
from llmcache.types import WireEvent

from .claude import message as claude_message
from .claude import tool_use
from .recorded import Exchange, load
from .responses import call as call_item
from .responses import message as message_item
from .responses import response, thought
from .support import as_json, completion, provider_of

OWN = {"azure": "https://me.openai.azure.com/openai/v1"}


def provider(name: str, **options: Any) -> Any:
    """Return a provider that is never connected, by the name of its server."""
    if name.startswith("https://"):
        return OpenAIProvider("m", base_url=name, api_key="k", cache_backend=None, **options)
    where = {"base_url": OWN[name]} if name in OWN else {}
    return provider_for(f"{name}/m", api_key="k", cache_backend=None, **where, **options)


def sent(to: Any, *messages: Any) -> Any:
    """Return the body that goes to a provider."""
    return to._call(list(messages), {}).request.body


def forms(turn: Message) -> list[Any]:
    """Return a turn as a program has it, and as one that was stored."""
    stored = json.loads(json.dumps(turn.to_dict()))
    return [turn, stored, Message.from_dict(stored)]


def chat_turn(name: str, **message: Any) -> Message:
    """Return a turn of the chat completions of a server."""
    whole = completion("hi")
    whole["choices"][0]["message"].update(message)
    result: CompletionResult = provider(name)._dialect.parse(as_json(whole))
    return result.to_message()


# --- whose words they are ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://API.openai.com/v1/", "openai"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.deepseek.com/v1", "deepseek"),
        ("https://api.anthropic.com", "anthropic"),
        ("http://localhost:8000/v1", "localhost:8000"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://localhost:1234/v1", "localhost:1234"),
        ("https://api.openai.com:8443/v1", "api.openai.com:8443"),
        ("https://me.openai.azure.com/openai/v1", "me.openai.azure.com"),
        ("https://me.openai.azure.com/openai/deployments/d?api-version=1", "me.openai.azure.com"),
        ("https://user:secret@h.test/v1?key=secret", "h.test"),
    ],
)
def test_a_server_is_its_name_or_its_address(url: str, origin: str) -> None:
    assert server_origin(url) == origin


def test_what_stands_behind_one_gateway_is_told_apart_and_its_path_is_not_told() -> None:
    origins = [server_origin(f"https://gateway.test/{path}/v1") for path in ("openai", "secret")]
    assert len(set(origins)) == 2
    assert all(one.startswith("gateway.test/") and "secret" not in one for one in origins)


@pytest.mark.parametrize(
    ("said", "asked", "is_own"),
    [
        (None, "groq", True),
        ("groq", None, True),
        ("groq", "groq", True),
        ("groq", "openai", False),
    ],
)
def test_a_turn_is_its_servers_own_or_anybodys(
    said: str | None, asked: str | None, *, is_own: bool
) -> None:
    native = Native("responses", [{"type": "message"}], said)
    assert native.is_from("responses", asked) is is_own
    assert native.for_api("responses", asked) == ([{"type": "message"}] if is_own else None)
    assert not native.is_from("messages", asked)


def test_turns_that_were_stored_without_a_server_are_loaded_and_go_to_every_one() -> None:
    items = [thought(encrypted_content="gAAA"), message_item()]
    stored = {"role": "assistant", "content": "hi", "native": {"api": "responses", "body": items}}
    assert Message.from_dict(stored).to_dict() == stored
    for name in ("openai", "xai"):
        body = sent(provider(name, use_responses_api=True), "q", stored)
        assert body["input"][1:] == items


def test_a_native_turn_survives_json() -> None:
    for native in (Native("chat", None, "groq"), Native("messages", {"a": [1]})):
        data = json.loads(json.dumps(native.to_dict()))
        assert Native.is_dict(data)
        assert Native.from_dict(data) == native
    assert not Native.is_dict({"api": "chat", "body": None, "more": 1})
    assert not Native.is_dict({"api": "chat", "origin": "x"})


# --- one API, several servers --------------------------------------------------------------------

PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    {"type": "text", "text": "h"},
    {"type": "reference", "reference_ids": [1]},
    {"type": "text", "text": "i"},
]
SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
CALL = {"id": "call_12345", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SAID: dict[str, tuple[str, dict[str, Any]]] = {
    "reasoning": ("deepseek", {"reasoning_content": "hm"}),
    "details": (
        "openrouter",
        {"reasoning": "x", "reasoning_details": [{"type": "reasoning.encrypted", "data": "s"}]},
    ),
    "parts": ("mistral", {"content": PARTS}),
    "annotations": ("openai", {"annotations": [{"type": "url_citation"}]}),
    "a signed call": ("gemini", {"tool_calls": [{**CALL, **SIGNED}]}),
}


@pytest.mark.parametrize(("name", "message"), SAID.values(), ids=SAID)
def test_a_chat_turn_goes_back_to_its_server_as_it_came(name: str, message: Any) -> None:
    turn = chat_turn(name, **message)
    for form in forms(turn):
        body = sent(provider(name), "q", form, "go on")
        assert body["messages"][1] == {"role": "assistant", "content": "hi", **message}


@pytest.mark.parametrize("to", ["groq", "openai", "xai", "https://h.test/v1"])
@pytest.mark.parametrize(("name", "message"), SAID.values(), ids=SAID)
def test_to_another_chat_server_it_says_the_same_without_what_is_the_first_ones(
    name: str, message: Any, to: str
) -> None:
    if name == to:
        return
    calls = {"tool_calls": [CALL]} if "tool_calls" in message else {}
    for form in forms(chat_turn(name, **message)):
        body = sent(provider(to), "q", form, Message.tool_result("call_12345", "1"))
        assert body["messages"][1] == {"role": "assistant", "content": "hi", **calls}


@pytest.mark.parametrize("form", [0, 1, 2])
def test_mistrals_parts_go_to_every_other_api(form: int) -> None:
    turn = forms(chat_turn("mistral", content=PARTS))[form]
    assert sent(provider("openai", use_responses_api=True), "q", turn)["input"][1] == {
        "role": "assistant",
        "content": "hi",
    }
    said = {"role": "assistant", "content": "hi"}
    assert sent(provider("anthropic"), "q", turn, "r")["messages"][1] == said
    assert sent(provider("ollama"), "q", turn)["messages"][1] == said


def test_plain_text_says_nothing_of_where_it_is_from() -> None:
    assert chat_turn("deepseek") == Message.assistant("hi")


@pytest.mark.parametrize("to", ["groq", "mistral", "openai"])
def test_what_a_caller_wrote_goes_as_written(to: str) -> None:
    written = {"role": "assistant", "content": "hi", "reasoning_content": "mine", "refusal": "no"}
    for form in (written, Message.from_dict(written)):
        assert sent(provider(to), "q", form, "r")["messages"][1] == written


def test_a_response_goes_to_another_server_without_its_items() -> None:
    items = [thought(encrypted_content="gAAA"), message_item(), call_item()]
    openai = provider("openai", use_responses_api=True)
    turn = openai._responses_dialect.parse(as_json(response(*items))).to_message()
    result = Message.tool_result("call_1", "12")
    for form in forms(turn):
        assert sent(openai, "q", form, result)["input"][1:4] == items
        for other in ("xai", "azure", "https://h.test/v1"):
            body = sent(provider(other, use_responses_api=True), "q", form, result)
            assert body["input"][1:] == [
                {"role": "assistant", "content": "hi"},
                {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "12"},
            ]


def test_claudes_turn_goes_to_another_host_without_its_signatures() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    whole = claude_message(thinking, tool_use("toolu_1"), stop="tool_use")
    claude = provider("anthropic")
    other = AnthropicProvider("m", base_url="https://h.test", api_key="k", cache_backend=None)
    turn = claude._dialect.parse(as_json(whole)).to_message()
    result = Message.tool_result("toolu_1", "12")
    for form in forms(turn):
        assert sent(claude, "q", form, result)["messages"][1]["content"] == whole["content"]
        assert sent(other, "q", form, result)["messages"][1]["content"] == whole["content"][1:]


def test_a_refusal_is_said_in_each_servers_words() -> None:
    turn = chat_turn("azure", content=None, refusal="No.")
    for form in forms(turn):
        told = sent(provider("openai"), "q", form)["messages"][1]
        assert told == {"role": "assistant", "refusal": "No."}
        spoken = {"role": "assistant", "content": "No."}
        assert sent(provider("groq"), "q", form)["messages"][1] == spoken
        assert sent(provider("ollama"), "q", form)["messages"][1] == spoken


@pytest.mark.parametrize("arguments", ["{", "[1]", '{"a": NaN}'])
def test_arguments_that_a_model_wrote_wrong_can_be_sent_everywhere(arguments: str) -> None:
    wrong = {**CALL, "function": {"name": "f", "arguments": arguments}}
    turn = chat_turn("groq", tool_calls=[wrong])
    for name in (*SERVERS, "anthropic", "ollama"):
        body = sent(provider(name), "q", turn, Message.tool_result("call_12345", "1"))
        json.dumps(body, allow_nan=False)
    asked = sent(provider("ollama"), "q", turn)["messages"][1]["tool_calls"][0]["function"]
    assert isinstance(asked["arguments"], dict)


def test_two_names_of_one_server_are_one() -> None:
    turn = chat_turn("deepseek", reasoning_content="hm")
    same = provider("https://api.deepseek.com/v1")
    assert sent(same, "q", turn, "r")["messages"][1]["reasoning_content"] == "hm"


def test_two_servers_on_one_machine_are_two() -> None:
    turn = chat_turn("vllm", reasoning_content="hm")
    assert "reasoning_content" in sent(provider("vllm"), "q", turn, "r")["messages"][1]
    assert "reasoning_content" not in sent(provider("lmstudio"), "q", turn, "r")["messages"][1]


async def test_a_warmed_answer_has_the_words_of_the_server_that_is_asked() -> None:
    whole = completion("hi")
    whole["choices"][0]["message"]["reasoning_content"] = "hm"
    backend = MemoryBackend()
    async with (
        Upstream(lambda _: Reply(body=as_json(whole))) as upstream,
        provider_of(upstream, cache=CacheManager(backend)) as first,
    ):
        await first.complete("q", cache_response=True)
        await first.cache.store.settle()
        # Two servers before the warming, and the second after it.
        for early in (True, False):
            cache = CacheManager(backend)
            async with OpenAIProvider("demo", base_url="https://h.test/v1", cache=cache):
                if not early:
                    await cache.warm()
                async with provider_of(upstream, cache=cache) as second:
                    if early:
                        await cache.warm()
                    hit = await second.complete("q", cache_response=True)
                    assert hit.native == Native("chat", None, second._dialect.origin)
        assert upstream.calls == 1


# --- every recorded answer, sent to every server ---------------------------------------------------

# The words in which servers think and sign: none of them may reach another.
FOREIGN = frozenset(
    "encrypted_content extra_content native reasoning reasoning_content reasoning_details "
    "redacted_thinking signature thinking thought_signature".split()
)
DIALECTS: Mapping[str, Any] = {
    "chat.completions": ChatDialect,
    "responses": ResponsesDialect,
    "messages": MessagesDialect,
}
ORIGINS = {"azure-openai": "me.openai.azure.com", "compat:generativelanguage.googleapis.com": "google", "xai": "x-ai"}  # fmt: skip


def recorded_turns(recordings: Path) -> Iterator[tuple[str, str, Message]]:
    """Yield the server, the API and the turn of every recorded answer that is one."""
    rows = json.loads((recordings / "manifest.json").read_text())
    servers = {row["file"]: row["provider"] for row in rows}
    for endpoint in (*DIALECTS, "ollama.chat"):
        for exchange in load(recordings, endpoint):
            server = ORIGINS.get(servers[exchange.name], servers[exchange.name])
            if server == "ollama" and endpoint == "chat.completions":
                server = "localhost:11434"
            dialect = (
                OllamaDialect()
                if endpoint == "ollama.chat"
                else DIALECTS[endpoint](server, origin=server)
            )
            try:
                result = _answer(exchange, dialect, lines=endpoint == "ollama.chat")
            except ProviderError:
                continue
            yield server, dialect.kind, result.to_message()


def _answer(exchange: Exchange, dialect: Dialect, *, lines: bool) -> CompletionResult:
    if exchange.status >= 400 or not exchange.is_stream:
        return dialect.parse(exchange.body)
    reader: Any = NDJSONDecoder() if lines else SSEDecoder()
    decoder = dialect.decoder()
    found: list[ServerSentEvent | bytes] = [*reader.feed(exchange.body), *reader.flush()]
    for one in found:
        event = WireEvent(one) if isinstance(one, bytes) else WireEvent(one.data, one.event)
        decoder.feed(event)
        if decoder.terminal:
            break
    return decoder.finish()


def targets() -> Iterator[tuple[str, str, Any, IdRule | None]]:
    """Yield the origin, the API, the provider, and the rule of its ids."""
    for name in SERVERS:
        for api, usual in (("chat", OPENAI_IDS), ("responses", RESPONSES_IDS)):
            one = provider(name, use_responses_api=api == "responses")
            yield one._dialect.origin, api, one, MISTRAL_IDS if name == "mistral" else usual
    claude = provider("anthropic")
    assert isinstance(claude, AnthropicProvider)
    yield "anthropic", "messages", claude, ANTHROPIC_IDS
    ollama = provider("ollama")
    assert isinstance(ollama, OllamaProvider)
    yield "ollama", "ollama.chat", ollama, None


def words(value: Any) -> Iterator[str]:
    """Yield every field's name and every `type` in a body."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            if name == "type" and isinstance(inner, str):
                yield inner
            yield from words(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from words(inner)


def pairs(api: str, body: Any) -> tuple[list[str], list[str]]:
    """Return the ids of the calls in a body, and of the results."""
    if api == "responses":
        kinds = ("function_call", "custom_tool_call")
        items = [item for item in body["input"] if item.get("call_id")]
        calls = [item["call_id"] for item in items if item["type"] in kinds]
        results = [item["call_id"] for item in items if item["type"].endswith("_output")]
        return calls, results[-len(calls) :] if calls else []
    calls, results = [], []
    for one in body["messages"]:
        if api == "messages" and not isinstance(one["content"], str):
            calls += [b["id"] for b in one["content"] if b["type"] == "tool_use"]
            results += [b["tool_use_id"] for b in one["content"] if b["type"] == "tool_result"]
        calls += [call["id"] for call in one.get("tool_calls") or ()]
        results += [one["tool_call_id"]] if one["role"] == "tool" else []
    return calls, results


def test_every_recorded_answer_can_be_sent_to_every_server(recordings: Path) -> None:
    count = 0
    everybody = list(targets())
    for server, api, turn in recorded_turns(recordings):
        asked = turn.tool_calls or ()
        results = [Message.tool_result(call.id, "r", call.name) for call in reversed(asked)]
        for form in forms(turn)[:2]:
            for origin, spoken, to, rule in everybody:
                body = sent(to, "q", form, *results, "go on")
                count += 1
                is_own = (server, api) == (origin, spoken)
                assert is_own or FOREIGN.isdisjoint(words(body)), (server, api, origin, spoken)
                if rule is None:  # Ollama needs no ids
                    continue
                calls, answered = pairs(spoken, body)
                assert calls == answered[::-1], (server, api, origin, spoken, turn, body)
                assert len(set(calls)) == len(calls) == len(asked)
                assert is_own or all(map(rule.allows, calls)), (server, origin, calls)
    assert count > 10_000


def test_a_foreign_turn_of_which_nothing_is_left_is_still_a_message() -> None:
    """A paused turn of Claude's has words that only its own server knows."""
    paused = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    turn = Message("assistant", native=Native("messages", {"content": [paused]}, "anthropic"))
    for name in ("openai", "mistral", "groq"):
        _, said, _ = sent(provider(name), "q", turn, "go on")["messages"]
        assert said == {"role": "assistant", "content": ""}
