"""Short ways to make requests and compare their keys, for the tests in this folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmcache.keys import KeyRules, Request, normalize_endpoint

ANTHROPIC: Final = {"anthropic-version": "2023-06-01"}
NATIVE: Final = {
    "chat": "https://api.openai.com/v1/chat/completions",
    "responses": "https://api.openai.com/v1/responses",
    "completions": "https://api.openai.com/v1/completions",
    "embedding": "https://api.openai.com/v1/embeddings",
    "messages": "https://api.anthropic.com/v1/messages",
    "ollama.chat": "http://127.0.0.1:11434/api/chat",
    "ollama.generate": "http://127.0.0.1:11434/api/generate",
}
"""Where each API lives with its own provider, whose documented defaults hold there."""
FOREIGN: Final = {
    "chat": "https://llm.example/v1/chat/completions",
    "responses": "https://llm.example/v1/responses",
    "completions": "https://llm.example/v1/completions",
    "embedding": "https://llm.example/v1/embeddings",
    "messages": "https://llm.example/v1/messages",
    "ollama.chat": "https://llm.example/api/chat",
    "ollama.generate": "https://llm.example/api/generate",
}
"""The same APIs, spoken by somebody else."""


def ask(
    kind: str,
    body: Mapping[str, Any],
    *,
    merge: Iterable[str] = (),
    url: str | None = None,
    native: bool = False,
    **more: Any,
) -> Request:
    """Return the request for `body`, at a foreign endpoint unless told otherwise."""
    if kind == "messages":
        more.setdefault("api", ANTHROPIC)
    endpoint = normalize_endpoint(url or (NATIVE if native else FOREIGN)[kind])
    return Request(kind, endpoint, body, rules=KeyRules(merge), **more)


def key(kind: str, body: Mapping[str, Any], **how: Any) -> str:
    """Return the key of `body`."""
    return ask(kind, body, **how).key()


def same(kind: str, a: Mapping[str, Any], b: Mapping[str, Any], **how: Any) -> bool:
    """Return whether two bodies share a key; their order does not matter to anybody."""
    return key(kind, a, **how) == key(kind, b, **how)


# --- bodies ---------------------------------------------------------------------------------


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    """Return a chat body of these messages; a string is a user's."""
    turns = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
    return {"model": "m", "messages": turns or [{"role": "user", "content": "q"}], **fields}


def said(content: Any, **fields: Any) -> dict[str, Any]:
    """Return a user's message."""
    return {"role": "user", "content": content, **fields}


def text(value: str, **fields: Any) -> dict[str, Any]:
    """Return a chat or Anthropic text part."""
    return {"type": "text", "text": value, **fields}


def image(url: str, **fields: Any) -> dict[str, Any]:
    """Return a chat image part."""
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def call(name: str, call_id: str, arguments: str = "{}") -> dict[str, Any]:
    """Return a chat tool call."""
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def calls(*made: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an assistant's message that makes tool calls."""
    return {"role": "assistant", "tool_calls": list(made), **fields}


def result(call_id: str, content: Any) -> dict[str, Any]:
    """Return a chat tool result."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def tool(parameters: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a chat function tool."""
    schema = {"type": "object", "properties": {}} if parameters is None else parameters
    return {"type": "function", "function": {"name": "f", "parameters": schema, **fields}}


def used(tool_input: Any, name: str = "f") -> dict[str, Any]:
    """Return an Anthropic body whose assistant used a tool with this input."""
    block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": tool_input}
    turns = [said("q"), {"role": "assistant", "content": [block]}]
    return {"model": "m", "max_tokens": 9, "messages": turns}


def items(*given: Any, **fields: Any) -> dict[str, Any]:
    """Return a Responses body of these input items."""
    return {"model": "m", "input": list(given), **fields}
