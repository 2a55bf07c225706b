"""A value that has no JSON form is an error of the request, and the error names its place."""

from __future__ import annotations

import itertools
import uuid
from typing import Any, Final

import pytest
from keying import ask, chat, key, said, tool

from llmcache.errors import InvalidRequestError

_FORMLESS: Final[dict[str, tuple[Any, str]]] = {
    "NaN": (float("nan"), "nan"),
    "infinity": (float("inf"), "inf"),
    "minus infinity": (float("-inf"), "inf"),
    "a lone surrogate": ("a\ud800b", "surrogate"),
    "bytes": (b"x", "bytes"),
    "a set": ({1}, "set"),
    "an object": (object(), "object"),
    "a complex number": (1j, "complex"),
}


_DATA: Final = "messages[0].content[0].source.data"
_PLACES: Final[list[tuple[str, Any, str]]] = [
    ("chat", lambda v: chat(temperature=v), "temperature"),
    ("chat", lambda v: chat(seed=v), "seed"),
    ("chat", lambda v: chat(new={"a": [0, {"b": v}]}), "new.a[1].b"),
    ("chat", lambda v: chat(said(v)), "messages[0].content"),
    ("chat", lambda v: chat("a", "b", "c", said([part(v)])), "messages[3].content[0].image_url"),
    ("chat", lambda v: chat(said([part({"url": v})])), "messages[0].content[0].image_url.url"),
    ("chat", lambda v: chat(stop=["a", v]), "stop[1]"),
    ("chat", lambda v: chat(tools=[tool({"x": v})]), "tools[0].function.parameters.x"),
    ("responses", lambda v: {"input": v}, "input"),
    ("responses", lambda v: {"text": {"format": {"schema": v}}}, "text.format.schema"),
    ("messages", lambda v: {"system": [{"text": v}]}, "system[0].text"),
    ("messages", lambda v: {"messages": [said([block(v)])]}, _DATA),
    ("ollama.chat", lambda v: {"format": {"a": v}}, "format.a"),
    ("ollama.generate", lambda v: {"options": {"seed": v}}, "options.seed"),
    ("embedding", lambda v: {"input": v}, "input"),
    ("tomorrow", lambda v: {"x": v}, "x"),
]


def part(image_url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": image_url}


def block(data: Any) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "data": data}}


def _placed() -> list[Any]:
    found = []
    for (kind, build, path), (name, (value, reason)) in itertools.product(
        _PLACES, _FORMLESS.items()
    ):
        at = f"{name}-{kind}-{path}"
        found.append(pytest.param(kind, build(value), path, reason, id=at))
    return found


@pytest.mark.parametrize(("kind", "body", "path", "reason"), _placed())
def test_a_value_without_a_form_is_named_by_its_place(
    kind: str, body: Any, path: str, reason: str
) -> None:
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        key(kind, body, url="https://llm.example/x")
    assert caught.value.path == path


@pytest.mark.parametrize("name", [1, None, True, 1.5, "\udfff"], ids=repr)
@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda v: chat(logit_bias=v), "logit_bias"),
        (lambda v: chat(new=[{"a": v}]), "new[0].a"),
        (lambda v: chat(said([v])), "messages[0].content[0]"),
        (lambda v: chat(stop={"a": v}), "stop.a"),
    ],
    ids=["logit_bias", "new", "part", "stop"],
)
def test_an_object_key_that_is_no_text_is_named_by_its_place(
    wrap: Any, path: str, name: Any
) -> None:
    with pytest.raises(InvalidRequestError, match="object key") as caught:
        key("chat", wrap({name: 1}))
    assert caught.value.path == path


@pytest.mark.parametrize("name", [1, None, "\udfff"])
def test_an_object_key_in_a_schema_is_named_too(name: Any) -> None:
    with pytest.raises(InvalidRequestError, match="object key") as caught:
        key("chat", chat(tools=[tool({"properties": {name: {}}})]))
    assert caught.value.path == "tools[0].function.parameters.properties"


def test_an_object_key_that_is_no_text_does_not_meet_its_text() -> None:
    assert key("chat", {"logit_bias": {"1": 5}})
    with pytest.raises(InvalidRequestError):
        key("chat", {"logit_bias": {1: 5}})


@pytest.mark.parametrize("field", ["new", "temperature", "messages", "tools", "response_format"])
def test_a_value_that_is_too_deep_or_endless_is_an_error_of_the_request(field: str) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    endless: dict[str, Any] = {}
    endless["a"] = endless
    for value in (deep, endless):
        with pytest.raises(InvalidRequestError, match="nested too deeply"):
            key("chat", {field: value})


def test_a_header_or_a_namespace_without_a_form_is_named_too() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ask("chat", chat(), api={"openai-beta": b"x"}).key()
    assert caught.value.path == "api.openai-beta"
    with pytest.raises(InvalidRequestError) as caught:
        ask("chat", chat(), salt="\ud800").key()
    assert caught.value.path == "salt"


def test_depth_in_a_field_that_does_not_count_hides_no_error() -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(InvalidRequestError):
        key("chat", chat(metadata=deep, temperature=float("nan")))


@pytest.mark.parametrize("images", [float("nan"), (float("inf"),)])
def test_images_without_a_form_are_an_error_too(images: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        key("ollama.generate", {"images": images, "temperature": 0.5})
    assert caught.value.path.startswith("images")


@pytest.mark.parametrize("value", [float("nan"), uuid.UUID(int=1)])
@pytest.mark.parametrize("name", ["tenant", "salt"])
def test_a_namespace_without_a_form_is_an_error(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError):
        ask("chat", chat(), **{name: value}).key()
