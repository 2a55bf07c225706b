"""`llmcache explain`: why a request is, or is not, answered from the cache."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .asking import Kind, request_for
from .inspect import unknown_collection
from .opening import AsJson, CacheDir, with_cache
from .parsing import request_of
from .places import CachePlace

if TYPE_CHECKING:
    from ..cache import CacheManager
    from ..cache.inspection import Explanation

__all__ = ["explain"]


def explain(  # noqa: PLR0913 - a command's options
    request: Annotated[
        str | None,
        typer.Argument(help='A JSON file with the body: {"model": …, "messages": […], …}, or -.'),
    ] = None,
    *,
    kind: Annotated[
        Kind | None,
        typer.Option(help="The API it is for. [default: the one that it looks like]"),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instead of a file: what is asked.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Instead of a file: who is asked.")
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="The server asked. [default: as the provider has it]"),
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Which sample of the request.")] = 0,
    salt: Annotated[str | None, typer.Option(help="The salt that calls are made with.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The provider's tenant.")] = None,
    collection: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where to look. [default: default]")
    ] = None,
    cache_dir: CacheDir = None,
    cache: CachePlace = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a request is stored, and why not.

    Names the stored request that differs least, and the lines that differ.
    """
    asked, body = request_of(request, prompt, model, kind)

    async def work(manager: CacheManager) -> tuple[Explanation, str, bool]:
        from ..backends.base import check_collection  # noqa: PLC0415 - `--help` needs no cache
        from ..cache import inspection  # noqa: PLC0415 - as above

        place = check_collection(collection or manager.collection)
        request = await request_for(asked, body, manager, salt, base_url=base_url, tenant=tenant)
        found = await inspection.explain(manager.store, place, request, sample)
        if not found.compared:
            await unknown_collection(manager, collection)
        entry = await manager.entry(found.key, place) if found.stored else None
        until = None if entry is None else entry.expires_at
        return found, place, until is not None and until <= time.time()

    found, place, expired = with_cache(cache_dir, work, place=cache)
    about = {"kind": asked.value, "collection": place, "bypass": _bypass(asked, body)}
    _put_explanation(found, about, expired=expired, as_json=as_json)
    if not found.stored:
        raise typer.Exit(1)


def _bypass(kind: Kind, body: Mapping[str, Any]) -> str | None:
    """Return why a call with this body passes the cache by, whatever is stored."""
    from ..keys.state import server_state  # noqa: PLC0415 - `--help` needs no keys

    return server_state(kind, body)


def _put_explanation(
    found: Explanation, about: Mapping[str, str | None], *, expired: bool, as_json: bool
) -> None:
    bypass = about["bypass"]
    if as_json:
        output.put_json(
            {
                **about,
                "key": found.key,
                "stored": found.stored,
                "expired": expired,
                "nearest": found.nearest,
                "differences": list(found.differences),
                "compared": found.compared,
                "complete": found.complete,
            }
        )
        return
    state = "yes, past its time: a call asks again" if expired else "yes"
    output.fields(
        {
            "key": found.key,
            "kind": about["kind"],
            "collection": about["collection"],
            "stored": state if found.stored else "no",
            "bypass": None if bypass is None else f"{bypass}: calls pass the cache by",
            "nearest": None if found.stored else found.nearest or "nothing to compare with",
            "compared": None if found.stored else f"{found.compared} entries",
        }
    )
    if found.differences:
        output.put("\nfrom the nearest to this request")
        for line in found.differences:
            output.put(f"  {line}")
