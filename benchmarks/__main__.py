"""`python -m benchmarks`: measure, print the table, write the JSON. See README.md."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from .runner import Options, Row, failed_row, machine, table, versions
from .worker import forget_keys

_GROUPS: Final = (
    "hits",
    "shared",
    "shared_scale",
    "coalescing",
    "scale",
    "size",
    "imports",
    "streams",
    "growth",
    "misses",
    "importing",
    "warming",
)
_RESULTS: Final = Path(__file__).with_name("results")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--peers", action="store_true", help="also install and measure the other caches"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run of under a minute")
    parser.add_argument(
        "--only", action="append", choices=_GROUPS, metavar="NAME", help=", ".join(_GROUPS)
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: results/<time>.json")
    return parser.parse_args()


def _measure(name: str, options: Options) -> list[Row]:
    """Return the rows of one group; a group that fails is a row that says so."""
    print(f"{name} …", file=sys.stderr, flush=True)
    started = time.monotonic()
    try:
        module = importlib.import_module(f".{name}", __package__)
        rows: list[Row] = asyncio.run(module.rows(options))
    except Exception as error:  # noqa: BLE001 - the other groups are measured all the same
        return [failed_row(name, "the whole group", error)]
    print(f"  {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return rows


def main() -> int:
    """Return 0, or 1 when something could not be measured; a missed bar is a result, not a failure."""
    arguments = _arguments()
    forget_keys()
    started = time.monotonic()
    begun = datetime.now(UTC).replace(microsecond=0)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="llmcache-bench-") as folder:
        options = Options(arguments.quick, arguments.peers, Path(folder))
        for name in arguments.only or _GROUPS:
            rows += _measure(name, options)
    report: dict[str, Any] = {
        "started": begun.isoformat(),
        "seconds": round(time.monotonic() - started, 1),
        "options": {"quick": arguments.quick, "peers": arguments.peers, "only": arguments.only},
        "machine": machine(),
        "versions": versions() | _peer_versions(rows),
        "rows": [row.to_json() for row in rows],
        "missed": [f"{row.group}: {row.name}" for row in rows if row.passed is False],
    }
    stamp = begun.strftime("%Y%m%d-%H%M%S")
    target: Path = arguments.json or _RESULTS / f"{stamp}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    facts = report["machine"]
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['os']}, {facts['python']}")
    print(table(rows))
    print(f"\n{len(report['missed'])} bar(s) missed; {report['seconds']} s; JSON: {target.name}")
    return int(any(row.failed for row in rows))


def _peer_versions(rows: list[Row]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        found |= row.details.get("versions", {})
    return found


if __name__ == "__main__":
    sys.exit(main())
