"""Servers that speak OpenAI's API: where they are, and where their key is.

Addresses and variables are the servers' own documentation's, as of 2026-11; the
addresses are also those of recorded traffic, where there is some. What their answers
do differently is understood whatever the server is called (`openai_chat_answer`,
`openai_chat_stream`, `failures`): it is no matter of a table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ..keys import normalize_endpoint

__all__ = ["AZURE_SUFFIX", "SERVERS", "Server", "gives_usage", "server_name", "server_origin"]


@dataclass(frozen=True, slots=True)
class Server:
    """One server, or a kind of server that people run themselves.

    - `base_url`: `None` where everybody has one of their own, named in `base_url_variable`,
      below which the API stands at `path`.
    - `key_variable`: the environment variable with the key; `None` where none is needed.
    - `name`: in errors, statistics and price look-ups; `None` for the host's own.
    - `model`: asked when none is named; `None` for none.
    - `gives_usage`: a stream ends with its usage whether or not that is asked for, and asking
      is refused or does nothing. Many give it unasked and know the question: they are asked.
    """

    base_url: str | None
    key_variable: str | None = None
    name: str | None = None
    base_url_variable: str | None = None
    path: str = ""
    model: str | None = None
    gives_usage: bool = False


_ANTHROPIC_HOST: Final = "api.anthropic.com"
AZURE_SUFFIX: Final = ".openai.azure.com"
_OPENAI: Final = Server(
    "https://api.openai.com/v1",
    "OPENAI_API_KEY",
    "openai",
    "OPENAI_BASE_URL",
    model="gpt-5-nano",
)

SERVERS: Final[Mapping[str, Server]] = {
    "openai": _OPENAI,
    "azure": Server(
        None, "AZURE_OPENAI_API_KEY", "azure", "AZURE_OPENAI_ENDPOINT", path="/openai/v1"
    ),
    "cerebras": Server("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "cerebras"),
    "deepinfra": Server("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY", "deepinfra"),
    "deepseek": Server("https://api.deepseek.com", "DEEPSEEK_API_KEY", "deepseek"),
    "fireworks": Server("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", "fireworks"),
    "gemini": Server(
        "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", "google"
    ),
    "groq": Server("https://api.groq.com/openai/v1", "GROQ_API_KEY", "groq"),
    "huggingface": Server("https://router.huggingface.co/v1", "HF_TOKEN", "huggingface"),
    # 422 `extra_forbidden` at `stream_options.include_usage`: openai-agents-python#442.
    "mistral": Server("https://api.mistral.ai/v1", "MISTRAL_API_KEY", "mistral", gives_usage=True),
    "moonshot": Server("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", "moonshotai"),
    # "This field has no effect", and will be removed: openrouter.ai/docs, ChatStreamOptions.
    "openrouter": Server(
        "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter", gives_usage=True
    ),
    "perplexity": Server("https://api.perplexity.ai", "PERPLEXITY_API_KEY", "perplexity"),
    "together": Server("https://api.together.xyz/v1", "TOGETHER_API_KEY", "together"),
    "xai": Server("https://api.x.ai/v1", "XAI_API_KEY", "x-ai"),
    "zai": Server("https://api.z.ai/api/paas/v4", "ZAI_API_KEY", "z-ai"),
    "llamacpp": Server("http://localhost:8080/v1", "LLAMA_API_KEY"),
    "lmstudio": Server("http://localhost:1234/v1"),
    "vllm": Server("http://localhost:8000/v1", "VLLM_API_KEY"),
}
"""By the word in front of a model's identifier, as in `groq/llama-3.3-70b-versatile`."""

_AT: Final[Mapping[str, Server]] = {
    server.base_url.split("/")[2]: server
    for server in SERVERS.values()
    if server.base_url and server.name
}


def server_name(host: str) -> str:
    """Return what the server at `host` is called in errors, statistics and price look-ups."""
    return _name_at(host) or ("azure" if host.endswith(AZURE_SUFFIX) else host)


def _name_at(host: str) -> str | None:
    known = _AT.get(host)
    return None if known is None else known.name


def gives_usage(host: str) -> bool:
    """Return whether the server at `host` ends every stream with its usage; see `Server`."""
    known = _AT.get(host)
    return known is not None and known.gives_usage


def server_origin(url: str) -> str:
    """Return whose words an answer from below the base URL `url` has: a `Native`'s `origin`.

    The name of a server that is the same for everybody; else the host and port, and a
    digest of a path that may tell apart what stands behind a gateway, or hold a credential.

    Raises:
        InvalidRequestError: not an http(s) URL.
    """
    parts = urlsplit(normalize_endpoint(url))
    known = "anthropic" if parts.netloc == _ANTHROPIC_HOST else _name_at(parts.netloc)
    if known is not None:
        return known
    path = parts.path.rstrip("/").removesuffix("/v1")
    if not path or (parts.hostname or "").endswith(AZURE_SUFFIX):
        return parts.netloc
    return f"{parts.netloc}/{hashlib.sha256(path.encode()).hexdigest()[:12]}"
