"""The benchmark command, as a smoke test: its report is well formed and its counts are right.

No figure is asserted here: how fast a machine is is no property of the code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def report(
    pg_engines: Any, redis_engines: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    return _run(tmp_path_factory.mktemp("benchmarks"), "coalescing", "imports")


def _run(folder: Path, *groups: str) -> dict[str, Any]:
    """Return the report of a quick run."""
    target = folder / "report.json"
    only = [word for group in groups for word in ("--only", group)]
    command = [sys.executable, "-m", "benchmarks", "--quick", *only, "--json", str(target)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert groups[0] in done.stdout + done.stderr
    found: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return found


def test_the_report_says_what_was_measured_and_on_what(report: dict[str, Any]) -> None:
    assert report["options"] == {"quick": True, "peers": False, "only": ["coalescing", "imports"]}
    assert {"cpu", "cores", "os", "python"} <= report["machine"].keys()
    assert "llmcache" in report["versions"]
    assert str(Path.home()) not in json.dumps(report)


def test_every_row_has_its_figures_and_its_verdict(report: dict[str, Any]) -> None:
    fields = {"group", "name", "unit", "median", "p10", "p99", "against", "ratio", "bar", "passed"}
    assert len(report["rows"]) == 9
    for row in report["rows"]:
        assert fields <= row.keys()
        assert not row["failed"], row["note"]
        assert row["median"] > 0
        assert (row["passed"] is None) == (row["bar"] is None)


def test_identical_calls_at_once_reach_the_upstream_once(report: dict[str, Any]) -> None:
    counted = [row for row in report["rows"] if row["group"] == "identical calls at once"]
    assert {row["median"] for row in counted} == {1}
    assert {row["details"]["distinct_texts"] for row in counted} == {1}
    assert sorted(row["details"]["asked"] for row in counted) == [20, 20, 40, 40, 50, 200]


@pytest.mark.usefixtures("pg_engines")
def test_importing_stands_beside_a_bare_copy(tmp_path: Path) -> None:
    rows = _run(tmp_path, "importing")["rows"]
    assert [row["name"] for row in rows if row["bar"]] == ["load(), 5,000 a batch, new keys"]
    assert len([row for row in rows if row["against"]]) == 4
    assert len(rows) == 8
    assert min(row["median"] for row in rows) > 0


def test_the_lock_of_the_peers_names_no_host_and_no_path() -> None:
    lines = (_ROOT / "benchmarks/requirements-peers.txt").read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        assert "://" not in line
        assert not line.lstrip().startswith(("/", "-i", "--index", "--extra", "--find", "-f"))
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    assert {"dspy", "litellm", "langchain-openai", "langchain-community"} <= pinned
