"""Why two requests have two keys, in words: with values where requests are stored, without where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_values import json_values
from keying import (
    FOREIGN,
    NATIVE,
    ask,
    call,
    calls,
    chat,
    image,
    items,
    result,
    said,
    text,
    tool,
)

from llmcache import OpenAIProvider
from llmcache.cache.control import CachePolicy
from llmcache.cache.inspection import entries
from llmcache.cache.store import Store
from llmcache.errors import CacheMissError
from llmcache.keys import component_differences, components, differences, similarity

_Make = Callable[..., OpenAIProvider]
_CITY: Final = {"type": "object", "properties": {"city": {"type": "string"}, "day": {}}}
_TURNED: Final = {"type": "object", "properties": {"day": {}, "city": {"type": "string"}}}
_COUNTED: Final = {"type": "object", "properties": {"city": {"type": "number"}, "day": {}}}


def _between(kind: str, a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return differences(ask(kind, a).identity(), ask(kind, b).identity())


def _format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}


_LINES: Final[list[tuple[str, dict[str, Any], dict[str, Any], list[str]]]] = [
    ("chat", chat(), chat(), []),
    ("chat", chat(), chat(stream=True, user="a"), []),
    ("chat", chat(temperature=0.2), chat(temperature=0.3), ["temperature: 0.2 → 0.3"]),
    ("chat", chat(temperature=0.2), chat(), ["temperature: 0.2 → absent"]),
    ("chat", chat(), chat(seed=7), ["seed: absent → 7"]),
    ("chat", {"model": "a"}, {"model": "b"}, ['model: "a" → "b"']),
    ("chat", chat(said("a")), chat(said("b")), ['messages[0].content: "a" → "b"']),
    ("chat", chat(said("é")), chat(said("e")), ['messages[0].content: "é" → "e"']),
    ("chat", chat("a", {"role": "tool"}), chat("a", {"role": "tool", "content": "x"}), ['messages[1].content: absent → "x"']),
    ("chat", chat("a"), chat("a", "b"), ['messages[1]: absent → {"content": "b", "role": "user"}']),
    ("chat", chat("a", "b"), chat("a"), ['messages[1]: {"content": "b", "role": "user"} → absent']),
    ("chat", chat(said("a")), chat(said([text("a")])), ['messages[0].content: "a" → [{"text": "a", "type": "text"}]']),
    ("chat", chat(tools=[tool(), tool(), tool(description="a")]), chat(tools=[tool(), tool(), tool(description="b")]), ['tools[2].function.description: "a" → "b"']),
    ("chat", chat(tools=[tool(_CITY)]), chat(tools=[tool(_COUNTED)]), ['tools[0].function.parameters.properties.city.type: "string" → "number"']),
    ("chat", chat(tools=[tool(_CITY)]), chat(tools=[tool(_TURNED)]), ["tools[0].function.parameters: the order of keys differs"]),
    ("chat", chat(response_format=_format(_CITY)), chat(response_format=_format(_TURNED)), ["response_format.json_schema.schema: the order of keys differs"]),
    ("ollama.chat", {"format": _CITY}, {"format": _TURNED}, ["format: the order of keys differs"]),
    ("chat", chat(calls(call("f", "A"))), chat(calls(call("f", "B"))), ['messages[0].tool_calls[0].id: "A" → "B"']),
    ("chat", chat(result("A", "r")), chat(result("B", "r")), ['messages[0].tool_call_id: "A" → "B"']),
    ("chat", chat(n=1), chat(n=True), ["n: 1 → true"]),
    ("chat", chat(new={"a": [1]}), chat(new={"a": [2]}), ["new.a[0]: 1 → 2"]),
    ("chat", chat(new=None), chat(), ["new: null → absent"]),
    ("chat", chat(seed=1, temperature=0.2), chat(seed=2, temperature=0.3), ["seed: 1 → 2", "temperature: 0.2 → 0.3"]),
    ("responses", {"input": "a"}, {"input": "b"}, ['input[0].content: "a" → "b"']),
    ("responses", items(instructions="a"), items(instructions="b"), ['instructions: "a" → "b"']),
    ("embedding", {"input": "a"}, {"input": "a", "dimensions": 5}, ["dimensions: absent → 5"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "a", "b", "lines"), _LINES)
def test_a_difference_is_named_by_its_path(kind: str, a: Any, b: Any, lines: list[str]) -> None:
    assert _between(kind, a, b) == lines


def test_where_and_for_whom_is_named_too() -> None:
    first = ask("chat", chat()).identity()
    other = ask(
        "chat", chat(), native=True, tenant="t", salt="s", api={"openai-beta": "x"}
    ).identity(2)
    assert differences(first, other) == [
        'api.openai-beta: absent → "x"',
        f'endpoint: "{FOREIGN["chat"]}" → "{NATIVE["chat"]}"',
        "sample: 0 → 2",
        'salt: absent → "s"',
        'tenant: absent → "t"',
    ]


def test_a_long_value_is_cut_short() -> None:
    (line,) = _between("chat", chat(said("a" * 10_000)), chat(said("b")))
    assert len(line) < 120
    assert line.startswith('messages[0].content: "aaa')
    assert line.endswith('… → "b"')


def test_media_are_named_by_their_digests_not_shown() -> None:
    a, b = (chat(said([image(f"data:image/png;base64,{data}")])) for data in ("QQ==", "Qg=="))
    (line,) = _between("chat", a, b)
    assert line.startswith('messages[0].content[0].image_url.url: "data:image/png;sha256,')


@settings(deadline=None)
@given(json_values, json_values)
def test_what_differs_has_a_line_and_what_does_not_has_none(a: Any, b: Any) -> None:
    one, other = (ask("chat", chat(new=value)).identity() for value in (a, b))
    assert (differences(one, other) == []) == (one == other)
    assert _between("chat", chat(said([text("x", new=a)])), chat(said([text("x", new=a)]))) == []


def test_a_text_is_compared_as_a_text() -> None:
    (line,) = _between("chat", chat(said('{"a": 1}')), chat(said('{"a":1}')))
    assert "order" not in line


# --- components -------------------------------------------------------------------------------


def _parts(body: dict[str, Any], **more: Any) -> dict[str, str]:
    return components(ask("chat", body, **more).identity())


def test_a_component_is_a_field_or_an_element_of_one() -> None:
    found = _parts(
        chat("a", "b", tools=[tool()], temperature=0.5, response_format={"type": "text"})
    )
    assert set(found) == {
        *("v", "kind", "endpoint", "api", "sample", "model", "messages[0]", "messages[1]"),
        *("tools[0]", "temperature", "response_format"),
    }
    assert all(len(value) == 16 for value in found.values())


_COMPONENTS: Final[list[tuple[dict[str, Any], dict[str, Any], list[str]]]] = [
    (chat("a"), chat("a"), []),
    (chat("a"), chat("b"), ["messages[0]: differs"]),
    (chat("a", "b"), chat("a", "c"), ["messages[1]: differs"]),
    (chat("a"), chat("a", "b"), ["messages[1]: only in the second"]),
    (chat("a", "b"), chat("a"), ["messages[1]: only in the first"]),
    (chat(seed=1), chat(temperature=1), ["seed: only in the first", "temperature: only in the second"]),
    (chat(tools=[tool(_CITY)]), chat(tools=[tool(_TURNED)]), ["tools[0]: differs"]),
    ({"model": "a"}, {"model": "b"}, ["model: differs"]),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "lines"), _COMPONENTS)
def test_components_name_what_differs(a: Any, b: Any, lines: list[str]) -> None:
    assert component_differences(_parts(a), _parts(b)) == lines


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"tenant": None}, {}),
        ({"new": {}}, {}),
        pytest.param({"new": []}, {}),
        pytest.param({"new": []}, {"new": [[]], "newer": []}),
        pytest.param({"sample": 1}, {"sample": 2}),
        pytest.param({"endpoint": 1}, {"kind": 2}),
    ],
)
def test_two_keys_always_differ_in_a_component(a: Any, b: Any) -> None:
    assert ask("chat", a).key() != ask("chat", b).key()
    lines = component_differences(_parts(a), _parts(b))
    named = {line.split(":")[0].split("[")[0].split(".")[-1] for line in lines}
    assert named == {n for n in {*a, *b} if n not in a or n not in b or a[n] != b[n]}


def test_similar_requests_share_most_components() -> None:
    base = _parts(chat("a", "b", temperature=0.5))
    near = _parts(chat("a", "c", temperature=0.5))
    far = _parts({"model": "n", "prompt": "x"}, native=True, tenant="t")
    assert similarity(base, base) == 1
    assert 1 > similarity(base, near) > similarity(base, far) > 0
    assert similarity({}, {}) == similarity({"a": "1"}, {"b": "1"}) == 0


_DIGESTS: Final = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("12"))


@settings(deadline=None)
@given(_DIGESTS, _DIGESTS)
def test_similarity_is_a_share_and_has_no_direction(a: dict[str, str], b: dict[str, str]) -> None:
    assert 0 <= similarity(a, b) <= 1
    assert similarity(a, b) == similarity(b, a)
    assert (similarity(a, b) == 1) == (a == b != {})


# --- through the cache ------------------------------------------------------------------------

_SECRETS: Final = {
    "system": "You are the tenth muse",
    "question": "What did Sappho lose?",
    "tool": "Looks for papyri",
    "field": "hexameter",
    "embedded": "a text about Lesbos",
    "tenant": "the museum",
}
_MESSAGES: Final = [
    {"role": "system", "content": _SECRETS["system"]},
    {"role": "user", "content": _SECRETS["question"]},
]
_OPTIONS: Final[dict[str, Any]] = {
    "cache_response": True,
    "tools": [tool(description=_SECRETS["tool"])],
    "extra_body": {"metre": _SECRETS["field"]},
    "salt": "spring of 600",
}


async def _fill(provider: OpenAIProvider) -> None:
    await provider.complete(_MESSAGES, **_OPTIONS)
    async for _ in provider.stream([*_MESSAGES, "And then?"], **_OPTIONS):
        pass
    await provider.embed([_SECRETS["embedded"]], cache_response=True)
    await provider.cache.store.settle()


async def _stored(store: Store) -> list[bytes]:
    """Return every entry as its payload: what is left after checksum, dictionary and compression."""
    return [b"".join(store.codec.parts(entry)) async for _, entry in entries(store, None)]


@pytest.mark.parametrize("store_request", [True, False])
async def test_without_requests_an_entry_has_no_word_of_them(
    make_provider: _Make, tmp_path: Path, store_request: bool
) -> None:
    policy = CachePolicy(store_request=store_request)
    async with make_provider(cache_policy=policy, tenant=_SECRETS["tenant"]) as provider:
        await _fill(provider)
        payloads = await _stored(provider.cache.store)
        identities = [e.identity async for _, e in entries(provider.cache.store, None)]
    assert len(payloads) == 3
    seen = {name for name, secret in _SECRETS.items() if secret.encode() in b"".join(payloads)}
    assert seen == (set(_SECRETS) if store_request else set())
    assert all(map(bool, identities)) is store_request
    for path in tmp_path.rglob("*"):
        text_of_names = str(path) + (path.read_bytes().decode("latin-1") if path.is_file() else "")
        assert store_request or not any(s in text_of_names for s in _SECRETS.values())


@pytest.mark.parametrize(
    ("change", "lines", "digests"),
    [
        pytest.param({"salt": "other"}, ('salt: "spring of 600" → "other"',), ("salt: differs",)),
        (
            {"temperature": 0.5},
            ("temperature: absent → 0.5",),
            ("temperature: only in the second",),
        ),
        (
            {"tools": [tool(description="Finds shards")]},
            ('tools[0].function.description: "Looks for papyri" → "Finds shards"',),
            ("tools[0]: differs",),
        ),
        ({"model": "other"}, ('model: "demo" → "other"',), ("model: differs",)),
        ({"sample": 1}, ("sample: 0 → 1",), ("sample: differs",)),
    ],
    ids=["salt", "temperature", "tools", "model", "sample"],
)
async def test_explain_names_what_differs_from_the_nearest_entry(
    make_provider: _Make, change: dict[str, Any], lines: Any, digests: Any
) -> None:
    for store_request, expected in ((True, lines), (False, digests)):
        policy = CachePolicy(store_request=store_request)
        async with make_provider(cache_policy=policy, cache_collection=f"c{store_request}") as p:
            await _fill(p)
            found = await p.explain(_MESSAGES, **{**_OPTIONS, **change})
            known = await p.explain(_MESSAGES, **_OPTIONS)
        assert not found.stored
        assert found.differences == expected
        assert known.stored
        assert known.key == found.nearest


async def test_an_offline_miss_says_what_differs_without_a_word_of_it(make_provider: _Make) -> None:
    async with make_provider(cache_policy=CachePolicy(store_request=False)) as provider:
        await _fill(provider)
        with pytest.raises(CacheMissError) as caught:
            await provider.complete(
                [_MESSAGES[0], "Another?"], **{**_OPTIONS, "cache_response": False}, mode="offline"
            )
    assert "messages[1]: differs" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in _SECRETS.values())
