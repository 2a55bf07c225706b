"""Write `golden.json`: requests and the keys that they have had since they were pinned.

    python tests/keys/make_golden.py [--new-version]

New requests are added. A key that moved is refused: whoever upgrades would find
an empty cache. Whoever wants that raises `KEY_VERSION`, keeps the older key
function for `older_keys`, and says so with `--new-version`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from golden_blocks import requests

from llmcache.keys import KEY_VERSION, KeyRules, Request, normalize_endpoint

__all__ = ["GOLDEN", "key_of", "main", "read"]

GOLDEN: Final = Path(__file__).with_name("golden.json")


def key_of(made: dict[str, Any]) -> str:
    """Return the key that this version gives to a request as the file describes it."""
    request = Request(
        made["kind"],
        normalize_endpoint(made["url"]),
        made["body"],
        made.get("api", {}),
        made.get("tenant"),
        made.get("salt"),
        KeyRules(made.get("merge", ())),
    )
    return request.key(made.get("sample", 0))


def read(path: Path = GOLDEN) -> list[dict[str, Any]]:
    """Return the pinned requests; none when the file does not exist."""
    if not path.exists():
        return []
    pinned: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["requests"]
    return pinned


def main(arguments: Sequence[str], path: Path = GOLDEN) -> int:
    """Write the file; return 1, and write nothing, when a pinned request or its key has moved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--new-version", action="store_true", help="let pinned keys move")
    options = parser.parse_args(arguments)
    # Through JSON, so that what is compared is what the file can hold.
    made = json.loads(json.dumps([{**each, "key": key_of(each)} for each in requests()]))
    now = {each["id"]: each for each in made}
    if len(now) != len(made):
        sys.stderr.write("two requests have one id\n")
        return 1
    moved = [each["id"] for each in read(path) if _text(each) != _text(now.get(each["id"]))]
    if moved and not options.new_version:
        names = "\n  ".join(moved)
        sys.stderr.write(f"{len(moved)} pinned keys moved; a new key version?\n  {names}\n")
        return 1
    lines = ",\n".join(map(_text, made))
    path.write_text(
        f'{{"version": "{KEY_VERSION}", "requests": [\n{lines}\n]}}\n', encoding="utf-8"
    )
    sys.stdout.write(f"{len(made)} requests, {path.stat().st_size} bytes\n")
    return 0


def _text(value: Any) -> str:
    # As text: 1 and 1.0 are equal to Python, and so are objects in another order.
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
