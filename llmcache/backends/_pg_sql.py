"""The SQL of the Postgres backend, read from the files beside it."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final, NamedTuple

__all__ = ["WITHIN", "Migration", "as_text", "migrations", "moved", "statements"]

# Seconds for what takes as long as it takes: who has enough of it ends the program, and nothing
# has happened.
WITHIN: Final = 7 * 86_400.0

_PACKAGE: Final = "llmcache.backends"
_FOLDER: Final = "sql"
_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_NUMBERED: Final = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    sql: str


def statements(file: str) -> dict[str, str]:
    """Return the statements of a file by their names, each from its `-- name:` line to the next."""
    text = resources.files(_PACKAGE).joinpath(_FOLDER, file).read_text(encoding="utf-8")
    pieces = _NAME.split(text)[1:]
    return dict(zip(pieces[::2], (piece.strip() for piece in pieces[1::2]), strict=True))


def as_text(value: str | None) -> str | None:
    """Return text as Postgres can hold it: NUL, and what is no Unicode, with a backslash.

    No two texts become one.
    """
    if value is None:
        return None
    escaped = value.replace("\\", "\\\\").replace("\0", "\\0")
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")


def moved(moment: float | None, seconds: float) -> float | None:
    """Return a moment so many seconds later; between the clocks of two machines, too."""
    return None if moment is None else moment + seconds


def migrations() -> list[Migration]:
    """Return every migration, in order."""
    found = []
    for file in resources.files(_PACKAGE).joinpath(_FOLDER).iterdir():
        match = _NUMBERED.fullmatch(file.name)
        if match is not None:
            sql = file.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), match[2], sql))
    return sorted(found)
