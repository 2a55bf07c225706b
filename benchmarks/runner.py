"""What every benchmark shares: rounds, statistics, rows, the table and the JSON."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

__all__ = [
    "Bar",
    "Options",
    "Rounds",
    "Row",
    "failed_row",
    "interleave",
    "machine",
    "ratio",
    "row_of",
    "table",
    "versions",
]

Rounds = dict[str, list[list[float]]]
"""By name, the samples of each round."""

Turn = Callable[[int], Awaitable[list[float]]]

_PACKAGES: Final = "llmcache orjson zstandard httpx filelock pydantic openai".split()


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for; `folder` is a temporary one that is removed at the end."""

    quick: bool
    peers: bool
    folder: Path


@dataclass(frozen=True, slots=True)
class Bar:
    """What a row must show: its `on` compared with `limit`."""

    on: Literal["ratio", "median"]
    must_be: Literal["<=", ">=", "=="]
    limit: float

    def holds(self, row: Row) -> bool:
        """Return whether `row` shows it."""
        value = row.ratio if self.on == "ratio" else row.median
        if value is None:
            return False
        if self.must_be == "==":
            return value == self.limit
        return value <= self.limit if self.must_be == "<=" else value >= self.limit

    def __str__(self) -> str:
        sign = {"<=": "≤", ">=": "≥", "==": "="}[self.must_be]
        return f"{sign} {self.limit:g}{' ×' if self.on == 'ratio' else ''}"


@dataclass(slots=True)
class Row:
    """One line of the table. `ratio` is the row over `against`, a floor or another row."""

    group: str
    name: str
    unit: str
    median: float | None = None
    p10: float | None = None
    p99: float | None = None
    against: str | None = None
    ratio: float | None = None
    bar: Bar | None = None
    note: str = ""
    failed: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        """Whether the bar holds; `None` where there is none, or where nothing was measured."""
        return None if self.bar is None or self.median is None else self.bar.holds(self)

    def to_json(self) -> dict[str, Any]:
        """Return every field; the bar in words too."""
        data = asdict(self)
        data["bar"] = None if self.bar is None else {**asdict(self.bar), "text": str(self.bar)}
        data["passed"] = self.passed
        return data


async def interleave(turns: Mapping[str, Turn], *, rounds: int, calls: int) -> Rounds:
    """Return the samples of `rounds` rounds in which each turn comes once.

    The machine drifts between speed states: what is compared must be measured within
    milliseconds of each other. Every second round runs backwards, so that nobody
    always comes after the same neighbour.
    """
    samples: Rounds = {name: [] for name in turns}
    order = list(turns)
    for number in range(rounds):
        for name in order if number % 2 == 0 else reversed(order):
            samples[name].append(await turns[name](calls))
    return samples


def failed_row(group: str, name: str, error: Exception) -> Row:
    """Return a row that says that, and why, there is no figure."""
    reason = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
    return Row(group, name, "", note=f"FAILED: {reason}", failed=True)


def ratio(rounds: Rounds, name: str, against: str) -> float:
    """Return the median over the rounds of the ratio of the two medians of a round."""
    pairs = zip(rounds[name], rounds[against], strict=True)
    return statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs)


def row_of(  # noqa: PLR0913 - a row's own fields
    rounds: Rounds,
    name: str,
    *,
    group: str,
    title: str,
    unit: str = "µs",
    against: str | None = None,
    against_title: str | None = None,
    inverse: bool = False,
    bar: Bar | None = None,
    note: str = "",
) -> Row:
    """Return the row of `name`; `inverse` gives how often it fits into `against`."""
    samples = sorted(sample for turn in rounds[name] for sample in turn)
    factor = None
    if against is not None:
        factor = ratio(rounds, against, name) if inverse else ratio(rounds, name, against)
    return Row(
        group=group,
        name=title,
        unit=unit,
        median=statistics.median(samples),
        p10=_quantile(samples, 0.10),
        p99=_quantile(samples, 0.99),
        against=against_title or against,
        ratio=factor,
        bar=bar,
        note=note,
        details={"rounds": len(rounds[name]), "samples": len(samples)},
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on; nothing that names the machine."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": _memory(),
        "os": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": platform.python_compiler(),
        "pointer_bits": sys.maxsize.bit_length() + 1,
    }


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def versions() -> dict[str, str]:
    """Return the versions of what takes part on our side."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, one group under the other."""
    lines: list[str] = []
    head = ("", "median", "p10", "p99", "unit", "ratio", "against", "bar", "")
    widths = (58, 10, 10, 10, 8, 8, 26, 9, 5)
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            lines += ["", _line((group, *head[1:]), widths), "-" * (sum(widths) + len(widths))]
        cells = (
            row.name,
            _number(row.median),
            _number(row.p10),
            _number(row.p99),
            row.unit,
            "" if row.ratio is None else f"{row.ratio:.2f} ×",
            row.against or "",
            "" if row.bar is None else str(row.bar),
            {True: "ok", False: "MISS", None: ""}[row.passed],
        )
        lines.append(_line(cells, widths))
        if row.note:
            lines.append(f"    {row.note}")
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = {0, 4, 6, 8}
    padded = (
        cell.ljust(width) if i in left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return " ".join(padded).rstrip()


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
