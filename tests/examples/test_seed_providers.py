"""Claude, local models, errors and shared connections as users know them; see `test_seed_blocks`.

Typed anew after the sections on providers of two documents. One has a client class per
provider with `chat` and `chat_stream`: there, what is shown of a class is run on ours,
imported under its name, as far as both have the method.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmcache import (
    ANTHROPIC_AVAILABLE,
    AnthropicProvider,
    OllamaProvider,
    OpenAIProvider,
    StreamEventType,
    get_provider,
)
from llmcache import AuthenticationError as LLMAuthError
from llmcache import ConnectionFailedError as LLMConnectionError
from llmcache import ContextLengthError as LLMContextLengthError
from llmcache import OllamaProvider as AsyncOllamaClient
from llmcache import OpenAIProvider as AsyncOpenAICompatClient
from llmcache import ProviderError as LLMError
from llmcache import RateLimitError as LLMRateLimitError
from llmcache import ResponseTimeoutError as LLMTimeoutError
from llmcache import close_all as close_all_cloud_clients
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest

SECRET = "sk-ant-test-secret"
TEXT = "Recursion is a function that calls itself."
WEATHER = {
    "name": "get_weather",
    "description": "Get weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "City name"}},
        "required": ["location"],
    },
}


# --- Claude -----------------------------------------------------------------------------------


def _said(**top: Any) -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 8}
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "usage": usage}
    return {**whole, "stop_reason": "end_turn", "stop_sequence": None, **top}


def _pieces(model: str) -> list[dict[str, Any]]:
    """Return the events of an answer that thinks first."""
    started = _said(model=model, content=[], stop_reason=None)
    thinking = {"type": "thinking_delta", "thinking": "Hm."}
    signature = {"type": "signature_delta", "signature": "c2ln"}
    block = {"type": "thinking", "thinking": "", "signature": ""}
    return [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": thinking},
        {"type": "content_block_delta", "index": 0, "delta": signature},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": t}}
            for t in TEXT.split(" ")
        ),
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 8},
        },
        {"type": "message_stop"},
    ]


def _claude(request: UpstreamRequest) -> Reply:
    """Stand in for the Messages API: a text, a tool's call, or a stream that thinks first."""
    body = request.json()
    if body.get("stream"):
        events = [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in _pieces(body["model"])]
        headers = {"content-type": "text/event-stream"}
        return Reply(body="".join(events).encode(), headers=headers)
    blocks: list[dict[str, Any]] = [{"type": "text", "text": TEXT}]
    reason = "end_turn"
    if body.get("tools"):
        tool, reason = body["tools"][0]["name"], "tool_use"
        blocks = [{"type": "tool_use", "id": "toolu_1", "name": tool, "input": {"location": "X"}}]
    said = _said(model=body["model"], content=blocks, stop_reason=reason)
    return Reply(body=json.dumps(said).encode())


@pytest.fixture
async def claude(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> AsyncIterator[Upstream]:
    """What the document takes for granted: a key in the environment, Claude at its address."""
    async with Upstream(_claude) as upstream:
        monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", upstream.base_url)
        monkeypatch.chdir(tmp_path)
        yield upstream


async def test_using_claude(claude: Upstream) -> None:
    if not ANTHROPIC_AVAILABLE:
        raise ImportError("Install with: pip install llm-client[anthropic]")
    provider = AnthropicProvider(
        model="claude-3-5-sonnet-20241022",
        max_tokens=1024,
    )
    result = await provider.complete("Explain quantum entanglement briefly.")
    assert result.content == TEXT
    (request,) = claude.requests
    assert request.headers["x-api-key"] == SECRET
    asked = request.json()
    assert (asked["model"], asked["max_tokens"]) == ("claude-3-5-sonnet-20241022", 1024)
    await provider.close()


async def test_the_constructor_of_claude_and_a_completion(claude: Upstream) -> None:
    provider = AnthropicProvider(
        model="claude-3-5-sonnet-20241022",
        api_key=None,
        base_url=None,
        max_tokens=4096,
        default_temperature=None,
    )
    result = await provider.complete(
        messages="Explain recursion",
        tools=None,
        tool_choice=None,
        temperature=0.7,
        max_tokens=1000,
    )
    assert result.ok
    assert result.usage is not None
    assert result.usage.total_tokens == 17
    asked = claude.requests[0].json()
    assert (asked["temperature"], asked["max_tokens"]) == (0.7, 1000)
    assert not {"tools", "tool_choice"} & asked.keys()
    await provider.close()


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("any", {"type": "any"}),
        ("get_weather", {"type": "tool", "name": "get_weather"}),
    ],
)
async def test_tool_choices_of_claude(given: str, sent: dict[str, str], claude: Upstream) -> None:
    provider = AnthropicProvider(model="claude-3-5-sonnet-20241022")
    response = await provider.complete("Weather?", tools=[WEATHER], tool_choice=given)
    assert claude.requests[0].json()["tool_choice"] == sent
    assert response.has_tool_calls
    assert [(tc.name, tc.parse_arguments()) for tc in response.tool_calls or ()] == [
        ("get_weather", {"location": "X"})
    ]
    await provider.close()


