"""What the README shows is what happens."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from llmcache.cache import control
from llmcache.testing import DemoUpstream

_ROOT = Path(__file__).resolve().parents[1]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip(" `") for cell in line.strip().strip("|").split("|")]


async def test_the_first_program_runs_and_hits(
    tmp_path: Path,
    upstream: DemoUpstream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = re.findall(r"```python\n(.*?)```", _README, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    names: dict[str, Any] = {}
    exec(program.replace("asyncio.run(main())", ""), names)
    await asyncio.wait_for(names["main"](), 30)
    assert " hit " in capsys.readouterr().out
    assert upstream.calls == 1
    assert (tmp_path / "cache" / "default").is_dir()


def test_the_table_of_controls_is_the_one_of_the_code() -> None:
    """The module's docstring has the same rows, in columns."""
    rows = re.search(r"\| arguments \| reads .*?\n\n", _README, re.DOTALL)
    assert rows is not None
    lines = rows[0].strip().splitlines()
    told = [_cells(line) for line in (lines[0], *lines[2:])]
    documented = (control.__doc__ or "").partition("\n\n")[2].strip().splitlines()
    for row, line in zip(told, documented, strict=True):
        for cell in row:
            first = re.split(r" \(|:|;| of the same request", cell)[0].replace("`", "")
            assert first in line, (first, line)


def test_the_files_it_names_are_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", _README)
    assert linked
    for name in (*linked, "tests/run.py", "examples/", ".ci/run"):
        assert name in _README
        assert (_ROOT / name).exists(), name
