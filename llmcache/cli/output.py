"""What commands print: tables for people, one JSON document for machines.

On a terminal tables are drawn by rich; into a pipe they are plain aligned text.
What comes out of a cache was written by others: characters that steer a terminal
are shown as escapes, and markup has no effect.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import typer

__all__ = [
    "age_text",
    "clean",
    "fail",
    "fields",
    "moment_text",
    "money_text",
    "note",
    "put",
    "put_json",
    "size_text",
    "span_text",
    "table",
    "until_text",
]

# Control characters but tab and line feed, the overrides that reorder text, lone surrogates.
_STEERING: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_KILO: Final = 1_000
_GAP: Final = "  "


def clean(text: str) -> str:
    """Return `text` with every character that would steer a terminal shown as its escape."""
    return _STEERING.sub(_escaped, text.replace("\r\n", "\n"))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def put(text: str = "") -> None:
    """Print text for people."""
    typer.echo(clean(text))


def note(text: str) -> None:
    """Print one line beside the result: on standard error."""
    typer.echo(_line(text), err=True)


def fail(error: Exception | str) -> None:
    """Print the one line that says why a command could not do its work."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    typer.echo(f"llmcache: {_line(text) or type(error).__name__}", err=True)


def put_json(document: Mapping[str, Any]) -> None:
    """Print the one JSON document of a command: ASCII, so that no encoding can break it."""
    typer.echo(json.dumps(_finite(document), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    """Return `value` as JSON can say it: amounts as text, numbers beyond all bounds as null."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return format(value, "f") if isinstance(value, Decimal) else value


def fields(pairs: Mapping[str, str | None]) -> None:
    """Print names and values, one a line; what is `None` is left out."""
    shown = {name: value for name, value in pairs.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        put(f"{name:<{width}}{_GAP}{_line(value)}")


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print a table; the columns in `right` are numbers."""
    cells = [[_line(cell) for cell in row] for row in rows]
    draw = _drawn if sys.stdout.isatty() else _plain
    draw(columns, cells, [name in right for name in columns])


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    lines = [list(columns), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = [
            _padder(cell, to_right=side)(width)
            for cell, width, side in zip(line, widths, right, strict=True)
        ]
        typer.echo(_GAP.join(padded).rstrip())


def _padder(cell: str, *, to_right: bool) -> Callable[[int], str]:
    return cell.rjust if to_right else cell.ljust


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    from rich import box  # noqa: PLC0415 - only where somebody watches
    from rich.console import Console  # noqa: PLC0415 - only where somebody watches
    from rich.table import Table  # noqa: PLC0415 - only where somebody watches
    from rich.text import Text  # noqa: PLC0415 - only where somebody watches

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, (name, side) in enumerate(zip(columns, right, strict=True)):
        # The first column names the row: it stays whole, to be copied.
        whole = place == 0
        drawn.add_column(name, justify="right" if side else "left", overflow="fold", no_wrap=whole)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)


def _line(text: str) -> str:
    return " ".join(clean(text).split())


# --- numbers for people -----------------------------------------------------------------------


def size_text(size: int) -> str:
    """Return bytes in the units that `parse_size` reads."""
    number, units = float(size), ["B", "KB", "MB", "GB"]
    while number >= _KILO and len(units) > 1:
        number /= _KILO
        units.pop(0)
    return f"{size} B" if units[0] == "B" else f"{number:.1f} {units[0]}"


def span_text(seconds: float) -> str:
    """Return a span of time with two or three digits that mean something."""
    if seconds < 1:
        milliseconds = seconds * _KILO
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2f} ms"  # noqa: PLR2004 - two digits
    if seconds < 2 * _MINUTE:
        return f"{seconds:.1f} s"
    for unit, size in (("min", _MINUTE), ("h", _HOUR)):
        if seconds < 100 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / _DAY:.0f} d"


def age_text(moment: float | None) -> str:
    """Return how long ago `moment` (Unix seconds) was."""
    if not moment or not math.isfinite(moment):
        return "unknown"
    return span_text(max(0.0, time.time() - moment)) if moment < time.time() - 1 else "now"


def until_text(moment: float | None) -> str:
    """Return how long it is until `moment`, or since; `None` never comes."""
    if moment is None or not math.isfinite(moment):
        return "never"
    left = moment - time.time()
    return f"in {span_text(left)}" if left > 0 else f"{span_text(-left)} ago"


def moment_text(moment: float) -> str:
    """Return a date and time in this machine's zone."""
    try:
        local = datetime.fromtimestamp(moment, UTC).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{moment} s since 1970"
    return local.strftime("%Y-%m-%d %H:%M:%S %z")


def money_text(amount: Decimal | None) -> str:
    """Return US dollars, `unknown` for `None`."""
    if amount is None:
        return "unknown"
    text = f"{amount:.6f}".rstrip("0").rstrip(".")
    return "less than $0.000001" if amount and text == "0" else f"${text}"
