"""Every backend behaves like a dict, whatever is done to it and in whatever order."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from llmcache import FSCache, MemoryBackend
from llmcache.backends import Backend
from llmcache.testing import BackendMachine

_SETTINGS = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class MemoryMachine(BackendMachine):
    def make_backend(self) -> Backend:
        return MemoryBackend()


class FolderMachine(BackendMachine):
    durable = True

    def make_backend(self) -> Backend:
        return FSCache(self.folder)


class ThreadedFolderMachine(BackendMachine):
    durable = True

    def make_backend(self) -> Backend:
        return FSCache(self.folder, io="thread", fsync=True)


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = _SETTINGS
TestFolderMachine = FolderMachine.TestCase
TestFolderMachine.settings = _SETTINGS
TestThreadedFolderMachine = ThreadedFolderMachine.TestCase
TestThreadedFolderMachine.settings = _SETTINGS
