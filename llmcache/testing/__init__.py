"""For your own tests: conformance suites for backends and providers, fakes, a local upstream.

The suites need pytest and pytest-asyncio, the state machine needs hypothesis;
`FakeProvider` and the upstreams need nothing. Names are loaded when they are first used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .backends import BackendTests as BackendTests
    from .fake import FakeProvider as FakeProvider
    from .fake import FakeRequest as FakeRequest
    from .machine import BackendMachine as BackendMachine
    from .providers import ProviderTests as ProviderTests
    from .upstream import DemoUpstream as DemoUpstream
    from .upstream import Reply as Reply
    from .upstream import Upstream as Upstream
    from .upstream import UpstreamRequest as UpstreamRequest

_HOMES = {
    "BackendMachine": "machine",
    "BackendTests": "backends",
    "DemoUpstream": "upstream",
    "FakeProvider": "fake",
    "FakeRequest": "fake",
    "ProviderTests": "providers",
    "Reply": "upstream",
    "Upstream": "upstream",
    "UpstreamRequest": "upstream",
}

__all__ = [
    "BackendMachine",
    "BackendTests",
    "DemoUpstream",
    "FakeProvider",
    "FakeRequest",
    "ProviderTests",
    "Reply",
    "Upstream",
    "UpstreamRequest",
]

# Inside a test run, a failing assertion of a suite shows its values, as one of the test's own.
_pytest = sys.modules.get("pytest")
if _pytest is not None:
    for _name in ("_backend_powers", "backends", "machine", "providers"):
        _pytest.register_assert_rewrite(f"{__name__}.{_name}")

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
