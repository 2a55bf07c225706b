"""`export` and `import`: nothing lost on the way, and nothing let in that is no entry."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmcache import OpenAIProvider


def _contents(run: Callable[..., Any], folder: str) -> dict[tuple[str, str], Any]:
    """Return everything that can be known of every entry, but its uses."""
    found = {}
    listed = run("ls", "--limit", "100", "--json", "--cache-dir", folder).json["entries"]
    for each in listed:
        args = ["--collection", each["collection"], "--cache-dir", folder]
        shown = run("show", each["key"], "--raw", "--json", *args).json
        for name in ("uses", "used_at", "size", "age_seconds"):
            del shown[name]
        found[each["collection"], each["key"]] = shown
    return found


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.zst", "without-suffix"])
def test_everything_comes_back(run: Callable[..., Any], filled: Any, name: str) -> None:
    exported = run("export", name, "--json")
    assert exported.code == 0
    assert exported.json["exported"] == 9
    assert exported.json["bytes"] == Path(name).stat().st_size
    is_compressed = Path(name).read_bytes().startswith(b"\x28\xb5\x2f\xfd")
    assert is_compressed is name.endswith(".zst")
    report = run("import", name, "--cache-dir", "copy", "--json")
    assert (report.code, report.json["imported"], report.json["rejected"]) == (0, 9, [])
    assert _contents(run, "copy") == _contents(run, "cache")
    assert run("verify", "--cache-dir", "copy").code == 0
    assert list(Path().glob(".*.part")) == []


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--tag", "a"], 2),
        (["--tag", "none"], 0),
        (["--collection", "vectors"], 2),
        (["--collection", "discreet", "--tag", "a"], 0),
    ],
)
def test_only_what_matches_is_exported(
    run: Callable[..., Any], filled: Any, filters: list[str], count: int
) -> None:
    assert run("export", "some.jsonl", *filters, "--json").json["exported"] == count
    assert len(Path("some.jsonl").read_text().splitlines()) == count


def test_an_export_replaces_an_older_file_whole(run: Callable[..., Any], filled: Any) -> None:
    Path("all.jsonl").write_text("x" * 10**6)
    assert run("export", "all.jsonl").out.startswith("exported 9 entries (")
    assert all(json.loads(line) for line in Path("all.jsonl").read_text().splitlines())


def test_entries_go_into_another_collection(run: Callable[..., Any], filled: Any) -> None:
    run("export", "all.jsonl", "--collection", "vectors")
    run("import", "all.jsonl", "--cache-dir", "copy", "--collection", "moved")
    collections = run("stats", "--cache-dir", "copy", "--json").json["collections"]
    assert {name: each["entries"] for name, each in collections.items()} == {"moved": 2}


def test_an_imported_entry_answers_a_call(run: Callable[..., Any], filled: Any) -> None:
    run("export", "all.jsonl.zst")
    run("import", "all.jsonl.zst", "--cache-dir", "copy")

    async def ask() -> Any:
        async with OpenAIProvider("demo", base_url=filled.base_url, cache_dir="copy") as provider:
            return await provider.complete("Explain WAL in one paragraph.", mode="offline")

    assert asyncio.run(ask()) == filled.results["plain"]


@pytest.mark.parametrize(
    ("conflict", "age", "wins", "field"),
    [
        (None, -10, False, "kept"),
        ("keep", -10, False, "kept"),
        ("replace", -10, True, "replaced"),
        ("replace", 10, True, "replaced"),
        ("newer", -10, False, "kept"),
        ("newer", 0, False, "kept"),
        ("newer", 10, True, "replaced"),
    ],
)
def test_a_conflict_ends_as_it_was_asked_to(
    run: Callable[..., Any],
    filled: Any,
    conflict: str | None,
    age: float,
    wins: bool,
    field: str,
) -> None:
    run("export", "one.jsonl", "--tag", "b")
    line = json.loads(Path("one.jsonl").read_text())
    line |= {"created_at": line["created_at"] + age, "tags": ["from the file"]}
    Path("one.jsonl").write_text(json.dumps(line))
    options = [] if conflict is None else ["--on-conflict", conflict]
    report = run("import", "one.jsonl", *options, "--json").json
    assert report == {
        **dict.fromkeys(("imported", "replaced", "kept", "rejected_count"), 0),
        "rejected": [],
        field: 1,
    }
    tags = run("show", filled.key("streamed"), "--json").json["tags"]
    assert (tags == ["from the file"]) is wins


def test_a_conflict_rule_that_is_none_is_refused(run: Callable[..., Any], filled: Any) -> None:
    Path("none.jsonl").write_text("")
    ran = run("import", "none.jsonl", "--on-conflict", "merge")
    assert (ran.code, ran.out) == (2, "")
    assert "on-conflict" in ran.err


@pytest.mark.parametrize("command", ["export", "import"])
@pytest.mark.parametrize("target", ["missing/deep/file.jsonl", "cache", "file/below", "-"])
def test_a_target_that_cannot_be_is_one_line(
    run: Callable[..., Any], filled: Any, command: str, target: str
) -> None:
    Path("file").write_text("")
    ran = run(command, target)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("llmcache: ")
    assert ran.err.count("\n") == 1
    assert list(Path().glob(".*.part")) == []
    assert run("stats", "--json").json["entries"] == 9


def test_an_export_that_leaves_something_out_says_so(
    run: Callable[..., Any], filled: Any, file_of: Callable[..., Path]
) -> None:
    """A folder in an entry's place cannot be read, as a bad sector cannot."""
    path = file_of(filled.folder, filled.key("other"))
    path.unlink()
    path.mkdir()
    ran = run("export", "all.jsonl", "--json")
    assert (ran.code, ran.json["exported"], ran.json["skipped"]) == (1, 8, 1)
    assert len(Path("all.jsonl").read_bytes().splitlines()) == 8
    assert "verify" in ran.err


def test_an_export_is_the_same_whatever_wrote_it_last(run: Callable[..., Any], filled: Any) -> None:
    def digests(name: str) -> set[str]:
        lines = Path(name).read_bytes().splitlines()
        return {hashlib.sha256(line).hexdigest() for line in lines}

    run("export", "one.jsonl")
    run("import", "one.jsonl", "--cache-dir", "copy")
    run("export", "two.jsonl", "--cache-dir", "copy")
    assert digests("one.jsonl") == digests("two.jsonl")
