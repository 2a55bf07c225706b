"""Folders for servers: pytest's own are closed to whom Postgres runs as when we are root."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmcache.testing._server_folders import unreachable


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A new folder that everybody may enter."""
    yield from _folder()


@pytest.fixture(scope="module")
def shared_folder() -> Iterator[Path]:
    """One for all tests of a module, for what is the slower the newer it is."""
    yield from _folder()


def _folder() -> Iterator[Path]:
    places = [Path(tempfile.gettempdir()), Path("/tmp")]
    place = next((p for p in places if os.geteuid() or not unreachable(p)), places[0])
    folder = Path(tempfile.mkdtemp(prefix="llmcache-test-", dir=place))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