async def test_streaming_claude(claude: Upstream) -> None:
    provider = AnthropicProvider(model="claude-3-5-sonnet-20241022")
    text = ""
    async for event in provider.stream("Write a poem"):
        if event.type == StreamEventType.TOKEN:
            text += event.data
        elif event.type == StreamEventType.REASONING:
            text += f"[Thinking: {event.data}]"
    assert text == "[Thinking: Hm.]" + TEXT.replace(" ", "")
    await provider.close()


async def test_claude_has_no_embeddings(claude: Upstream) -> None:
    provider = AnthropicProvider(model="claude-3-5-sonnet-20241022")
    with pytest.raises(NotImplementedError):
        await provider.embed("Text to embed")
    assert claude.calls == 0
    await provider.close()


async def test_a_system_prompt_beside_the_messages(claude: Upstream) -> None:
    async with AnthropicProvider("claude-sonnet-4-20250514", api_key=SECRET) as client:
        response = await client.complete(
            messages=[{"role": "user", "content": "Hello!"}],
            system="You are helpful.",
        )
    assert response.content == TEXT
    assert response.finish_reason == "end_turn"
    assert response.raw["id"] == "msg_1"
    assert claude.requests[0].json()["system"] == "You are helpful."


# --- local models -----------------------------------------------------------------------------


