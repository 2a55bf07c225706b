"""Pinned requests of the other wire APIs: responses, messages, Ollama's two, completions, embeddings."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

from golden_values import FORMATS, SCHEMAS, STRINGS

__all__ = ["others"]

_PNG: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n\xfb\xff").decode()
_FOREIGN: Final = "https://llm.example/v1/"
_CALL: Final = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
_OUTPUT: Final = {"type": "function_call_output", "call_id": "c1", "output": "1"}
_THOUGHT: Final = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "s"}],
}
_MCP: Final = {
    "type": "mcp",
    "server_label": "m",
    "server_url": "https://mcp.example/a",
    "authorization": "t",
    "headers": {"X-A": "b"},
}
_RESPONSES: Final[dict[str, dict[str, Any]]] = {
    "string": {"input": "Hi"},
    "items": {"input": [{"role": "user", "content": "Hi"}]},
    "typed": {"input": [{"type": "message", "role": "user", "content": "Hi"}]},
    "parts": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
    "image": {
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{_PNG}"}],
            }
        ]
    },
    "instructions": {"input": "Hi", "instructions": "Be brief."},
    "no-instructions": {"input": "Hi", "instructions": None, "tools": []},
    "inherited": {
        "input": "Hi",
        "previous_response_id": "resp_1",
        "tools": [],
        "instructions": None,
    },
    "conversation": {"input": "Hi", "conversation": "conv_1"},
    "template": {"prompt": {"id": "pmpt_1", "variables": {"a": "b"}}},
    "background": {"input": "Hi", "background": True},
    "calls": {"input": [{"role": "user", "content": "Hi"}, _CALL, _OUTPUT]},
    "reasoning": {"input": [{"role": "user", "content": "Hi"}, _THOUGHT]},
    "encrypted": {"input": [{**_THOUGHT, "encrypted_content": "gAAA"}]},
    "reference": {"input": [{"type": "item_reference", "id": "msg_1"}]},
    "tool": {
        "input": "Hi",
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMAS["two"], "strict": True}],
        "tool_choice": "auto",
    },
    "tool-turned": {
        "input": "Hi",
        "tools": [
            {"type": "function", "name": "f", "parameters": SCHEMAS["two-turned"], "strict": True}
        ],
    },
    "tool-lax": {
        "input": "Hi",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": False}],
    },
    "custom-tool": {"input": "Hi", "tools": [{"type": "custom", "name": "f"}]},
    "web-search": {"input": "Hi", "tools": [{"type": "web_search"}]},
    "text": {"input": "Hi", "text": {"format": FORMATS["flat"], "verbosity": "low"}},
    "effort": {"input": "Hi", "reasoning": {"effort": "high", "summary": None}},
    "sampling": {"input": "Hi", "temperature": 0.5, "top_p": 1, "max_output_tokens": 16},
    "include": {"input": "Hi", "include": ["reasoning.encrypted_content"], "truncation": "auto"},
    "mcp": {"input": "Hi", "tools": [_MCP]},
    "neutral": {"input": "Hi", "stream": True, "metadata": {"a": "b"}, "user": "u"},
}
_HELLO: Final = [{"role": "user", "content": "Hi"}]
_USE: Final = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": None, "a": [1.0]}}
_RESULT: Final = {
    "type": "tool_result",
    "tool_use_id": "toolu_1",
    "content": [{"type": "text", "text": "1"}],
}
_SOURCE: Final = {"type": "base64", "media_type": "image/png", "data": _PNG}
_MARK: Final = {"cache_control": {"type": "ephemeral"}}
_MESSAGES: Final[dict[str, dict[str, Any]]] = {
    "bare": {"messages": _HELLO},
    "system": {"messages": _HELLO, "system": "Be brief."},
    "system-blocks": {"messages": _HELLO, "system": [{"type": "text", "text": "Be brief.", **_MARK}]},
    "blocks": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", **_MARK}]}]},
    "image": {"messages": [{"role": "user", "content": [{"type": "image", "source": _SOURCE}]}]},
    "image-url": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "url", "url": "https://i.example/a"}}],
            }
        ]
    },
    "document": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "title": "t",
                        "source": {"type": "text", "media_type": "text/plain", "data": "Hello"},
                    }
                ],
            }
        ]
    },
    "tool-use": {
        "messages": [
            *_HELLO,
            {"role": "assistant", "content": [_USE]},
            {"role": "user", "content": [_RESULT]},
        ]
    },
    "thinking": {
        "messages": [
            *_HELLO,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                ],
            },
        ],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    },
    "tools": {
        "messages": _HELLO,
        "tools": [{"name": "f", "input_schema": SCHEMAS["two"], **_MARK}],
        "tool_choice": {"type": "auto"},
    },
    "tools-turned": {"messages": _HELLO, "tools": [{"name": "f", "input_schema": SCHEMAS["two-turned"]}]},
    "output-config": {"messages": _HELLO, "output_config": {"format": FORMATS["flat"], "effort": "low"}},
    "stops": {"messages": _HELLO, "stop_sequences": ["b", "a"]},
    "mcp": {
        "messages": _HELLO,
        "mcp_servers": [{"type": "url", "url": _MCP["server_url"], "authorization_token": "t"}],
    },
    "temperature-1": {"messages": _HELLO, "temperature": 1.0},
    "temperature-0": {"messages": _HELLO, "temperature": 0, "top_k": 5, "top_p": 0.9},
    "neutral": {"messages": _HELLO, "metadata": {"user_id": "u"}, "stream": True, **_MARK},
    "tier": {"messages": _HELLO, "service_tier": "auto", "speed": "fast"},
    "container": {"messages": _HELLO, "container": "c_1"},
}  # fmt: skip
_OLLAMA: Final[dict[str, dict[str, Any]]] = {
    "bare": {"model": "llama3"},
    "latest": {"model": "llama3:latest"},
    "tag": {"model": "llama3:8b"},
    "path": {"model": "hf.co/x/y"},
    "options": {"model": "llama3", "options": {"seed": 1, "num_ctx": 4096, "temperature": 0.0}},
    "json": {"model": "llama3", "format": "json"},
    "schema": {"model": "llama3", "format": SCHEMAS["two"]},
    "schema-turned": {"model": "llama3", "format": SCHEMAS["two-turned"]},
    "think": {"model": "llama3", "think": "low", "logprobs": True},
    "neutral": {"model": "llama3", "keep_alive": "5m", "stream": False},
}
_OLLAMA_CHAT: Final[dict[str, dict[str, Any]]] = {
    "no-tools": {"model": "llama3", "tools": []},
    "image": {"model": "llama3", "messages": [{"role": "user", "content": "?", "images": [_PNG]}]},
    "call": {
        "model": "llama3",
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": "f", "arguments": {"b": None, "a": 1.0}}}],
            },
            {"role": "tool", "tool_name": "f", "content": "1"},
        ],
    },
}
_GENERATE: Final[dict[str, dict[str, Any]]] = {
    "image": {"model": "llava", "images": [_PNG]},
    "system": {"model": "llama3", "system": "Be brief.", "template": "{{ .Prompt }}", "raw": True},
    "fill": {"model": "llama3", "suffix": "end", "context": [1, 2, 3]},
}
_COMPLETIONS: Final[dict[str, dict[str, Any]]] = {
    "bare": {"prompt": "Once"},
    "list": {"prompt": ["Once", "Twice"]},
    "tokens": {"prompt": [1, 2, 3]},
    "sampling": {"prompt": "Once", "temperature": 0.5, "top_p": 1, "seed": 3, "n": 2, "best_of": 2},
    "stop": {"prompt": "Once", "stop": ["b", "a"], "max_tokens": 16},
    "echo": {"prompt": "Once", "echo": True, "logprobs": 3, "suffix": "end"},
    "neutral": {"prompt": "Once", "user": "u", "stream": True},
}
_EMBEDDINGS: Final[dict[str, dict[str, Any]]] = {
    **{f"text-{name}": {"input": STRINGS[name]} for name in ("empty", "ascii", "newlines", "nfd", "emoji")},
    "list": {"input": ["a", "b"]},
    "tokens": {"input": [1, 2, 3]},
    "dimensions": {"input": "a", "dimensions": 256},
    "base64": {"input": "a", "encoding_format": "base64", "user": "u"},
    "unknown": {"input": "a", "input_type": "query"},
}  # fmt: skip
_VERSIONS: Final = {
    "old": {"anthropic-version": "2023-06-01"},
    "new": {"anthropic-version": "2026-10-21"},
    "beta": {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"},
    "none": {},
}


def _made(kind: str, url: str, table: dict[str, dict[str, Any]], **more: Any) -> Iterator[Any]:
    for name, body in table.items():
        yield {"id": f"{kind}/{name}", "kind": kind, "url": url, "body": body, **more}


def others() -> Iterator[dict[str, Any]]:
    """Yield the requests, without their keys."""
    version = _VERSIONS["old"]
    anthropic = "https://api.anthropic.com/v1/messages"
    yield from _made("responses", f"{_FOREIGN}responses", _RESPONSES)
    yield from _made("messages", anthropic, _MESSAGES, api=version)
    yield from _made("ollama.chat", "http://127.0.0.1:11434/api/chat", {**_OLLAMA, **_OLLAMA_CHAT})
    yield from _made(
        "ollama.generate", "http://127.0.0.1:11434/api/generate", {**_OLLAMA, **_GENERATE}
    )
    yield from _made("completions", "https://api.openai.com/v1/completions", _COMPLETIONS)
    yield from _made("embedding", "https://api.openai.com/v1/embeddings", _EMBEDDINGS)
    body = _MESSAGES["temperature-1"]
    for name, api in _VERSIONS.items():
        (made,) = _made("messages", anthropic, {f"version-{name}": body}, api=api)
        yield made
    (native,) = _made(
        "responses", "https://api.openai.com/v1/responses", {"native": _RESPONSES["tool"]}
    )
    yield native
    ids = [*_made("responses", f"{_FOREIGN}responses", {"merged": _RESPONSES["calls"]})]
    yield {**ids[0], "merge": ["instructions", "item_ids", "tool_call_ids"]}
    yield {"id": "tomorrow/bare", "kind": "tomorrow", "url": _FOREIGN, "body": {"a": [1.0, None]}}
