"""Why two requests have different keys, in words: `temperature: 0.2 → 0.3`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..types._json import Json
from .canonical import canonical_bytes, digest

__all__ = ["component_differences", "components", "differences", "similarity"]

_WIDTH: Final = 60
_DIGEST_DIGITS: Final = 16


def components(identity: bytes) -> dict[str, str]:
    """Return a short digest per component of a canonical identity.

    A component is `endpoint`, `kind`, `model`, `messages[3]`, `tools[0]`, or any
    other field of the body. Stored in place of the request when requests are not
    stored: enough to say what differs, not what it was.
    """
    return {
        path: digest(canonical_bytes(value))[:_DIGEST_DIGITS]
        for path, value in _components(json.loads(identity))
    }


def _components(identity: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    for name, value in identity.items():
        if name != "body":
            yield name, value
            continue
        for field, item in value.items():
            # A body's field may be called as one of the identity's own.
            path = f"body.{field}" if field in identity else field
            if isinstance(item, list) and item:
                yield from ((f"{path}[{i}]", element) for i, element in enumerate(item))
            else:
                yield path, item


def similarity(a: Mapping[str, str], b: Mapping[str, str]) -> float:
    """Return the share of components that two requests have in common, from 0 to 1."""
    total = len(a.keys() | b.keys())
    return sum(a[path] == b.get(path) for path in a) / total if total else 0.0


def component_differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Return the components that differ, from `a` to `b`, when only digests are known."""
    lines = []
    for path in [*a, *(path for path in b if path not in a)]:
        if path not in b:
            lines.append(f"{path}: only in the first")
        elif path not in a:
            lines.append(f"{path}: only in the second")
        elif a[path] != b[path]:
            lines.append(f"{path}: differs")
    return lines


def differences(a: bytes, b: bytes) -> list[str]:
    """Return the lines that tell identity `a` from identity `b`, in reading order.

    Paths are those of the wire body: `tools[2].function.description`. Schemas,
    which are hashed as text to keep their order, are compared as objects too.
    """
    return list(_differences(json.loads(a), json.loads(b), ""))


def _differences(a: Json, b: Json, path: str) -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() == b.keys() == {"ordered"} and isinstance(a["ordered"], str):
            yield from _ordered_differences(a["ordered"], b["ordered"], path)
        else:
            yield from _object_differences(a, b, path)
    elif isinstance(a, list) and isinstance(b, list):
        yield from _list_differences(a, b, path)
    elif a != b or type(a) is not type(b):
        yield f"{path}: {_shown(a)} → {_shown(b)}"


def _ordered_differences(a: str, b: str, path: str) -> Iterator[str]:
    """Compare what is hashed as text to keep its order."""
    if a != b:
        inner = list(_differences(json.loads(a), json.loads(b), path))
        yield from inner or [f"{path}: the order of keys differs"]


def _object_differences(a: dict[str, Any], b: dict[str, Any], path: str) -> Iterator[str]:
    for name in [*a, *(name for name in b if name not in a)]:
        # The body's fields are the request's own: `temperature`, not `body.temperature`.
        place = name if not path or path == "body" else f"{path}.{name}"
        if name not in a:
            yield f"{place}: absent → {_shown(b[name])}"
        elif name not in b:
            yield f"{place}: {_shown(a[name])} → absent"
        else:
            yield from _differences(a[name], b[name], place)


def _list_differences(a: list[Any], b: list[Any], path: str) -> Iterator[str]:
    for i in range(max(len(a), len(b))):
        place = f"{path}[{i}]"
        if i >= len(a):
            yield f"{place}: absent → {_shown(b[i])}"
        elif i >= len(b):
            yield f"{place}: {_shown(a[i])} → absent"
        else:
            yield from _differences(a[i], b[i], place)


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
