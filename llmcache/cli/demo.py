"""`llmcache demo`: the cache at work, measured, with its claims checked."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from ..errors import ConfigurationError
from ..settings import environment
from . import output
from .asking import ProviderName
from .opening import AsJson
from .scenes import Scene, Stage, scenes

__all__ = ["demo"]

_LATENCY: Final = 0.8
_TOKEN_DELAY: Final = 0.02
_REAL_CALLS: Final = 5
_STAND_IN_MODEL: Final = "stand-in"


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where a provider's own server is, which variables name another or a key, and who is asked."""

    home: str
    address: str
    key: str | None
    model: str
    embedding_model: str

    @property
    def variables(self) -> str:
        """The variables that name a server, in words."""
        return f"{self.key} or {self.address}" if self.key else self.address


_KINDS: Final = {
    ProviderName.OPENAI: _Kind(
        "https://api.openai.com/v1",
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        "gpt-5-nano",
        "text-embedding-3-small",
    ),
    ProviderName.ANTHROPIC: _Kind(
        "https://api.anthropic.com",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_API_KEY",
        "claude-haiku-4-5",
        "",
    ),
    ProviderName.OLLAMA: _Kind(
        "http://127.0.0.1:11434", "OLLAMA_HOST", None, "qwen2.5:3b", "nomic-embed-text"
    ),
}


