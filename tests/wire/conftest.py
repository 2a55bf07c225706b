"""Fixtures of the tests of what goes over the wire."""

from __future__ import annotations

import importlib
import itertools
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import httpx2
import pytest

from .recorded import Exchange, load
from .support import Open, provider_of

_CONTEXT = ssl.create_default_context()


@pytest.fixture(autouse=True)
def _one_tls_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here speaks TLS, and making a context for every client would be most of the time."""
    for module in (httpx, httpx2):
        transports = importlib.import_module(f"{module.__name__}._transports.default")
        monkeypatch.setattr(transports, "create_ssl_context", lambda *_, **__: _CONTEXT)


@pytest.fixture(scope="session")
def recorded_streams(recordings: Path) -> list[bytes]:
    rows = json.loads((recordings / "manifest.json").read_text())
    files = [r["file"] for r in rows if r["endpoint"] == "chat.completions" and r["stream"]]
    assert len(files) == 20
    return [
        json.loads((recordings / name).read_text())["response"]["body"].encode() for name in files
    ]


@pytest.fixture
def chats(recordings: Path) -> list[Exchange]:
    return load(recordings, "chat.completions")


@pytest.fixture
def embeddings(recordings: Path) -> list[Exchange]:
    return load(recordings, "embeddings")


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Open]:
    """Each call names a new cache folder, and returns what opens a provider on it."""
    numbers = itertools.count()

    def folder() -> Open:
        path = tmp_path / str(next(numbers))
        return lambda upstream: provider_of(upstream, cache_backend="fs", cache_dir=path)

    return folder
