"""Recorded exchanges, and how to have them again with our provider."""

from __future__ import annotations

import json
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmcache.providers.openai_chat import CHAT_OPTIONS
from llmcache.providers.openai_embeddings import EMBEDDING_OPTIONS
from llmcache.providers.openai_responses import RESPONSES_OPTIONS
from llmcache.testing.upstream import Reply

# The bodies are stored decoded: these headers would describe another form of them.
_FRAMING = {"content-encoding", "content-length", "transfer-encoding"}
_DELIVERY = {"stream", "stream_options"}
# How many rows of each kind there are.
WHOLE, STREAMED, ERRORS, VECTORS, VECTOR_ERRORS = 71, 20, 23, 10, 3
# What is not stored unless asked: the length limit cut these answers.
TRUNCATED = {
    "azure-openai/chat/azure_chat_acompletion.0.613a30c3.json",
    "azure-openai/chat/azure_chat_completion.0.e3ebfd1d.json",
    "compat-router-huggingface-co/chat/test_max_completion_tokens.0.bb65b352.json",
    "openai/chat/test_vision.1.ae27b0af.json",
}
# What is not stored unless asked: the model refused.
REFUSED = {
    "openai/chat/test_async_parsed_refused_completion_with_events_with_conten.1.62beaf80.json",
    "openai/chat/test_async_parsed_refused_completion_with_events_with_conten.2.2242a73b.json",
    "openai/chat/test_async_parsed_refused_completion_with_events_with_no_con.1.abc434f1.json",
    "openai/chat/test_async_parsed_refused_completion_with_events_with_no_con.2.e67935ca.json",
    "openai/chat/test_parsed_refused_completion.0.b05ee7ae.json",
    "openai/chat/test_parsed_refused_completion.1.666e5865.json",
    "openai/chat/test_parsed_refused_completion_with_events_with_no_content.2.fb386730.json",
}
# What is never stored: the stream has an end for one of its two choices only.
UNFINISHED = {
    "compat-0-0-0-0-4000/chat/completion_stream_multiple_choices_exclude_usage_proxy.0.bcb6ea7a.json"
}
# Why a request that we send differs from the one that was recorded.
WITHOUT_MODEL = {  # Azure names the model in the URL; our body always has one.
    "azure-openai/chat/azure_chat_acompletion.0.613a30c3.json",
    "azure-openai/chat/azure_chat_completion.0.e3ebfd1d.json",
}
NO_ENCODING = {  # We ask for base64 where the caller does not care; it is the same vector.
    "openai/embeddings/test_embeddings_model_not_found.0.24357cae.json",
    "openai/embeddings/test_embeddings_with_dimensions.0.1de45cfb.json",
}
UNRECORDED_REQUESTS = 13  # a stand-in prompt is sent for these


STAND_IN: Mapping[str, Any] = {
    "model": "stand-in",
    "messages": [{"role": "user", "content": "The request of this exchange was not recorded."}],
}


