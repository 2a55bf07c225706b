"""Inline media count by their bytes and their type, whatever the spelling; URLs as text."""

from __future__ import annotations

import base64
import hashlib
import socket
from typing import Any, Final, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keying import chat, image, items, key, said, same, text

from llmcache.keys.media import base64_digest, media_url

_PIXEL: Final = bytes(range(250, 256)) + b"\xfb\xef\xbe" * 3  # its base64 has + and /
_CODED: Final = base64.b64encode(_PIXEL).decode()
_ODD: Final = base64.b64encode(b"odd!").decode()  # ends in padding
_HEX: Final = hashlib.sha256(_PIXEL).hexdigest()
_PROPERTY: Final = settings(deadline=None, max_examples=200)


def _body(url: str) -> dict[str, Any]:
    return chat(said([text("what is this?"), image(url)]))


SPELLINGS: Final[list[tuple[str, str]]] = [
    (f"data:image/png;base64,{_CODED}", f"DATA:image/png;base64,{_CODED}"),
    (f"data:image/png;base64,{_CODED}", f"data:IMAGE/PNG;BASE64,{_CODED}"),
    (f"data:image/png;base64,{_CODED}", f"data:image/png;base64,{_CODED[:8]}\r\n {_CODED[8:]}\t"),
    (
        f"data:image/png;base64,{_CODED}",
        f"data:image/png;base64,{_CODED.translate(str.maketrans('+/', '-_'))}",
    ),
    (f"data:text/plain;base64,{_ODD}", f"data:text/plain;base64,{_ODD.rstrip('=')}"),
    (f"data:text/plain;base64,{_ODD}", "data:text/plain,odd!"),
    (f"data:text/plain;base64,{_ODD}", "data:text/plain,%6Fdd%21"),
    ("data:text/plain;base64,", "data:text/plain,"),
]


@pytest.mark.parametrize(("a", "b"), SPELLINGS)
def test_spellings_of_one_medium_are_one_medium(a: str, b: str) -> None:
    assert same("chat", _body(a), _body(b))
    one, other = ({"type": "input_image", "image_url": url} for url in (a, b))
    assert same("responses", items(said([one])), items(said([other])))
    file, its_twin = ({"type": "file", "file": {"file_data": url}} for url in (a, b))
    assert same("chat", chat(said([file])), chat(said([its_twin])))


_URLS: Final = [
    f"data:image/png;base64,{_CODED}",
    f"data:image/jpeg;base64,{_CODED}",
    f"data:image/png;charset=utf-8;base64,{_CODED}",
    f"data:;base64,{_CODED}",
    f"data:base64,{_CODED}",
    f"data:image/png,{_CODED}",
    f"data:image/png;base64,{_ODD}",
    f"data:image/png;base64,={_CODED}",
    f"data:image/png;base64,{_CODED[:-1]}",
    f"data:image/png;base64,{_CODED[:4]}={_CODED[4:]}",
    f"data:image/png;base64,{_CODED}*",
    f"data:image/png;base64,é{_CODED}",
    f"data:image/png;base64{_CODED}",
    "data:image/png;base64,",
    "data:image/png;base64,A",
    "data:",
    "data:,",
    "data",
    "",
    # What the rewriting itself writes, and what it might be confused with:
    f"data:image/png;sha256,{_HEX}",
    f"data:image/png;sha256;base64,{_HEX}",
    f"data:image/png;sha256;sha256,{hashlib.sha256(_HEX.encode()).hexdigest()}",
    f"DATA:image/png;sha256,{_HEX}",
    f"sha256:{_HEX}",
    f"literal:data:image/png;base64,{_CODED}",
    _HEX,
    _CODED,
    # URLs are text, never fetched, never normalized:
    "https://x.example/a.png",
    "https://x.example/a.png?",
    "https://x.example/a.png?X-Amz-Signature=1",
    "https://X.example/a.png",
    "http://x.example/a.png",
    "https://x.example/./a.png",
    " https://x.example/a.png",
]


def test_other_media_and_texts_that_pretend_to_be_some_never_collide() -> None:
    keys: dict[str, str] = {}
    for url in _URLS:
        assert keys.setdefault(key("chat", _body(url)), url) == url or _is_twin(url), url
    # The literal digest is digested again, in whichever case it says `data:`.
    assert len(keys) == len(_URLS) - 1


def _is_twin(url: str) -> bool:
    return url.startswith("DATA:image/png;sha256,")


_MEDIA: Final = st.tuples(
    st.sampled_from(["", "image/png", "image/png;sha256", "text/plain", "a;base64"]),
    st.sampled_from([b"", _PIXEL, _HEX.encode(), b"%41", b"A"]) | st.binary(max_size=40),
)


