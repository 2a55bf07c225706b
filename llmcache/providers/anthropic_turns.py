"""A conversation as the Messages API wants it: a system prompt, and turns of blocks.

A turn that this server answered itself goes back in its own words (`Message.native`),
signatures and all; any other is compiled from its neutral fields. Written from the
API's rules: https://docs.claude.com/en/api/messages,
https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final

import orjson

from ..errors import InvalidRequestError
from ..types import (
    ContentPart,
    Message,
    MessageInput,
    Native,
    Role,
    TextPart,
    ToolCall,
    normalize_messages,
)
from ..types._json import Json, thaw
from .anthropic_answer import KIND
from .anthropic_parts import wire_block
from .tool_ids import ANTHROPIC_IDS, with_ids
from .tools import tool_calls
from .turns import neutral

__all__ = ["wire_conversation"]

_SYSTEM: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})
_RESULTS: Final = frozenset({Role.TOOL, Role.FUNCTION})
_ROLES: Final = {Role.ASSISTANT: "assistant", Role.SYSTEM: "system", Role.DEVELOPER: "system"}

Turn = dict[str, Any]


def wire_conversation(
    messages: MessageInput,
    origin: str | None = None,
    *,
    later_system: Callable[[], bool] = lambda: True,
) -> tuple[list[Json], list[Json]]:
    """Return the system prompt, a list of texts and blocks, and the turns.

    `origin` is the server that is asked; with `None` every turn of this API is its own.
    `later_system`, asked where it matters, says whether the model takes system messages
    among the turns.

    System messages at the start are the system prompt. A later text stands after the
    user's turn beside it, which is where the API takes one; without such a turn, or for a
    model that takes none, it belongs to the system prompt. Turns of one role that follow
    each other become one, as the API would make them, so that the results of parallel
    calls stand together.

    Raises:
        InvalidRequestError: naming the place, as in `messages[3].content[0].type`.
    """
    if type(messages) is str:
        return [], [{"role": "user", "content": messages}]
    if type(messages) is list and _is_plain(messages):
        return [], list(messages)
    conversation = [
        _with_calls(message, f"messages[{i}]", origin)
        for i, message in enumerate(normalize_messages(messages))
    ]
    if not conversation:
        raise InvalidRequestError("messages", "must not be empty")
    start = 0
    while start < len(conversation) and _is_prompt(conversation[start]):
        start += 1
    system = [piece for i in range(start) for piece in _prompt(conversation[i], i)]
    native = {i for i, message in enumerate(conversation) if _is_own(message)}
    if any(message.tool_calls or message.role in _RESULTS for message in conversation):
        conversation = with_ids(conversation, ANTHROPIC_IDS, fixed=native)
    turns = [_turn(conversation[i], i) for i in range(start, len(conversation))]
    turns, homeless = _settled(turns, later_system)
    system += homeless
    whole = _merged(turns)
    if whole and whole[-1]["role"] == "assistant" and (len(conversation) - 1) not in native:
        _strip_end(whole)
    if not whole:
        raise InvalidRequestError("messages", "needs a turn beside the system prompt")
    # A user's turn that is empty is for the API to refuse.
    return system, [turn if turn["content"] else {**turn, "content": ""} for turn in whole]


def _is_plain(messages: Sequence[Any]) -> bool:
    """Whether the turns are as the API wants them already: texts of two who take turns.

    Most are, and every call that may be a hit passes here.
    """
    before = None
    for turn in messages:
        if type(turn) is not dict or len(turn) != 2:  # noqa: PLR2004 - role and content
            return False
        role, content = turn.get("role"), turn.get("content")
        speaks = role in ("user", "assistant") and role != before
        if not speaks or type(content) is not str or not content:
            return False
        before = role
    return before == "user"


def _is_own(message: Message) -> bool:
    return message.native is not None and message.native.api == KIND


def _with_calls(message: Message, path: str, origin: str | None) -> Message:
    """Return an assistant's turn with its calls as such, a legacy `function_call` included.

    What another server said comes in words that all know.
    """
    if message.native is not None and not message.native.is_from(KIND, origin):
        return neutral(message, path)
    if message.role is not Role.ASSISTANT or message.tool_calls:
        return message
    calls = tool_calls(message.extra) if message.extra else None
    return message if calls is None else replace(message, tool_calls=calls)


# --- the system prompt ------------------------------------------------------------------------


def _is_prompt(message: Message) -> bool:
    """Whether a message can be a part of the system prompt, which has nothing but text."""
    if message.role not in _SYSTEM:
        return False
    return isinstance(message.content, str) or all(
        isinstance(part, TextPart) or part.to_dict()["type"] == "text"
        for part in message.content or ()
    )


def _prompt(message: Message, index: int) -> Iterator[Json]:
    if isinstance(message.content, str):
        if message.content:
            yield message.content
        return
    yield from _blocks(message, f"messages[{index}].content")


# --- turns --------------------------------------------------------------------------------------


def _turn(message: Message, index: int) -> Turn:
    if message.native is not None and message.native.api == KIND:
        return _native_turn(message.native.for_api(KIND), index)
    path = f"messages[{index}].content"
    if message.role in _RESULTS:
        return {"role": "user", "content": [_result(message, path)]}
    if message.role is Role.ASSISTANT:
        return {"role": "assistant", "content": _assistant(message, path)}
    content = message.content if isinstance(message.content, str) else _blocks(message, path)
    beside = thaw(message.extra)
    return {**beside, "role": _ROLES.get(message.role, "user"), "content": content}


def _native_turn(own: Json, index: int) -> Turn:
    if not isinstance(own, dict) or not isinstance(own.get("role"), str) or "content" not in own:
        reason = f"must be {Native.__name__}({KIND!r}, {{'role': …, 'content': …}})"
        raise InvalidRequestError(f"messages[{index}].native", reason)
    return own


def _assistant(message: Message, path: str) -> str | list[Json]:
    calls = message.tool_calls or ()
    if isinstance(message.content, str) and not calls:
        return message.content
    blocks = _blocks(message, path)
    if not blocks and isinstance(message.extra.get("refusal"), str):
        blocks = [_text(message.extra["refusal"])]
    return [*blocks, *(_call(call) for call in calls)]


def _call(call: ToolCall) -> Json:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call)}


def _input(call: ToolCall) -> Json:
    """Return a call's arguments as the object that the API wants, whatever the model wrote."""
    if call.type == "custom":
        return {"input": call.arguments}
    try:
        orjson.loads(call.arguments or "{}")  # is strict: NaN could not be sent
        return call.parse_arguments()
    except ValueError:
        return {"INVALID_JSON": call.arguments}


