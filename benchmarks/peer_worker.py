"""The process in which a peer's calls are made. Imports that peer and nothing of ours."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from . import exchange
from .worker import Subject, serve

_KEY: Final = "sk-benchmark"


def _versions(*names: str) -> dict[str, str]:
    return {name: metadata.version(name) for name in names}


@functools.cache
def _dspy(base_url: str, folder: Path, *, memory: bool) -> Subject:
    import dspy  # noqa: PLC0415 - each process has one peer

    dspy.configure_cache(
        enable_memory_cache=memory,
        enable_disk_cache=not memory,
        disk_cache_dir=str(folder / "disk"),
    )
    lm = dspy.LM(f"openai/{exchange.MODEL}", api_base=base_url, api_key=_KEY)

    def text(answer: Any) -> Any:
        return answer[0]

    return Subject(
        lambda: lm(exchange.PROMPT), text, exchange.TEXT, lm.acall, _versions("dspy", "diskcache")
    )


@functools.cache
def _litellm() -> Any:
    import litellm  # noqa: PLC0415
    from litellm.caching.caching import Cache  # noqa: PLC0415

    litellm.suppress_debug_info = True
    litellm.cache = Cache(type="local")
    return litellm


def _litellm_redis(base_url: str) -> Subject:
    import litellm  # noqa: PLC0415
    from litellm.caching.caching import Cache  # noqa: PLC0415

    litellm.suppress_debug_info = True
    server = urlsplit(os.environ["REDIS_URL"])
    litellm.cache = Cache(
        type="redis", host=server.hostname, port=server.port, password=server.password
    )

    async def call() -> Any:
        return await litellm.acompletion(**_litellm_arguments(base_url, exchange.PROMPT))

    def text(answer: Any) -> Any:
        return answer.choices[0].message.content

    return Subject(call, text, exchange.TEXT, versions=_versions("litellm", "redis"))


def _litellm_arguments(base_url: str, prompt: str) -> dict[str, Any]:
    return {
        "model": f"openai/{exchange.MODEL}",
        "messages": [{"role": "user", "content": prompt}],
        "api_base": base_url,
        "api_key": _KEY,
        "caching": True,
    }


def _litellm_subject(name: str, base_url: str) -> Subject:
    litellm = _litellm()
    arguments = _litellm_arguments(base_url, exchange.PROMPT)

    def text(answer: Any) -> Any:
        return answer.choices[0].message.content

    async def call() -> Any:
        return await litellm.acompletion(**arguments)

    async def burst(prompt: str) -> Any:
        return await litellm.acompletion(**_litellm_arguments(base_url, prompt))

    whole: Callable[[], Any] = (
        call if name.endswith("async") else functools.partial(litellm.completion, **arguments)
    )
    return Subject(whole, text, exchange.TEXT, burst, _versions("litellm"))


def _langchain(base_url: str, folder: Path) -> Subject:
    from langchain_community.cache import SQLiteCache  # noqa: PLC0415
    from langchain_openai import ChatOpenAI  # noqa: PLC0415

    # LangChain turns its own warnings on again, and one is printed on every hit: that is not
    # the time we want to compare with.
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    model = ChatOpenAI(
        model=exchange.MODEL,
        base_url=base_url,
        api_key=_KEY,
        cache=SQLiteCache(str(folder / "cache.db")),
    )
    names = ("langchain-core", "langchain-openai", "langchain-community", "sqlalchemy")
    return Subject(
        lambda: model.invoke(exchange.PROMPT),
        lambda answer: answer.content,
        exchange.TEXT,
        model.ainvoke,
        _versions(*names),
    )


def prepare(name: str, base_url: str, folder: Path) -> Subject:
    """Return a peer's subject."""
    makers: Mapping[str, Callable[[], Subject]] = {
        "dspy-memory": lambda: _dspy(base_url, folder, memory=True),
        "dspy-disk": lambda: _dspy(base_url, folder, memory=False),
        "litellm": lambda: _litellm_subject(name, base_url),
        "litellm-async": lambda: _litellm_subject(name, base_url),
        "litellm-redis": lambda: _litellm_redis(base_url),
        "langchain": lambda: _langchain(base_url, folder),
    }
    return makers[name]()


if __name__ == "__main__":
    serve(prepare)
