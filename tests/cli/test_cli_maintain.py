"""`prune`, `invalidate`, `verify`: what removes, and what checks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache.cli.output import size_text, span_text
from llmcache.cli.parsing import parse_duration, parse_size


def _keys(run: Callable[..., Any]) -> set[tuple[str, str]]:
    found = run("ls", "--limit", "100", "--json").json["entries"]
    return {(each["collection"], each["key"]) for each in found}


# --- prune ------------------------------------------------------------------------------------


def test_prune_removes_what_is_past_its_time(run: Callable[..., Any], filled: Any) -> None:
    before = _keys(run)
    report = run("prune", "--json").json
    assert (report["expired"], report["evicted"], report["entries_left"]) == (1, 0, 8)
    assert before - _keys(run) == {("default", filled.key("expired"))}
    assert run("prune", "--json").json["expired"] == 0


def test_prune_shrinks_to_a_size(run: Callable[..., Any], filled: Any) -> None:
    size = run("stats", "--json").json["bytes"]
    report = run("prune", "--max-bytes", f"{size // 2}B", "--json").json
    assert report["bytes_left"] <= size // 2
    assert report["evicted"] >= 1
    left = run("stats", "--json").json
    assert (left["entries"], left["bytes"]) == (report["entries_left"], report["bytes_left"])
    assert size - left["bytes"] == report["bytes_freed"]


def test_prune_keeps_to_a_collection(run: Callable[..., Any], filled: Any) -> None:
    report = run("prune", "--max-bytes", "1", "--collection", "vectors", "--json").json
    assert report["evicted"] == 2
    assert run("stats", "--json").json["entries"] == 7


def test_prune_tells_people(run: Callable[..., Any], filled: Any) -> None:
    lines = dict(line.split(maxsplit=1) for line in run("prune").out.splitlines())
    assert lines["expired"] == "1"
    assert lines["left"].startswith("8 entries, ")


@pytest.mark.parametrize("size", ["", "x", "5XB", "MB", "-1", "1e3", "0", "0.0001KB", "1 2", "٣MB"])
def test_a_size_that_is_none_is_refused(run: Callable[..., Any], filled: Any, size: str) -> None:
    ran = run("prune", "--max-bytes", size)
    assert (ran.code, ran.out) == (2, "")
    assert "--max-bytes" in ran.err
    assert "size" in ran.err
    assert run("stats", "--json").json["entries"] == 9


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("200000", 200_000),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("1.5KiB", 1_536),
        ("2G", 2_000_000_000),
        ("0.1GB", 100_000_000),
        ("1TiB", 2**40),
        (" 7b ", 7),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7d", 604_800),
        ("12h", 43_200),
        ("90 min", 5_400),
        ("30m", 1_800),
        ("45s", 45),
        ("0s", 0),
        ("2w", 1_209_600),
        ("1d12h", 129_600),
        ("1D 12H", 129_600),
        ("1.5h", 5_400),
    ],
)
def test_durations_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.integers(min_value=0, max_value=10**15))
def test_a_printed_size_is_read_back_to_its_precision(size: int) -> None:
    shown = size_text(size)
    if size:
        assert abs(parse_size(shown) - size) <= max(0.06 * size, 0)


@given(st.text(max_size=12))
def test_what_is_no_size_or_duration_is_a_value_error(text: str) -> None:
    for parse in (parse_size, parse_duration):
        try:
            number = parse(text)
        except ValueError:
            with pytest.raises(ValueError, match=re.escape(repr(text))):
                parse(text)
        else:
            assert number >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00002, "0.02 ms"),
        (0.0123, "12 ms"),
        (0.852, "852 ms"),
        (1.26, "1.3 s"),
        (119, "119.0 s"),
        (120, "2 min"),
        (5_999, "100 min"),
        (7_200, "2 h"),
        (500_000, "6 d"),
    ],
)
def test_spans_for_people(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


# --- invalidate -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["--tag", "a"], {"plain", "streamed"}),
        (["--tag", "b"], {"streamed"}),
        (["--tag", "a", "--model", "other"], set()),
        (["--model", "other"], {"other"}),
        (["--older-than", "1h"], set()),
        (["--collection", "elsewhere"], {"elsewhere"}),
        (["--collection", "discreet", "--tag", "a"], set()),
        (["--collection", "elsewhere", "--older-than", "0s"], {"elsewhere"}),
    ],
)
def test_what_matches_everything_given_goes(
    run: Callable[..., Any], filled: Any, filters: list[str], names: set[str]
) -> None:
    before = _keys(run)
    ran = run("invalidate", *filters, "--yes", "--json")
    gone = {("elsewhere" if name == "elsewhere" else "default", filled.key(name)) for name in names}
    assert (ran.code, ran.json) == (0, {"removed": len(names)})
    assert before - _keys(run) == gone


@pytest.mark.parametrize("digits", [12, 64])
def test_a_key_goes_by_its_beginning(run: Callable[..., Any], filled: Any, digits: int) -> None:
    start = filled.key("streamed")[: 3 + digits]
    assert run("invalidate", "--key", start, "-y").out == "removed 1 entry\n"
    assert run("invalidate", "--key", start, "-y").out == "removed 0 entries\n"
    assert run("show", filled.key("streamed")).code == 1


def test_a_key_and_a_filter_must_both_match(run: Callable[..., Any], filled: Any) -> None:
    key = filled.key("streamed")
    assert run("invalidate", "--key", key, "--tag", "c", "-y", "--json").json == {"removed": 0}
    assert run("invalidate", "--key", key, "--tag", "b", "-y", "--json").json == {"removed": 1}


def test_a_key_in_two_collections_removes_nothing_unasked(
    run: Callable[..., Any], filled: Any
) -> None:
    ran = run("invalidate", "--key", filled.key("plain"), "--yes")
    assert ran.code == 2
    assert "ambiguous" in ran.err
    args = ["invalidate", "--key", filled.key("plain"), "--collection", "elsewhere", "-y"]
    assert run(*args).out == "removed 1 entry\n"
    assert ("default", filled.key("plain")) in _keys(run)


def test_a_damaged_entry_goes_by_its_key(
    run: Callable[..., Any], filled: Any, damage: Callable[..., Path]
) -> None:
    path = damage(filled.folder, filled.key("other"))
    assert run("invalidate", "--key", filled.key("other"), "-y").out == "removed 1 entry\n"
    assert not path.exists()


def test_nothing_goes_without_a_filter(run: Callable[..., Any], filled: Any) -> None:
    ran = run("invalidate", "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert "say what to remove" in ran.err
    assert len(_keys(run)) == 9


def test_nothing_goes_when_nobody_can_be_asked(run: Callable[..., Any], filled: Any) -> None:
    ran = run("invalidate", "--tag", "a")
    assert (ran.code, ran.out) == (2, "")
    assert "add --yes" in ran.err
    assert len(_keys(run)) == 9


@pytest.mark.parametrize("time", ["", "7", "d", "7y", "-7d", "7d x", "1e9d"])
def test_a_duration_that_is_none_is_refused(
    run: Callable[..., Any], filled: Any, time: str
) -> None:
    ran = run("invalidate", "--older-than", time, "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert "--older-than" in ran.err
    assert "write 7d, 12h" in ran.err
    assert len(_keys(run)) == 9


# --- verify -----------------------------------------------------------------------------------


def test_a_sound_cache_is_code_0(run: Callable[..., Any], filled: Any) -> None:
    ran = run("verify", "--json")
    assert ran.code == 0
    assert ran.json == {
        "checked": 9,
        "corrupt": 0,
        "unreadable": 0,
        "failed": 0,
        "repaired": 0,
        "problems": [],
    }


def test_damage_is_code_1_and_named(
    run: Callable[..., Any], filled: Any, damage: Callable[..., Path]
) -> None:
    key = filled.key("other")
    path = damage(filled.folder, key)
    ran = run("verify", "--json")
    assert (ran.code, ran.json["checked"], ran.json["corrupt"]) == (1, 9, 1)
    (problem,) = ran.json["problems"]
    assert (problem["collection"], problem["key"]) == ("default", key)
    assert "checksum" in problem["reason"]
    assert path.exists()
    text = run("verify").out
    assert key in text
    assert "checksum" in text


def test_repair_sets_damage_aside(
    run: Callable[..., Any], filled: Any, damage: Callable[..., Path]
) -> None:
    path = damage(filled.folder, filled.key("other"))
    data = path.read_bytes()
    ran = run("verify", "--repair", "--json")
    assert (ran.code, ran.json["corrupt"], ran.json["repaired"]) == (1, 1, 1)
    assert not path.exists()
    (aside,) = (filled.folder / "default" / ".corrupt").iterdir()
    assert aside.read_bytes() == data
    assert run("verify").code == 0
    assert run("stats", "--json").json["quarantined"] == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"LLMC", b"<html>", b"\0" * 100, b"LLMC\x01\x01\0\0\0\0\xff\xff\xff\x7f" + b"\0" * 50],
)
def test_whatever_lies_in_an_entrys_place_is_damage(
    run: Callable[..., Any], filled: Any, file_of: Callable[..., Path], content: bytes
) -> None:
    file_of(filled.folder, filled.key("other")).write_bytes(content)
    ran = run("verify", "--json")
    assert (ran.code, ran.json["corrupt"]) == (1, 1)


def test_an_entry_under_another_key_is_damage(
    run: Callable[..., Any], filled: Any, file_of: Callable[..., Path]
) -> None:
    path = file_of(filled.folder, filled.key("other"))
    target = file_of(filled.folder, filled.key("sample"))
    target.write_bytes(path.read_bytes())
    ran = run("verify", "--json")
    assert (ran.code, ran.json["problems"][0]["key"]) == (1, filled.key("sample"))


def test_a_later_format_is_no_damage(
    run: Callable[..., Any], filled: Any, file_of: Callable[..., Path]
) -> None:
    path = file_of(filled.folder, filled.key("other"))
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\x63" + data[5:])
    ran = run("verify", "--repair", "--json")
    assert (ran.code, ran.json["corrupt"], ran.json["unreadable"]) == (0, 0, 1)
    assert path.exists()


def test_a_file_that_cannot_be_read_is_a_problem_and_the_rest_is_checked(
    run: Callable[..., Any], filled: Any, file_of: Callable[..., Path]
) -> None:
    path = file_of(filled.folder, filled.key("other"))
    path.unlink()
    path.mkdir()  # reading a folder is an error, as reading a bad sector is
    ran = run("verify", "--json")
    assert ran.code == 1
    assert ran.json["checked"] >= 8
    assert [problem["key"] for problem in ran.json["problems"]] == [filled.key("other")]