class _Ollama(Upstream):
    """Stands in for an Ollama server that can be told to fetch a model."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.models = ["llama3.2:latest", "qwen2.5:3b"]

    @property
    def pulled(self) -> list[str]:
        return [r.json()["model"] for r in self.requests if r.path == "/api/pull"]

    def _reply(self, request: UpstreamRequest) -> Reply:
        if request.path == "/api/tags":
            listed = [{"name": name, "model": name} for name in self.models]
            return Reply(body=json.dumps({"models": listed}).encode())
        body = request.json()
        if request.path == "/api/pull":
            self.models.append(body["model"])
            steps = [{"status": "pulling manifest"}, {"status": "success"}]
            return Reply(body="".join(f"{json.dumps(step)}\n" for step in steps).encode())
        top = {"model": body["model"], "created_at": "2026-11-21T12:00:00Z"}
        counts = {"prompt_eval_count": 7, "eval_count": 3, "done_reason": "stop"}
        if not body["stream"]:
            whole = {"message": {"role": "assistant", "content": "Hello there."}, "done": True}
            return Reply(body=json.dumps({**top, **whole, **counts}).encode())
        parts: list[dict[str, Any]] = [
            {"message": {"role": "assistant", "content": word}, "done": False}
            for word in ("Hello ", "there.")
        ]
        last = {"message": {"role": "assistant", "content": ""}, "done": True, **counts}
        lines = [json.dumps({**top, **part}) for part in [*parts, last]]
        return Reply(body="".join(f"{line}\n" for line in lines).encode())


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> AsyncIterator[_Ollama]:
    async with _Ollama() as upstream:
        monkeypatch.setenv("OLLAMA_HOST", upstream.base_url.removesuffix("/v1"))
        monkeypatch.chdir(tmp_path)
        yield upstream


async def test_which_models_are_there(server: _Ollama) -> None:
    client = AsyncOllamaClient()
    if await client.is_available():
        models = await client.list_models()
        assert models == ["llama3.2:latest", "qwen2.5:3b"]
    assert await client.has_model("llama3.2") is True
    assert await client.has_model("codellama:7b") is False
    await client.close()


async def test_nobody_is_there() -> None:
    async with _Ollama() as gone:
        url = gone.base_url.removesuffix("/v1")
    client = AsyncOllamaClient(base_url=url)
    assert await client.is_available() is False
    await client.close()


async def test_the_default_of_local_models(server: _Ollama) -> None:
    client = AsyncOllamaClient(model="qwen2.5:3b")
    response = await client.complete([{"role": "user", "content": "Hello!"}])
    assert response.content == "Hello there."
    assert response.model == "qwen2.5:3b"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 3)
    assert OllamaProvider().model == "qwen2.5:3b"
    await client.close()


async def test_streaming_a_local_model(server: _Ollama) -> None:
    text = ""
    async with AsyncOllamaClient(model="llama3.2") as client:
        async for event in client.stream([{"role": "user", "content": "Hello!"}]):
            if event.type == StreamEventType.TOKEN:
                text += event.data
    assert text == "Hello there."


async def test_model_management(server: _Ollama) -> None:
    client = AsyncOllamaClient()
    assert await client.ensure_model("llama3.2") is True
    assert server.pulled == []
    assert await client.pull_model("codellama:7b") is True
    assert await client.ensure_model("llama3.2:3b") is True
    assert server.pulled == ["codellama:7b", "llama3.2:3b"]
    assert await client.has_model("codellama:7b") is True
    await client.close()


# --- errors, connections, names -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (429, {"message": "slow down"}, "Rate limited, retry after 7.0s"),
        (401, {"message": "who?"}, "Invalid API key"),
        (400, {"message": "m", "code": "context_length_exceeded"}, "Context too long: m"),
        (504, {"message": "m"}, "Request timed out"),
        (500, {"message": "oops"}, "API error: oops (status: 500)"),
    ],
)
async def test_error_handling(status: int, error: dict[str, str], said: str) -> None:
    body = json.dumps({"error": error}).encode()
    reply = Reply(status, body, {"retry-after": "7"})
    async with Upstream(lambda _: reply) as upstream:
        client = OpenAIProvider("gpt-4o", base_url=upstream.base_url, attempts=1)
        try:
            await client.complete("Hello!")
        except LLMRateLimitError as e:
            heard = f"Rate limited, retry after {e.retry_after}s"
        except LLMAuthError:
            heard = "Invalid API key"
        except LLMContextLengthError as e:
            heard = f"Context too long: {e.message}"
        except LLMTimeoutError:
            heard = "Request timed out"
        except LLMError as e:
            heard = f"API error: {e.message} (status: {e.status_code})"
        assert heard == said
        await client.close()


async def test_nobody_answers() -> None:
    async with DemoUpstream() as upstream:
        url = upstream.base_url
    async with OpenAIProvider("gpt-4o", base_url=url, attempts=1) as client:
        with pytest.raises(LLMConnectionError) as raised:
            await client.complete("Hello!")
    assert raised.value.status_code is None


async def test_clients_of_one_server_share_their_connections(upstream: DemoUpstream) -> None:
    url = upstream.base_url
    client1 = AsyncOpenAICompatClient("gpt-4o", api_key="user1-key", base_url=url)
    client2 = AsyncOpenAICompatClient("gpt-4o", api_key="user2-key", base_url=url)
    await client1.complete("Hello!")
    await client2.complete("Hello!")
    assert client1._transport._pool is client2._transport._pool
    keys = [request.headers["authorization"] for request in upstream.requests]
    assert keys == ["Bearer user1-key", "Bearer user2-key"]
    await close_all_cloud_clients()
    assert client1._transport._pool.client.is_closed


async def test_a_server_with_openai_s_api(upstream: DemoUpstream) -> None:
    client = AsyncOpenAICompatClient(
        api_key="gsk-test-secret",
        base_url=upstream.base_url,
        model="llama-3.3-70b-versatile",
    )
    response = await client.complete([{"role": "user", "content": "Hello!"}])
    assert response.ok
    assert upstream.requests[0].json()["model"] == "llama-3.3-70b-versatile"
    await client.close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("anthropic", AnthropicProvider),
        ("openai", OpenAIProvider),
        ("groq", OpenAIProvider),
        ("ollama", OllamaProvider),
    ],
)
def test_available_providers(name: str, kind: type) -> None:
    provider = get_provider(name, api_key="...", model="claude-sonnet-4-20250514")
    assert type(provider) is kind
