"""Fixtures of the cache's tests."""

from __future__ import annotations

import time

import pytest
from cache_support import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    return made