@_PROPERTY
@given(a=_MEDIA, b=_MEDIA)
def test_media_are_equal_exactly_when_their_type_and_bytes_are(
    a: tuple[str, bytes], b: tuple[str, bytes]
) -> None:
    one, other = (f"data:{kind};base64,{base64.b64encode(data).decode()}" for kind, data in (a, b))
    assert (media_url(one) == media_url(other)) == (a == b)
    assert media_url(media_url(one)) != media_url(one), "a digest is no medium's own text"


@_PROPERTY
@given(a=st.text(max_size=12), b=st.text(max_size=12), data=st.binary(max_size=12))
def test_a_text_is_never_a_digest_of_bytes(a: str, b: str, data: bytes) -> None:
    coded = base64.b64encode(data).decode()
    for claim in (a, f"sha256:{a}", f"literal:{a}", base64_digest(coded), base64_digest(a)):
        if base64_digest(claim) == base64_digest(coded):
            assert base64.b64decode(claim + "=" * (-len(claim) % 4), altchars=b"-_") == data
    if a != b and base64_digest(a).startswith("literal:"):
        assert base64_digest(a) != base64_digest(b)


_HOLDERS: Final[dict[str, tuple[str, Any]]] = {
    "chat, audio": (
        "chat",
        lambda d: chat(
            said([{"type": "input_audio", "input_audio": {"data": d, "format": "wav"}}])
        ),
    ),
    "messages, image": (
        "messages",
        lambda d: {"messages": [said([{"type": "image", "source": _source(d)}])]},
    ),
    "messages, image in a tool result": (
        "messages",
        lambda d: {
            "messages": [said([{"type": "tool_result", "content": [{"source": _source(d)}]}])]
        },
    ),
    "ollama.chat": ("ollama.chat", lambda d: {"messages": [said("q", images=[d])]}),
    "ollama.generate": ("ollama.generate", lambda d: {"images": [d]}),
}


def _source(data: str, **fields: str) -> dict[str, str]:
    return {"type": "base64", "media_type": "image/png", "data": data, **fields}


@pytest.mark.parametrize(("kind", "holding"), _HOLDERS.values(), ids=_HOLDERS)
def test_bare_base64_counts_by_its_bytes_too(kind: str, holding: Any) -> None:
    spelled = [_CODED, f" {_CODED}\n", _CODED.translate(str.maketrans("+/", "-_"))]
    assert len({key(kind, holding(data)) for data in spelled}) == 1
    others = [_CODED, _ODD, "", "A", f"{_CODED}*", f"sha256:{_HEX}", f"literal:{_CODED}", _HEX]
    assert len({key(kind, holding(data)) for data in others}) == len(others)


def test_the_type_of_bare_base64_counts() -> None:
    png, jpeg = _source(_CODED), _source(_CODED, media_type="image/jpeg")
    assert not same(
        "messages",
        {"messages": [said([{"type": "image", "source": png}])]},
        {"messages": [said([{"type": "image", "source": jpeg}])]},
    )


def test_the_text_of_a_text_source_is_no_base64() -> None:
    # Anthropic's plain-text documents have their text in `data`.
    def body(data: str) -> dict[str, Any]:
        source = {"type": "text", "media_type": "text/plain", "data": data}
        return {"messages": [said([{"type": "document", "source": source}])]}

    texts = ["Hello", "Hel lo", "Hello=", "Hell", "Hello\n", f"sha256:{_HEX}"]
    assert len({key("messages", body(data)) for data in texts}) == len(texts)


def test_what_is_said_in_a_text_is_no_medium() -> None:
    urls = [a for pair in SPELLINGS for a in pair]
    assert len({key("chat", chat(said([text(url)]))) for url in urls}) == len(set(urls))
    assert len({key("chat", chat(said(url))) for url in urls}) == len(set(urls))


def test_a_url_is_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError(f"a key asked the network: {args}")

    for name in ("socket", "getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, reached)
    every = ["signed_urls", "text_parts", "joined_text_parts"]
    for url in ("https://x.example/a.png", "http://127.0.0.1:1/a.png", "file:///etc/passwd"):
        assert key("chat", _body(url), merge=every) != key("chat", _body(url + "x"), merge=every)


def test_the_file_s_name_in_a_data_url_counts() -> None:
    a, b = (f"data:application/pdf;name={name};base64,{_CODED}" for name in ("A.pdf", "a.pdf"))
    assert not same("chat", _body(a), _body(b))


def test_images_in_a_tuple_are_those_in_a_list() -> None:
    assert same("ollama.generate", {"images": (_CODED,)}, {"images": [f"{_CODED}\n"]})
