"""The documentation is made of the tables, and leaves nothing out."""

from __future__ import annotations

import re

import pytest

from llmcache.keys import OPT_IN, TABLES, Verdict
from llmcache.keys.rules import REFUSED, UNKNOWN, documentation


def _sections() -> dict[str, str]:
    title, found = "", {}
    for line in documentation().splitlines():
        if line.startswith("### "):
            title = line.removeprefix("### ")
            found[title] = ""
        else:
            found[title] += line + "\n"
    return found


@pytest.mark.parametrize("kind", TABLES)
def test_every_field_of_a_table_has_its_row(kind: str) -> None:
    rows = _sections()[f"`{kind}`"].splitlines()
    for name, field in TABLES[kind].items():
        assert f"| `{name}` | {field.verdict.value} | {field.reason} |" in rows
    assert f"| any other | {UNKNOWN.verdict.value} | {UNKNOWN.reason} |" in rows
    assert len([row for row in rows if row.startswith("| `")]) == len(TABLES[kind])


def test_every_merge_has_its_row() -> None:
    rows = _sections()["Opt-in merges"].splitlines()
    assert [f"| `{name}` | {effect} |" for name, effect in OPT_IN.items()] == rows[
        3 : 3 + len(OPT_IN)
    ]


def test_the_documentation_is_markdown_tables() -> None:
    text = documentation()
    assert text.endswith("\n")
    assert set(_sections()) == {*(f"`{kind}`" for kind in TABLES), "Opt-in merges"}
    for line in text.splitlines():
        # A bar inside a cell would break the table.
        assert line.count("|") in {0, 3, 4}, line


@pytest.mark.parametrize("kind", TABLES)
def test_every_verdict_has_a_reason(kind: str) -> None:
    for name, field in TABLES[kind].items():
        assert re.fullmatch(r"[a-z0-9_]+", name)
        assert len(field.reason) > 5
    assert all(map(len, REFUSED.values()))
    assert all(verdict.value for verdict in Verdict)


@pytest.mark.parametrize("kind", TABLES)
def test_a_merge_that_a_reason_names_exists(kind: str) -> None:
    for name, field in TABLES[kind].items():
        named = re.findall(r"merge: (\w+)", field.reason)
        assert set(named) <= OPT_IN.keys(), name
        assert field.verdict is not Verdict.OPT_IN or named, f"{name} does not say which merge"
