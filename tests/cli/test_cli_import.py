"""`import` of files that are damaged, foreign or hostile."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmcache.cli import make_app
from llmcache.keys import key_of_identity
from llmcache.keys.canonical import canonical_bytes

KEY = "v1:" + "a" * 64
LINE: dict[str, Any] = {
    "collection": "default",
    "key": KEY,
    "kind": "chat",
    "created_at": 1_790_000_000.5,
    "body": '{"choices": []}',
}


def _line(**changes: Any) -> str:
    line = {name: value for name, value in {**LINE, **changes}.items() if value is not ...}
    return json.dumps(line)


REQUEST = {"v": 1, "kind": "chat", "body": {"model": "m"}, "endpoint": "e", "api": {}, "sample": 0}
REQUEST_KEY = key_of_identity(canonical_bytes(REQUEST))

NO_ENTRIES = {
    "not JSON": "{",
    "a number": "5",
    "a list": "[]",
    "null": "null",
    "nested deeply": "[" * 100_000,
    "a huge number": '{"key": ' + "9" * 5_000 + "}",
    "not UTF-8": b"\xff\xfe\xff",
    "no key": _line(key=...),
    "a key of another type": _line(key=7),
    "a key that climbs": _line(key="v1:../../../../etc/passwd/aaaaaaaaaaaaaaaaaaaa"),
    "a short key": _line(key="v1:abc"),
    "a collection that climbs": _line(collection="../../x"),
    "an absolute collection": _line(collection="/etc"),
    "a hidden collection": _line(collection=".locks"),
    "a collection with a NUL": _line(collection="a\0b"),
    "a collection of another type": _line(collection=["x"]),
    "no kind": _line(kind=...),
    "no time": _line(created_at=...),
    "a time that is no number": _line(created_at="yesterday"),
    "no answer": _line(body=...),
    "an answer of another type": _line(body={"choices": []}),
    "broken base64": _line(body=..., body_base64="%%%"),
    "events that are none": _line(events="x"),
    "events without time": _line(events=[{"data": "x"}]),
    "tags of another type": _line(tags=[1]),
    "a model of another type": _line(model=5),
    "components of another type": _line(components=5),
    "headers of another type": _line(headers=[1, 2]),
    "another request's answer": _line(request=REQUEST),
}


@pytest.mark.parametrize("line", NO_ENTRIES.values(), ids=NO_ENTRIES.keys())
def test_a_line_that_is_no_entry_is_named_and_the_rest_comes_in(
    run: Callable[..., Any], tmp_path: Path, line: str | bytes
) -> None:
    good = _line(key=REQUEST_KEY, request=REQUEST)
    data = line if isinstance(line, bytes) else line.encode()
    Path("in.jsonl").write_bytes(good.encode() + b"\n\n" + data + b"\n" + _line().encode())
    ran = run("import", "in.jsonl", "--cache-dir", "cache/new", "--json")
    assert ran.code == 1
    assert (ran.json["imported"], ran.json["rejected_count"]) == (2, 1)
    assert ran.json["rejected"][0]["reason"]
    assert run("verify", "--cache-dir", "cache/new", "--json").json["checked"] == 2
    outside = {path.name for path in tmp_path.iterdir()} - {"in.jsonl", "cache"}
    assert not outside
    text = run("import", "in.jsonl", "--cache-dir", "cache/new").out
    assert "rejected" in text
    assert "\x1b" not in text


LET_IN = {
    "a time of NaN": ("NaN", "created_at"),
    "a time of infinity": ("Infinity", "created_at"),
    "an expiry of NaN": ("NaN", "expires_at"),
    "an end of infinity": ("Infinity", "keep_until"),
    "an end of NaN": ("NaN", "keep_until"),
    "a duration of infinity": ("Infinity", "duration"),
    "a lone surrogate": (r'"\ud800"', "model"),
    "a tag of a lone surrogate": (r'["\ud800"]', "tags"),
    "tags that are one text": ('"abc"', "tags"),
    "a record separator in an event": (r'[{"offset": 0, "data": "a\u001eb"}]', "events"),
    "an event at infinity": (r'[{"offset": Infinity, "data": "a"}]', "events"),
    "an event at NaN": (r'[{"offset": NaN, "data": "a"}]', "events"),
    "a component that is no digest": ('{"a": {"b": [1]}}', "components"),
    "a component beyond JSON": ('{"a": NaN}', "components"),
    "an integer beyond 64 bits": ('{"a": 99999999999999999999999}', "components"),
}


@pytest.mark.parametrize(("value", "name"), LET_IN.values(), ids=LET_IN.keys())
def test_a_value_that_cannot_be_kept_is_a_rejected_line(
    run: Callable[..., Any], value: str, name: str
) -> None:
    hostile = _line().removesuffix("}") + f', "{name}": {value}' + "}"
    Path("in.jsonl").write_text(hostile + "\n" + _line(key=REQUEST_KEY, request=REQUEST))
    ran = run("import", "in.jsonl", "--cache-dir", "new", "--json")
    assert ran.code == 1
    assert (ran.json["imported"], ran.json["rejected_count"]) == (1, 1)
    assert run("verify", "--cache-dir", "new").code == 0


def test_an_entry_above_the_ceiling_is_a_rejected_line(run: Callable[..., Any]) -> None:
    lines = [_line(body="x" * (65 * 2**20)), _line(key=REQUEST_KEY, request=REQUEST)]
    Path("in.jsonl").write_text("\n".join(lines))
    ran = run("import", "in.jsonl", "--cache-dir", "new", "--json")
    assert ran.code == 1
    assert (ran.json["imported"], ran.json["rejected_count"]) == (1, 1)


@pytest.mark.parametrize("cut", [0.0, 0.5, 0.99])
def test_a_cut_compressed_file_gives_what_it_has(
    run: Callable[..., Any], filled: Any, cut: float
) -> None:
    run("export", "all.jsonl.zst")
    data = Path("all.jsonl.zst").read_bytes()
    Path("cut.jsonl.zst").write_bytes(data[: int(len(data) * cut)])
    ran = run("import", "cut.jsonl.zst", "--cache-dir", "copy", "--json")
    assert ran.code in {0, 1}
    assert ran.json["imported"] < 9
    if ran.json["imported"]:
        assert run("verify", "--cache-dir", "copy").code == 0


def test_a_file_that_only_claims_to_be_compressed_is_told(run: Callable[..., Any]) -> None:
    Path("in.jsonl.zst").write_text(_line())
    ran = run("import", "in.jsonl.zst", "--cache-dir", "new", "--json")
    assert (ran.code, ran.json["imported"], ran.json["rejected_count"]) == (1, 0, 1)
    assert "damaged" in ran.json["rejected"][0]["reason"]


def test_a_line_that_unpacks_without_end_is_told(run: Callable[..., Any]) -> None:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    with Path("bomb.jsonl.zst").open("wb") as file:
        file.writelines(packer.compress(b"a" * 2**20) for _ in range(260))
        file.write(packer.flush())
    ran = run("import", "bomb.jsonl.zst", "--cache-dir", "new", "--json")
    assert (ran.code, ran.json["rejected_count"]) == (1, 1)
    assert "the rest is not read" in ran.json["rejected"][0]["reason"]


# --- anything at all --------------------------------------------------------------------------


def _mutations(text: str) -> st.SearchStrategy[str]:
    """Lines that were entries until somebody changed a value, a character or their end."""
    values = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.lists(st.integers(), max_size=2),
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    )
    hostile = st.sampled_from([float("nan"), float("inf"), 10**30, -1, "\ud800", ["\ud800"]])
    line = json.loads(text)

    def changed(name: str, value: Any) -> str:
        return json.dumps({**line, name: value})

    def cut(start: int, end: int, middle: str) -> str:
        return text[:start] + middle + text[end:]

    places = st.integers(min_value=0, max_value=len(text))
    characters = st.characters(exclude_characters="\n\r", exclude_categories=("Cs",))
    return st.one_of(
        st.builds(changed, st.sampled_from(sorted(line)), hostile),
        st.builds(changed, st.sampled_from(sorted(line)), values),
        st.builds(cut, places, places, st.text(characters, max_size=3)),
        st.text(characters, max_size=20),
    )


ENTRY = json.dumps(
    {
        **LINE,
        "key": REQUEST_KEY,
        "request": REQUEST,
        "model": "m",
        "answered_by": "n",
        "tags": ["t"],
        "expires_at": 1_890_000_000.0,
        "keep_until": 1_890_000_000.0,
        "duration": 0.5,
        "cost": "0.25",
        "headers": {"x-request-id": "r"},
        "components": {"model": "0123456789abcdef"},
        "body": ...,
        "events": [{"offset": 0.1, "event": "e", "data": "{}"}],
    }
    | {"body_base64": base64.b64encode(b"\xff").decode()},
    default=lambda _: "body",
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_mutations(ENTRY), min_size=1, max_size=4))
def test_no_line_harms_a_cache(lines: Iterable[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.jsonl").write_text("\n".join([*lines, _line()]), encoding="utf-8")
        args = ["--cache-dir", f"{name}/new", "--json"]
        ran = CliRunner().invoke(make_app(), ["import", f"{name}/in.jsonl", *args])
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        assert ran.exit_code in {0, 1}, ran.stderr
        report = json.loads(ran.stdout)
        assert report["imported"] >= 1
        assert (ran.exit_code == 1) is (report["rejected_count"] > 0)
        checked = CliRunner().invoke(make_app(), ["verify", *args])
        assert checked.exit_code == 0, checked.stdout
        listed = CliRunner().invoke(make_app(), ["ls", *args])
        assert listed.exit_code == 0, listed.stderr
        assert json.loads(listed.stdout)["matched"] == json.loads(checked.stdout)["checked"]
        assert {path.name for path in folder.iterdir()} == {"in.jsonl", "new"}
