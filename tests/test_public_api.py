"""The public list: complete, importable, documented, and light."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import llmcache
import llmcache.errors

HEAVY = (
    "httpx pydantic rich typer zstandard orjson filelock "
    "sqlalchemy redis asyncpg qdrant_client openai"
).split()

PUBLIC = """
ANTHROPIC_AVAILABLE AnthropicProvider AudioPart AuthenticationError Backend BackendError BackendUnavailableError BadRequestError
BaseProvider BufferingAdapter CacheInfo CacheManager CacheMissError CachePolicy CallbackAdapter
CompletionResult ConfigurationError ConflictError ConnectionFailedError Connections
ContentFilteredError
ContextLengthError CorruptEntryError EmbeddingResult FSCache FilePart HybridRedisPostgreSQLCache
ImagePart InvalidRequestError InvalidResponseError KeyRules LLMCacheError MemoryBackend Message
MessageInput MissingExtraError Native NotFoundError OllamaProvider OpenAIProvider OverloadedError
PermissionDeniedError PostgresBackend Provider ProviderError ProviderRegistry QuotaExceededError
RateLimitError RedisBackend
ResponseTimeoutError Role SSEAdapter ServerError StreamEvent StreamEventType
StreamInterruptedError TextPart Timeouts ToolCall ToolCallDelta UnreadableEntryError Usage
__version__ close_all collect_stream format_sse_event get_provider normalize_messages provider_for
stream_to_string
GPT5 GPT5Mini GPT5Nano GPT5Point1 GPT5Point2 ModelProfile ModelRegistry
TextEmbedding3Large TextEmbedding3Small TokenCount count_tokens
CallStats MeasuredStream
ModelPull PullProgress
""".split()

# The suites for other people's tests need what only tests install; all of it is installed here.
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(llmcache.__path__, "llmcache.", lambda _: None)
)


def test_the_public_list_is_the_one_that_was_promised() -> None:
    """A name is added here with the capability that brings it, and never goes without a word."""
    assert sorted(PUBLIC) == sorted(llmcache.__all__)


def test_the_lazy_table_is_the_public_list() -> None:
    assert sorted([*llmcache._HOMES, "__version__"]) == sorted(llmcache.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(llmcache, name)
    home = llmcache._HOMES.get(name)
    if home is not None:
        module = importlib.import_module(f"llmcache.{home}")
        assert value is getattr(module, name)
        assert name in module.__all__


def test_every_error_is_public() -> None:
    assert set(llmcache.errors.__all__) <= set(llmcache.__all__)


def test_all_names_come_with_a_star() -> None:
    names: dict[str, object] = {}
    exec("from llmcache import *", names)
    assert set(llmcache.__all__) <= names.keys()


def test_dir_lists_the_public_names() -> None:
    assert dir(llmcache) == sorted(llmcache.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'OpenAiProvider'"):
        _ = llmcache.OpenAiProvider


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import llmcache, sys; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


def test_a_provider_loads_no_client_before_its_first_call() -> None:
    """A process that only reads its cache never pays for the HTTP client."""
    code = (
        "import llmcache, sys\n"
        "llmcache.OpenAIProvider(model='m', cache_backend='memory')\n"
        "print(sorted({'httpx', 'pydantic', 'rich', 'typer', 'openai', 'filelock'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


def test_every_module_was_found() -> None:
    assert {"llmcache.cache.manager", "llmcache.cli.demo", "llmcache.__main__"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_and_what_it_offers(name: str) -> None:
    module: ModuleType = importlib.import_module(name)
    assert (module.__doc__ or "").strip()
    offered = getattr(module, "__all__", None)
    assert isinstance(offered, list | tuple), f"{name} has no __all__"
    assert len(set(offered)) == len(offered)
    for item in offered:
        assert isinstance(item, str)
        assert hasattr(module, item), f"{name}.__all__ names {item}, which is not there"


def test_the_types_are_published() -> None:
    (folder,) = llmcache.__path__
    assert (importlib.resources.files("llmcache") / "py.typed").is_file(), folder
