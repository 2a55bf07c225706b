"""The requests whose keys are pinned: families of named variations, of every kind of request.

Names are for ever: a request may be added, none renamed or changed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

from golden_others import others
from golden_values import FORMATS, MESSAGES, NUMBERS, SCHEMAS, STRINGS

from llmcache.keys import OPT_IN

__all__ = ["requests"]

_Request = dict[str, Any]
OPENAI: Final = "https://api.openai.com/v1/"
OTHER: Final = "https://llm.example/v1/"
_PNG: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n\xfb\xff").decode()
_WAV: Final = base64.b64encode(b"RIFF....WAVE").decode()


def _chat(name: str, body: dict[str, Any], **more: Any) -> _Request:
    body = {"model": "gpt-5-nano", "messages": [{"role": "user", "content": "Hi"}], **body}
    return {
        "id": f"chat/{name}",
        "kind": "chat",
        "url": f"{OTHER}chat/completions",
        "body": body,
    } | more


def _native(name: str, body: dict[str, Any], **more: Any) -> _Request:
    return _chat(name, body, url=f"{OPENAI}chat/completions", **more)


def _function(schema: Any, **fields: Any) -> dict[str, Any]:
    function = {"name": "look_up", "description": "Looks it up.", "parameters": schema, **fields}
    return {"type": "function", "function": function}


def _with_tool_calls() -> list[Any]:
    calls = [
        {
            "id": f"call_{letter}",
            "type": "function",
            "function": {"name": "look_up", "arguments": f'{{"q": "{letter}"}}'},
        }
        for letter in "xy"
    ]
    results = [
        {"role": "tool", "tool_call_id": f"call_{letter}", "content": f"found {letter}"}
        for letter in "yx"
    ]
    question = {"role": "user", "content": "Look up x and y"}
    return [question, {"role": "assistant", "content": "", "tool_calls": calls}, *results]


_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "bare": {},
    "temperature-0": {"temperature": 0},
    "temperature-0.2": {"temperature": 0.2},
    "temperature-1": {"temperature": 1},
    "top-p": {"top_p": 0.95},
    "n-1": {"n": 1},
    "n-3": {"n": 3},
    "seed": {"seed": 42},
    "seed-negative": {"seed": -1},
    "max-tokens": {"max_tokens": 256},
    "max-completion-tokens": {"max_completion_tokens": 256},
    "stop-one": {"stop": "\n\n"},
    "stop-many": {"stop": ["b", "a", "b"]},
    "stop-empty": {"stop": []},
    "penalties": {"presence_penalty": 0.5, "frequency_penalty": -0.5},
    "penalties-0": {"presence_penalty": 0.0, "frequency_penalty": -0.0},
    "logit-bias": {"logit_bias": {"50256": -100, "11": 5}},
    "logprobs": {"logprobs": True, "top_logprobs": 5},
    "logprobs-off": {"logprobs": False},
    "effort": {"reasoning_effort": "high", "verbosity": "low"},
    "modalities": {"modalities": ["text", "audio"], "audio": {"voice": "ash", "format": "wav"}},
    "prediction": {"prediction": {"type": "content", "content": "Hi there"}},
    "web-search": {"web_search_options": {"search_context_size": "low"}},
    "moderation": {"moderation": {"model": "omni-moderation-latest"}},
    "service-tier": {"service_tier": "flex"},
    "store": {"store": True},
    "parallel": {"parallel_tool_calls": False},
    "function-call": {"function_call": "auto", "functions": [{"name": "f", "parameters": {}}]},
    "neutral": {
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u-1",
        "metadata": {"run": "7"},
        "prompt_cache_key": "k",
        "safety_identifier": "s",
    },
    "nulls": {"temperature": None, "tools": None, "stop": None, "seed": None},
    "unknown-number": {"top_k": 40},
    "unknown-text": {"reasoning_format": "hidden"},
    "unknown-list": {"documents": ["a", "b"]},
    "unknown-null": {"min_p": None},
    "unknown-bool": {"include_reasoning": False},
}
_IMAGES: Final[dict[str, Any]] = {
    "png": {"url": f"data:image/png;base64,{_PNG}"},
    "png-url-safe": {"url": f"data:IMAGE/PNG;base64,{_PNG.translate(str.maketrans('+/', '-_'))}"},
    "png-detail": {"url": f"data:image/png;base64,{_PNG}", "detail": "auto"},
    "jpeg": {"url": f"data:image/jpeg;base64,{_PNG}"},
    "svg-text": {"url": "data:image/svg+xml,%3Csvg/%3E"},
    "broken": {"url": "data:image/png;base64,%%%"},
    "pretender": {"url": f"data:image/png;sha256,{'0' * 64}"},
    "web": {"url": "https://img.example/a.png?size=2"},
    "signed": {"url": "https://img.example/a.png?size=2&X-Amz-Signature=0a1b"},
}
_PARTS: Final[dict[str, list[Any]]] = {
    "text": [{"type": "text", "text": "Hi"}],
    "texts": [{"type": "text", "text": "Hi, "}, {"type": "text", "text": "there"}],
    "marked": [
        {"type": "text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ],
    "audio": [{"type": "input_audio", "input_audio": {"data": _WAV, "format": "wav"}}],
    "file": [{"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{_PNG}"}}],
    "file-id": [{"type": "file", "file": {"file_id": "file-1"}}],
    "refusal": [{"type": "refusal", "refusal": "No."}],
}  # fmt: skip
_ENDPOINTS: Final = {
    "openai": f"{OPENAI}chat/completions",
    "openai-spelled": "HTTPS://API.OpenAI.com:443//v1/chat/completions/?key=x",
    "groq": "https://api.groq.com/openai/v1/chat/completions",
    "azure": "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
    "azure-newer": "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2025-03-01",
    "azure-deployment": "https://x.openai.azure.com/openai/deployments/e/chat/completions?api-version=2024-10-21",
    "azure-v1": "https://x.openai.azure.com/openai/v1/chat/completions",
    "local": "http://localhost:8000/v1/chat/completions",
    "ipv6": "http://[::1]:8000/v1/chat/completions",
    "user-info": "https://user:pass@llm.example/v1/chat/completions",
    "port": "https://llm.example:8443/v1/chat/completions",
    "root": "https://llm.example",
}
_NAMESPACES: Final[dict[str, dict[str, Any]]] = {
    "sample-1": {"sample": 1},
    "sample-7": {"sample": 7},
    "tenant": {"tenant": "acme"},
    "tenant-unicode": {"tenant": "Ä"},
    "salt": {"salt": "docs-2026-11"},
    "salt-empty": {"salt": ""},
    "tenant-and-salt": {"tenant": "a", "salt": "b", "sample": 2},
    "openai-beta": {"api": {"openai-beta": "assistants=v2"}},
    "scope": {"api": {"scope": "0" * 64}},
}


def _chats() -> Iterator[_Request]:
    for name, fields in _PARAMETERS.items():
        yield _chat(f"parameters/{name}", fields)
        yield _native(f"native/{name}", fields)
    for name, value in STRINGS.items():
        yield _chat(f"text/{name}", {"messages": [{"role": "user", "content": value}]})
    for name, number in NUMBERS.items():
        yield _chat(f"number/{name}", {"new": number})
    for name, messages in {**MESSAGES, "tool-calls": _with_tool_calls()}.items():
        yield _chat(f"messages/{name}", {"messages": messages})
    for name, schema in SCHEMAS.items():
        yield _chat(f"tool/{name}", {"tools": [_function(schema)], "tool_choice": "auto"})
    for name, value in FORMATS.items():
        yield _chat(f"format/{name}", {"response_format": value})
    for name, image in _IMAGES.items():
        content = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": image}]
        yield _chat(f"image/{name}", {"messages": [{"role": "user", "content": content}]})
    for name, parts in _PARTS.items():
        yield _chat(f"part/{name}", {"messages": [{"role": "user", "content": parts}]})
    yield _native("native/tool-calls", {"messages": _with_tool_calls()})
    tools = {"tools": [_function(SCHEMAS["object"], strict=False)], "tool_choice": "auto"}
    yield _native("native/tools", tools)


def _merged() -> Iterator[_Request]:
    """Yield one request on which every opt-in rule has something to do, under each of them."""
    developer = {"role": "developer", "content": "Be brief. "}
    content = [{"type": "text", "text": "Look at e\u0301\r\n"}]
    image = {"type": "image_url", "image_url": _IMAGES["signed"]}
    body = {
        "messages": [
            developer,
            {"role": "user", "content": content},
            {"role": "user", "content": [image]},
            *_with_tool_calls(),
        ],
        "tools": [_function(SCHEMAS["object"]), _function(SCHEMAS["two"])],
        "temperature": 1,
        "n": 1,
        "store": True,
        "service_tier": "auto",
        "max_tokens": 9,
        "prediction": {"type": "content", "content": "x"},
    }
    yield _chat("merge/none", body)
    for name in OPT_IN:
        yield _chat(f"merge/{name}", body, merge=[name])
    yield _chat("merge/all", body, merge=sorted(OPT_IN))


def requests() -> list[_Request]:
    """Return every request, without its key; ids are unique."""
    found = [*_chats(), *_merged(), *others()]
    found += [_chat(f"endpoint/{name}", {}, url=url) for name, url in _ENDPOINTS.items()]
    found += [_chat(f"namespace/{name}", {}, **more) for name, more in _NAMESPACES.items()]
    return found