@dataclass(frozen=True)
class Exchange:
    """One recorded exchange. `request` is `None` where only the answer was recorded."""

    name: str
    endpoint: str
    tags: frozenset[str]
    status: int
    headers: Mapping[str, str]
    body: bytes
    request: Mapping[str, Any] | None
    is_stream: bool

    @property
    def asked(self) -> Mapping[str, Any]:
        """The request's body, or a stand-in."""
        return STAND_IN if self.request is None else self.request

    @property
    def is_error(self) -> bool:
        """Whether the answer is an error, whatever its status says."""
        return self.status >= 400 or "error_in_200_body" in self.tags

    @property
    def has_typeless_tools(self) -> bool:
        """Whether tools come as Mistral's SDK writes them, without the `type`: see its own test."""
        return any("type" not in tool for tool in self.asked.get("tools") or ())

    def reply(self) -> Reply:
        """Return the recorded answer, byte for byte."""
        kept = {n.lower(): v for n, v in self.headers.items() if n.lower() not in _FRAMING}
        return Reply(status=self.status, body=self.body, headers=kept)

    def chat(self) -> tuple[Any, dict[str, Any]]:
        """Return the messages and the options that make our provider send the same request.

        What has no option of its own, or would be read as something else (a tool
        choice that is not one of ours, an explicit null), goes into `extra_body`.
        """
        options: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, value in self.asked.items():
            if name == "messages" or name in _DELIVERY:
                continue
            known = name in CHAT_OPTIONS and value is not None
            if name == "tools" and self.has_typeless_tools:
                known = False
            (options if known else extra)[name] = value
        return self.asked["messages"], {**options, "extra_body": extra}

    def response(self) -> tuple[Any, dict[str, Any]]:
        """As `chat`, of the Responses API."""
        rest = {k: v for k, v in self.asked.items() if k not in {"input", "messages", "stream"}}
        own = RESPONSES_OPTIONS | {"model"}
        options = {k: v for k, v in rest.items() if k in own and v is not None}
        extra = {k: v for k, v in rest.items() if k not in options}
        messages = self.asked.get("input", self.asked.get("messages"))
        return messages, {**options, "extra_body": extra}

    def embedding(self) -> tuple[Any, dict[str, Any]]:
        """Return the inputs and the options that make our provider send the same request."""
        rest = {name: value for name, value in self.asked.items() if name != "input"}
        options = {name: value for name, value in rest.items() if name in EMBEDDING_OPTIONS}
        extra = {name: value for name, value in rest.items() if name not in EMBEDDING_OPTIONS}
        return self.asked["input"], {**options, "extra_body": extra}


def undelivered(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a wire body without the fields that only choose how the answer is delivered."""
    return {name: value for name, value in body.items() if name not in _DELIVERY}


def load(recordings: Path, endpoint: str) -> list[Exchange]:
    """Return every exchange of an endpoint, in the manifest's order."""
    rows = json.loads((recordings / "manifest.json").read_text())
    return [_exchange(recordings, row) for row in rows if row["endpoint"] == endpoint]


def _exchange(recordings: Path, row: Mapping[str, Any]) -> Exchange:
    data = json.loads((recordings / row["file"]).read_text())
    request, response = data["request"].get("body"), data["response"]
    return Exchange(
        name=row["file"],
        endpoint=row["endpoint"],
        tags=frozenset(row["tags"]),
        status=response["status"],
        headers=response.get("headers") or {},
        body=response["body"].encode(),
        request=request,
        is_stream=row["stream"],
    )


async def each(exchanges: Iterable[Exchange], check: Callable[[Exchange], Awaitable[None]]) -> int:
    """Check all, report every one that fails by name, and return how many there were."""
    problems: dict[str, str] = {}
    count = 0
    for exchange in exchanges:
        count += 1
        try:
            await check(exchange)
        except Exception:  # noqa: BLE001 - reported below, with its name
            problems[exchange.name] = traceback.format_exc(limit=-2)
    assert not problems, "\n".join(f"{name}\n{text}" for name, text in problems.items())
    return count


def kept_headers(exchange: Exchange) -> dict[str, str]:
    """Return those recorded headers that tell something about the answer, and nothing of the account."""
    names = {"x-request-id", "request-id", "apim-request-id", "openai-processing-ms"}
    recorded = {name.lower(): value for name, value in exchange.headers.items()}
    return {name: recorded[name] for name in names & recorded.keys()}


def check_request(exchange: Exchange, sent: Mapping[str, Any]) -> None:
    """Check that what we sent is what was recorded, apart from delivery."""
    ours, theirs = undelivered(sent), undelivered(exchange.asked)
    if exchange.name in WITHOUT_MODEL:
        assert "model" not in theirs
        del ours["model"]
    if exchange.name in NO_ENCODING:
        assert "encoding_format" not in theirs
        assert ours.pop("encoding_format") == "base64"
    assert ours == theirs
    if exchange.is_stream and not exchange.is_error:
        # Whatever was recorded: without its usage a stream could not answer a whole call.
        assert sent["stream"] is True
        assert sent["stream_options"] == {"include_usage": True}
