"""What the Responses API is asked: refusals, keys, and turns that go back as they came."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmcache import CacheMissError, InvalidRequestError, KeyRules, Message, Native
from llmcache.providers.base import Provider
from llmcache.testing import ProviderTests
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest

from .responses import SAID, answering, call, message, response, thought
from .support import as_json, collect, completion, final, provider_of, serving

TURN = [
    thought(encrypted_content="gAAA"),
    message(phase="commentary"),
    call('{"city": "Köln"}'),
    {"id": "ts", "type": "tool_search_call", "status": "completed", "arguments": {}},
]


async def test_a_turn_goes_back_to_its_api_as_it_came() -> None:
    async with serving(answering(response(*TURN)), use_responses_api=True) as (provider, upstream):
        for result in (
            await provider.complete("q"),
            final(await collect(provider.stream("q"))),
            await provider.complete("q", cache_response=True),
            await provider.complete("q", cache_response=True),
        ):
            turn = result.to_message()
            as_dict = json.loads(json.dumps(turn.to_dict()))
            for form in (turn, as_dict):
                await provider.complete(["q", form, Message.tool_result("call_1", "12°")])
                assert upstream.requests[-1].json()["input"] == [
                    {"role": "user", "content": "q"},
                    *TURN,
                    {"type": "function_call_output", "call_id": "call_1", "output": "12°"},
                ]


async def test_to_another_api_a_turn_says_the_same_in_its_words() -> None:
    async def either(request: UpstreamRequest) -> Reply:
        if request.path.endswith("/responses"):
            return Reply(body=as_json(response(*TURN)))
        return Reply(body=as_json(completion("ok")))

    async with serving(either, use_responses_api=True) as (provider, upstream):
        turn = (await provider.complete("q")).to_message()
        await provider.complete(["q", turn], use_responses_api=False)
        sent = upstream.requests[-1].json()["messages"][1]
        function = {"name": "f", "arguments": '{"city": "Köln"}'}
        assert sent == {
            "role": "assistant",
            "content": "hi",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        }
        assert "gAAA" not in upstream.requests[-1].body.decode()


async def test_another_api_s_words_are_left_behind() -> None:
    foreign = Native("messages", {"content": [{"type": "thinking", "signature": "s3cret"}]})
    turn = Message("assistant", "a", native=foreign)
    async with serving(answering(response()), use_responses_api=True) as (provider, upstream):
        for form in (turn, turn.to_dict()):
            await provider.complete(["q", form])
            sent = upstream.requests[-1].json()["input"]
            assert sent[1] == {"role": "assistant", "content": "a"}


async def test_a_call_chooses_the_api_and_the_two_share_nothing() -> None:
    def reply(request: UpstreamRequest) -> Reply:
        is_response = request.path.endswith("/responses")
        return Reply(body=as_json(response() if is_response else completion("chat")))

    async with serving(reply) as (provider, upstream):
        chat = await provider.complete("q", cache_response=True)
        other = await provider.complete("q", cache_response=True, use_responses_api=True)
        assert (chat.content, other.content) == ("chat", "hi")
        assert [r.path for r in upstream.requests] == ["/v1/chat/completions", "/v1/responses"]
        again = await provider.complete("q", cache_response=True, use_responses_api=True)
        assert again == other
        assert upstream.calls == 2


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"n": 2}, "n"),
        ({"stop": "x"}, "stop"),
        ({"seed": 1}, "seed"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"functions": []}, "functions"),
        ({"prediction": {}}, "prediction"),
        ({"max_tokens": 1, "max_output_tokens": 2}, "max_tokens"),
        ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"verbosity": "low", "text": {"verbosity": "high"}}, "text.verbosity"),
        ({"response_format": "text", "text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"reasoning": "low"}, "reasoning"),
        ({"tools": {"name": "f"}}, "tools"),
        ({"tools": [7]}, "tools[0]"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"response_format": "yaml"}, "response_format"),
        ({"extra_body": 7}, "extra_body"),
        ({"use_responses_api": "yes"}, "use_responses_api"),
    ],
    ids=str,
)
async def test_an_option_that_cannot_be_is_named(options: dict[str, Any], path: str) -> None:
    async with serving(answering(response()), use_responses_api=True) as (provider, upstream):
        with pytest.raises(InvalidRequestError) as raised:
            await provider.complete("q", **options)
        assert raised.value.path == path
        assert upstream.calls == 0


@pytest.mark.parametrize("name", ["instructions", "include", "previous_response_id", "text"])
async def test_chat_completions_refuse_what_only_the_other_api_has(name: str) -> None:
    async with serving(answering(response())) as (provider, upstream):
        with pytest.raises(InvalidRequestError, match="use_responses_api=True") as raised:
            await provider.complete("q", **{name: "x"})
        assert raised.value.path == name
        assert upstream.calls == 0


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([], "messages"),
        (7, "messages"),
        (b"q", "messages"),
        ([7], "messages[0]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": 5, "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": [5]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0]"),
        ([{"role": "user", "name": "Ann", "content": "x"}], "messages[0].name"),
        ([{"role": "function", "name": "f", "content": "x"}], "messages[0].role"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "assistant", "tool_calls": [{"id": "c"}]}], "messages[0].tool_calls[0]"),
        ([Message("assistant", native=Native("responses", ["x"]))], "messages[0]"),
    ],
    ids=str,
)
async def test_a_message_that_cannot_be_is_named(messages: Any, path: str) -> None:
    async with serving(answering(response()), use_responses_api=True) as (provider, upstream):
        with pytest.raises(InvalidRequestError) as raised:
            await provider.complete(messages)
        assert raised.value.path == path
        assert upstream.calls == 0


STATEFUL: dict[str, tuple[Any, dict[str, Any]]] = {
    "previous response": ("q", {"previous_response_id": "resp_0"}),
    "conversation": ("q", {"conversation": "conv_1"}),
    "prompt": ("q", {"prompt": {"id": "pmpt_1"}}),
    "hosted tool": ("q", {"tools": [{"type": "web_search"}]}),
    "file": ([{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}], {}),
    "reference": ([{"type": "item_reference", "id": "msg_1"}], {}),
    "reasoning by reference": (["q", thought()], {}),
}


@pytest.mark.parametrize(("messages", "options"), STATEFUL.values(), ids=STATEFUL)
async def test_what_depends_on_server_state_is_not_cached_unless_asked(
    messages: Any, options: dict[str, Any]
) -> None:
    async with serving(answering(response()), use_responses_api=True) as (provider, upstream):
        for _ in range(2):
            answer = await provider.complete(messages, cache_response=True, **options)
            assert answer.cache is not None
            assert answer.cache.status == "bypass"
        with pytest.raises(CacheMissError):
            await provider.complete(messages, mode="offline", **options)
        assert upstream.calls == 2
    rules = KeyRules(stateful_ttl=60)
    async with serving(answering(response()), use_responses_api=True, key_rules=rules) as (p, up):
        for _ in range(2):
            await p.complete(messages, cache_response=True, **options)
        assert up.calls == 1


async def test_a_turn_with_encrypted_reasoning_is_cached() -> None:
    async with serving(answering(response(*TURN)), use_responses_api=True) as (provider, upstream):
        first = await provider.complete("q", cache_response=True)
        turns: Any = ["q", first.to_message(), Message.tool_result("call_1", "12")]
        for _ in range(2):
            await provider.complete(turns, cache_response=True)
        assert upstream.calls == 2


class _Demo(Upstream):
    """The demo upstream, which also knows the Responses API, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.statuses: list[int] = []
        self._demo = DemoUpstream()

    def _reply(self, request: UpstreamRequest) -> Any:
        if self.statuses:
            return Reply(self.statuses.pop(), b'{"error": {"message": "made to fail"}}')
        if not request.path.endswith("/responses"):
            return self._demo._answer(request)
        body = request.json()
        asked = {k: v for k, v in body.items() if k != "stream"}
        said = {**SAID, "text": f"An answer to {len(json.dumps(asked))} characters."}
        return answering(response(message(said), model=body["model"]))(request)


class TestOpenAIResponses(ProviderTests):
    @pytest.fixture
    async def server(self) -> AsyncIterator[_Demo]:
        async with _Demo() as server:
            self.server = server
            yield server

    @pytest.fixture
    async def provider(self, server: _Demo) -> AsyncIterator[Provider]:
        async with provider_of(server, use_responses_api=True) as provider:
            yield provider

    def upstream_calls(self, provider: Any) -> int:
        return self.server.calls

    def fail_next(self, provider: Any, status: int) -> bool:
        self.server.statuses.append(status)
        return True
