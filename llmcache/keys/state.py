"""Requests whose answer depends on the server's state, and so are not cached by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..types._json import Json
from .normalize import is_list, is_object
from .rules import TABLES, Verdict

__all__ = ["no_answer", "server_state"]

_STATEFUL_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    kind: tuple(name for name, rule in table.items() if rule.verdict is Verdict.BYPASS)
    for kind, table in TABLES.items()
}

# Tools that the provider runs: their results change with time, or with stored files. A tool
# that asks another model, or makes an image, samples like any answer and is not among them.
_HOSTED_TOOLS: Final = (
    "browser_search",
    "code_execution",
    "code_interpreter",
    "computer_use",
    "file_search",
    "mcp",
    "programmatic_tool_calling",
    "shell",
    "web_fetch",
    "web_search",
)
_KINDS_WITH_TURNS: Final = frozenset({"chat", "responses", "messages"})
# Azure's "on your data", by its name and by that of its older versions:
# https://learn.microsoft.com/azure/ai-services/openai/references/on-your-data
_DOCUMENTS: Final = ("data_sources", "dataSources")
_PLUGINS: Final = "plugins run on the server"
_WATCHED_ANYWHERE: Final = frozenset({"tools", "plugins", *_DOCUMENTS})
_WATCHED: Final[Mapping[str, frozenset[str]]] = {
    kind: _WATCHED_ANYWHERE.union(names) for kind, names in _STATEFUL_FIELDS.items()
}
# What a model or a caller wrote for a tool: a field called `file_id` there is data.
_DATA: Final = frozenset({"arguments", "input"})


def no_answer(kind: str, body: Mapping[str, Json]) -> str | None:
    """Return why a request has no answer that could be kept at all, `None` when it has."""
    if kind == "responses" and body.get("background"):
        return "background answers `queued` at first"
    options: Any = body.get("prompt_cache_options")
    if options and is_object(options) and options.get("prewarm"):
        return "prompt_cache_options.prewarm asks for no answer"
    return None


def server_state(kind: str, body: Mapping[str, Json]) -> str | None:
    """Return what in `body` refers to state on the server, `None` when nothing does."""
    # Most bodies have none of these fields. This is asked of every call.
    if not _WATCHED.get(kind, _WATCHED_ANYWHERE).isdisjoint(body):
        reason = _field_state(kind, body)
        if reason is not None:
            return reason
    if kind in _KINDS_WITH_TURNS:
        # OpenRouter runs its web plugin for a model's name, too.
        if str(body.get("model")).endswith(":online"):
            return _PLUGINS
        turns = body.get("messages", body.get("input"))
        if type(turns) is not str:
            return _turn_state(kind, turns)
    return None


def _field_state(kind: str, body: Mapping[str, Json]) -> str | None:
    """Return which field beside the turns refers to state on the server, if one does."""
    for name in _STATEFUL_FIELDS.get(kind, ()):
        if body.get(name):
            return f"{name} refers to server state"
    hosted = _hosted(kind, body.get("tools"))
    if hosted is not None:
        return f"tool {hosted!r} runs on the server"
    if kind in _KINDS_WITH_TURNS:
        for name in _DOCUMENTS:
            if body.get(name):
                return f"{name} refers to documents on a server"
        if body.get("plugins"):
            return _PLUGINS
    return None


def _hosted(kind: str, tools: Json) -> str | None:
    for tool in tools if is_list(tools) else ():
        name = tool.get("type") if is_object(tool) else None
        if not isinstance(name, str):
            continue
        bare = name.rpartition(":")[2]
        if bare.startswith(_HOSTED_TOOLS) or (kind == "responses" and bare == "computer"):
            return name
    return None


def _turn_state(kind: str, turns: Json) -> str | None:
    for turn in turns if type(turns) is list or is_list(turns) else ():
        # Most turns are text and a role, and nothing else. This is asked of every call.
        if type(turn) is dict and len(turn) == 2 and type(turn.get("content")) is str:  # noqa: PLR2004
            continue
        if not is_object(turn):
            continue
        for holder in _objects(turn):
            if holder.get("file_id"):
                return "a file id refers to server state"
            hosted = _hosted(kind, holder.get("tools"))
            if hosted is not None:
                return f"tool {hosted!r} runs on the server"
        if kind == "responses" and _is_reference(turn):
            return "an item reference refers to server state"
    return None


def _is_reference(item: Mapping[str, Any]) -> bool:
    """Whether an input item only names something that the server has."""
    if item.get("type") == "item_reference" or item.keys() <= {"id", "type"}:
        return bool(item.get("id"))
    if item.get("type") == "reasoning" and item.get("id"):
        return not (item.get("encrypted_content") or item.get("content"))
    return False


def _objects(value: Json) -> Iterator[Mapping[str, Any]]:
    """Yield every object inside `value` that is no data of a tool's."""
    if is_object(value):
        yield value
        for name, item in value.items():
            if name not in _DATA and type(item) is not str:
                yield from _objects(item)
    elif is_list(value):
        for item in value:
            yield from _objects(item)
