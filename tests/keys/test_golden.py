"""Keys are promises: an upgrade that moves one starts everybody's cache cold."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path
from typing import Any, Final

import make_golden
import pytest

from llmcache.keys import KEY_VERSION, OPT_IN, TABLES

_PINNED: Final = make_golden.read()
_NEWS: Final = (
    "The key of {id} moved. Everything that was stored under it is lost to whoever upgrades. "
    "If that is meant, it is a new key version: raise KEY_VERSION, keep this version's key "
    "function for `older_keys`, and run tests/keys/make_golden.py --new-version."
)


@pytest.mark.parametrize("pinned", _PINNED, ids=[each["id"] for each in _PINNED])
def test_a_pinned_key_stays(pinned: dict[str, Any]) -> None:
    assert make_golden.key_of(pinned) == pinned["key"], _NEWS.format(**pinned)


_SAME: Final = {
    "chat/parameters": "bare stop-empty neutral nulls ../messages/nulls ../endpoint/user-info",
    "chat/native": "bare n-1 stop-empty penalties-0 logprobs-off neutral nulls "
    "../endpoint/openai ../endpoint/openai-spelled",
    "chat/number": "zero minus-zero; one one-point-zero",
    "chat/image": "png png-url-safe",
    "chat/part": "text marked",
    "responses": "string items typed no-instructions neutral",
    "messages": "bare temperature-1 neutral version-old",
    "ollama.chat": "bare latest neutral no-tools",
    "ollama.generate": "bare latest neutral",
    "completions": "bare neutral",
}
"""The pinned requests that are one request, by family; `;` parts groups."""


def test_the_file_is_of_this_version_and_not_too_large() -> None:
    assert json.loads(make_golden.GOLDEN.read_text("utf-8"))["version"] == KEY_VERSION
    assert make_golden.GOLDEN.stat().st_size < 300_000


def test_enough_is_pinned_of_everything() -> None:
    assert len(_PINNED) >= 220
    assert len({each["id"] for each in _PINNED}) == len(_PINNED)
    kinds = [each["kind"] for each in _PINNED]
    assert {kind for kind in kinds if kinds.count(kind) >= 7} >= set(TABLES)
    assert {name for each in _PINNED for name in each.get("merge", ())} == set(OPT_IN)
    for field in ("api", "tenant", "salt", "sample"):
        assert sum(field in each for each in _PINNED) >= 2


def test_pinned_requests_share_a_key_only_where_a_rule_says_so() -> None:
    by_key: dict[str, list[str]] = {}
    for each in _PINNED:
        by_key.setdefault(each["key"], []).append(each["id"])
    expected = {
        frozenset(posixpath.normpath(f"{family}/{name}") for name in group.split())
        for family, groups in _SAME.items()
        for group in groups.split(";")
    }
    assert {frozenset(names) for names in by_key.values() if len(names) > 1} == expected


# --- the generator ----------------------------------------------------------------------------


def _copy(tmp_path: Path) -> Path:
    path = tmp_path / "golden.json"
    path.write_bytes(make_golden.GOLDEN.read_bytes())
    return path


def test_the_generator_makes_this_very_file(tmp_path: Path) -> None:
    path = _copy(tmp_path)
    assert make_golden.main([], path) == 0
    assert path.read_bytes() == make_golden.GOLDEN.read_bytes()
    path.unlink()
    assert make_golden.main([], path) == 0
    assert path.read_bytes() == make_golden.GOLDEN.read_bytes()


@pytest.mark.parametrize("field", ["key", "body", "id"])
def test_the_generator_moves_nothing_that_is_pinned(
    tmp_path: Path, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _copy(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    content["requests"][3][field] = "changed"
    path.write_text(json.dumps(content), encoding="utf-8")
    before = path.read_bytes()
    assert make_golden.main([], path) == 1
    assert path.read_bytes() == before
    assert "1 pinned keys moved" in capsys.readouterr().err
    assert make_golden.main(["--new-version"], path) == 0
    assert path.read_bytes() == make_golden.GOLDEN.read_bytes()


def test_the_generator_adds_what_is_new(tmp_path: Path) -> None:
    path = _copy(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    del content["requests"][5:]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert make_golden.main([], path) == 0
    assert path.read_bytes() == make_golden.GOLDEN.read_bytes()