def _result(message: Message, path: str) -> Json:
    block: dict[str, Json] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
    content = message.content if isinstance(message.content, str) else _blocks(message, path)
    if content:
        block["content"] = content
    if isinstance(message.extra.get("is_error"), bool):
        block["is_error"] = message.extra["is_error"]
    return block


def _blocks(message: Message, path: str) -> list[Json]:
    """Return the content as blocks, without texts that are empty: the API refuses those."""
    if isinstance(message.content, str):
        return [_text(message.content)] if message.content else []
    parts: Sequence[ContentPart] = message.content or ()
    blocks = [wire_block(part, f"{path}[{i}]") for i, part in enumerate(parts)]
    return [block for block in blocks if not _is_empty(block)]


def _text(text: str) -> dict[str, Json]:
    return {"type": "text", "text": text}


def _is_empty(block: Json) -> bool:
    return isinstance(block, dict) and block.get("type") == "text" and block.get("text") == ""


# --- the whole ----------------------------------------------------------------------------------


def _settled(
    turns: Sequence[Turn], later_system: Callable[[], bool]
) -> tuple[list[Turn], list[Json]]:
    """Return the turns with system messages where the API takes them, and what has no place.

    That is after a user's turn, at the end or before an assistant's:
    https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages.
    Messages of other blocks than text (`tool_addition`) stay: they have rules of their own.
    """
    # An assistant's turn without content says nothing, and does not keep others apart.
    said = [turn for turn in turns if turn["content"] or turn["role"] != "assistant"]
    if not any(_is_system_text(turn) for turn in said):
        return said, []
    takes_them = later_system()
    settled: list[Turn] = []
    homeless: list[Json] = []
    for _, group in groupby(said, key=lambda turn: turn["role"] == "assistant"):
        members = list(group)
        texts = [turn for turn in members if _is_system_text(turn)]
        rest = [turn for turn in members if not _is_system_text(turn)]
        if takes_them and any(turn["role"] == "user" for turn in rest):
            settled += [*rest, *texts]
        else:
            settled += rest
            for turn in texts:
                told = turn["content"]
                homeless += [told] if isinstance(told, str) else told
    return settled, [piece for piece in homeless if piece]


def _is_system_text(turn: Turn) -> bool:
    content = turn["content"]
    if turn["role"] != "system" or turn.keys() != {"role", "content"}:
        return False
    return isinstance(content, str) or all(block.get("type") == "text" for block in content)


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    merged = []
    for _, group in groupby(turns, key=lambda turn: turn["role"]):
        members = list(group)
        if len(members) == 1:
            merged.append(members[0])
            continue
        blocks = [block for turn in members for block in _as_blocks(turn["content"])]
        # Results come first in their turn, right after the calls.
        blocks.sort(key=lambda block: not _is_result(block))
        joined = {name: value for turn in members for name, value in turn.items()}
        merged.append({**joined, "content": blocks})
    return merged


def _as_blocks(content: Json) -> list[Json]:
    if isinstance(content, str):
        return [_text(content)] if content else []
    return list(content)


def _is_result(block: Json) -> bool:
    return isinstance(block, dict) and block.get("type") == "tool_result"


def _strip_end(turns: list[Turn]) -> None:
    """Take white space off the end of an answer that the model is to continue: the API refuses it."""
    last = turns[-1]
    content = last["content"]
    if isinstance(content, str):
        last = {**last, "content": content.rstrip()}
    elif content and isinstance(content[-1], dict) and content[-1].get("type") == "text":
        text = content[-1].get("text")
        stripped = text.rstrip() if isinstance(text, str) else text
        tail = [{**content[-1], "text": stripped}] if stripped else []
        last = {**last, "content": [*content[:-1], *tail]}
    turns[-1:] = [last] if last["content"] else []