@dataclass(frozen=True, slots=True)
class _Server:
    """Who answers: `base_url` is `None` for the provider's own; `stand_in` for ours."""

    asker: ProviderName
    base_url: str | None
    model: str
    embedding_model: str
    stand_in: bool

    @property
    def shown(self) -> str:
        """The server's address without what could be a credential."""
        address = self.base_url or _KINDS[self.asker].home
        parts = urlsplit(address if "://" in address else f"http://{address}")
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def demo(
    *,
    provider: Annotated[ProviderName, typer.Option(help="Who asks.")] = ProviderName.OPENAI,
    base_url: Annotated[
        str | None,
        typer.Option(help="A server to run against. [default: the provider's variable]"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The server's model. [default: a small one]")
    ] = None,
    embedding_model: Annotated[
        str | None, typer.Option(help="The server's embedding model. [default: a small one]")
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the cache here. [default: a temporary folder]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the cache at work, with times and totals.

    A miss, a hit, a restart, a stream and its replay, a burst, a list half known.

    A stand-in on this machine answers, which costs nothing, unless OPENAI_API_KEY,
    OPENAI_BASE_URL (ANTHROPIC_…, OLLAMA_HOST) or --base-url names a server: then it makes a
    handful of real calls.
    Exits with 1 when the cache does something else than the demo claims.
    """
    server = _server(provider, base_url, model, embedding_model)
    tell = output.note if as_json else output.put
    if server.stand_in:
        tell(
            "A stand-in on this machine answers, with made-up text at made-up prices, "
            f"{_LATENCY} s after each call. (Set {_KINDS[provider].variables} for a server.)"
        )
    else:
        tell(
            f"{server.shown} answers (model {server.model}): "
            f"this makes about {_REAL_CALLS} real calls."
        )
    with _folder(cache_dir) as folder:
        stage, played = asyncio.run(_play(server, folder))
    problems = [f"{scene.title}: {scene.problem}" for scene in played if scene.problem]
    if as_json:
        output.put_json(_document(server, cache_dir, stage, played))
    else:
        _put_scenes(stage, played, cache_dir)
    for problem in problems:
        output.fail(f"the demo's claim does not hold: {problem}")
    if problems:
        raise typer.Exit(1)


def _server(
    provider: ProviderName, base_url: str | None, model: str | None, embedding_model: str | None
) -> _Server:
    """Return who answers.

    Raises:
        ConfigurationError: a model was named and no server, or the address is none.
    """
    kind = _KINDS[provider]
    address = base_url or environment(kind.address)
    real = address is not None or (kind.key and environment(kind.key)) is not None
    if not real and (model or embedding_model):
        msg = f"a model needs a server: set {kind.variables}, or --base-url"
        raise ConfigurationError(msg)
    if not real:
        return _Server(provider, None, _STAND_IN_MODEL, _STAND_IN_MODEL, stand_in=True)
    # Ollama's may be `host:port`, which its provider reads.
    own = provider is ProviderName.OLLAMA and "://" not in (address or "")
    try:
        valid = (
            own
            or address is None
            or bool(urlsplit(address).hostname and urlsplit(address).port != 0)
        )
    except ValueError:
        valid = False
    if not valid:
        msg = "the base URL is not an http or https URL"
        raise ConfigurationError(msg)
    models = model or kind.model, embedding_model or kind.embedding_model
    return _Server(provider, address, *models, stand_in=False)


@contextlib.contextmanager
def _folder(given: Path | None) -> Generator[Path, None, None]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="llmcache-demo-") as name:
        yield Path(name)


async def _play(server: _Server, folder: Path) -> tuple[Stage, list[Scene]]:
    async with _stage(server, folder) as stage:
        with _watching() as watch:
            played: list[Scene] = []
            async with aclosing(scenes(stage)) as playing:
                async for scene in playing:
                    played.append(scene)
                    watch(scene.title)
        return stage, played


@asynccontextmanager
async def _stage(server: _Server, folder: Path) -> AsyncGenerator[Stage, None]:
    options: dict[str, Any] = {
        "model": server.model,
        "base_url": server.base_url,
        "cache_dir": folder,
    }
    async with AsyncExitStack() as stack:
        upstream = None
        if server.stand_in:
            from ..testing.upstream import DemoUpstream  # noqa: PLC0415 - only without a server

            made = DemoUpstream(latency=_LATENCY, token_delay=_TOKEN_DELAY)
            upstream = await stack.enter_async_context(made)
            options["base_url"] = (
                upstream.host if server.asker is ProviderName.OLLAMA else upstream.base_url
            )
        stage = Stage(server.asker, options, server.embedding_model, upstream)
        # A scene that fails leaves its provider open; closing twice is no harm.
        stack.push_async_callback(stage.restart)
        yield stage


@contextlib.contextmanager
def _watching() -> Generator[Any, None, None]:
    """Yield a function that tells whoever watches what was just shown."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody watches

    with Console(stderr=True).status("playing …") as status:
        yield lambda title: status.update(f"{title} ✓ …")


def _put_scenes(stage: Stage, played: list[Scene], cache_dir: Path | None) -> None:
    output.put()
    rows = [
        (
            scene.title,
            "skipped" if scene.skipped else scene.source,
            "" if scene.skipped else output.span_text(scene.seconds),
            str(scene.calls),
            scene.skipped or scene.note,
        )
        for scene in played
    ]
    output.table(("", "answered by", "time", "calls", ""), rows, right=("time", "calls"))
    totals = stage.totals
    money = output.money_text(totals.cost_saved)
    if totals.cost_saved is not None and totals.unpriced_hits:
        money += f", and {totals.unpriced_hits} answers of unknown price"
    if totals.cost_saved is not None and stage.upstream is not None:
        money += " at the stand-in's prices"
    output.put()
    output.fields(
        {
            "calls made": str(totals.calls_made),
            "calls spared": f"{totals.calls_spared}, and {totals.vectors_spared} vectors",
            "time saved": f"{totals.seconds_saved:.1f} s, what the spared calls took",
            "money saved": money,
            "cache": None if cache_dir is None else f"kept in {cache_dir}",
        }
    )


def _document(
    server: _Server, cache_dir: Path | None, stage: Stage, played: list[Scene]
) -> dict[str, Any]:
    return {
        "provider": server.asker,
        "server": {
            "stand_in": server.stand_in,
            "base_url": None if server.stand_in else server.shown,
            "model": server.model,
            "embedding_model": server.embedding_model,
        },
        "cache_dir": None if cache_dir is None else str(cache_dir),
        "scenes": [{**asdict(scene), "ok": scene.problem is None} for scene in played],
        "totals": asdict(stage.totals),
        "ok": all(scene.problem is None for scene in played),
    }
