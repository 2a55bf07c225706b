"""What a version of the Messages API refuses, said before anything is sent.

Version 2026-10-21 answers with status 400 where the one before did not: to sampling
parameters, whatever their value, to a document in an assistant's turn, and to citations
on a text of the user's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..errors import InvalidRequestError
from ..types import Message, MessageInput, normalize_messages
from ..types._json import Json
from .anthropic_answer import KIND
from .anthropic_parts import wire_block

__all__ = ["check_sampling", "check_turns"]

_SAMPLING: Final = ("temperature", "top_p", "top_k")
# The first version that refuses these things.
_STRICT: Final = "2026-10-21"


def check_sampling(body: Mapping[str, Json], version: Json) -> None:
    """Do nothing when the API's `version` takes the sampling parameters in `body`.

    Raises:
        InvalidRequestError: naming the first one that it refuses, whatever its value.
    """
    if str(version) < _STRICT:
        return
    given = [name for name in _SAMPLING if body.get(name) is not None]
    if given:
        names = ", ".join(given)
        reason = f"version {version} of the Messages API has no sampling parameters ({names})"
        raise InvalidRequestError(given[0], reason)


def check_turns(body: Mapping[str, Json], version: Json, messages: MessageInput) -> None:
    """Do nothing when the API's `version` takes the turns in `body`, made from `messages`.

    Raises:
        InvalidRequestError: naming the place of a block that it refuses: in `messages`, or
            in the body where that comes from elsewhere.
    """
    if str(version) < _STRICT:
        return
    sent = next(_refused(body.get("messages")), None)
    if sent is not None:
        path, reason = next(_refused_parts(messages), sent)
        raise InvalidRequestError(path, f"version {version} of the Messages API takes {reason}")


def _refused(turns: Json) -> Iterator[tuple[str, str]]:
    """Yield the place of each block that is refused, and why."""
    for i, turn in enumerate(turns if isinstance(turns, list | tuple) else ()):
        if isinstance(turn, Mapping):
            yield from _refused_blocks(turn, f"messages[{i}].content")


def _refused_blocks(turn: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    content = turn.get("content")
    for i, block in enumerate(content if isinstance(content, list | tuple) else ()):
        reason = _flaw(turn.get("role"), block)
        if reason is not None:
            yield f"{path}[{i}]", reason


def _flaw(role: Json, block: Json) -> str | None:
    """Return what is wrong with a block that stands directly in a turn of `role`."""
    if not isinstance(block, Mapping):
        return None
    if role == "assistant" and block.get("type") == "document":
        return "no document in an assistant's turn; give it in the user's"
    if role == "user" and block.get("type") == "text" and block.get("citations"):
        return "no citations on a user's text; leave them out"
    return None


def _refused_parts(messages: MessageInput) -> Iterator[tuple[str, str]]:
    """Yield what is refused by its place in the caller's messages: turns are merged on the wire."""
    for i, message in enumerate(normalize_messages(messages)):
        path = f"messages[{i}]"
        if message.native is not None and message.native.api == KIND:
            own = message.native.for_api(KIND)
            if isinstance(own, Mapping):
                yield from _refused_blocks(own, f"{path}.native.content")
        else:
            yield from _refused_blocks(_compiled(message, path), f"{path}.content")


def _compiled(message: Message, path: str) -> Mapping[str, Any]:
    content = message.content
    parts = () if content is None or isinstance(content, str) else content
    return {"role": message.role.value, "content": [wire_block(part, path) for part in parts]}
