"""Ids of tool calls, renamed where the API that a conversation goes to would refuse them.

Every API answers with ids of its own making and checks those that come back:
Anthropic wants letters, digits, `_` and `-`, and no id twice in a conversation;
Mistral nine letters or digits; OpenAI at most 40 characters. Servers that send no
ids, or the same ones in every turn, exist too.

What can stay stays. Anything else is named after its digest and its place among
equal ids, so the same conversation always gets the same names, two calls never
share one, and turns that are appended later rename nothing that was sent before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ..types import Message, Role, ToolCall

__all__ = ["ANTHROPIC_IDS", "MISTRAL_IDS", "OPENAI_IDS", "IdRule", "with_ids"]

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RESULTS: Final = frozenset({Role.TOOL, Role.FUNCTION})


@dataclass(frozen=True, slots=True)
class IdRule:
    """Which ids an API takes, and how those are made that it gets instead of others.

    A made id is `prefix` and `digits` characters of a digest, in base 62.
    """

    allowed: re.Pattern[str]
    prefix: str
    digits: int

    def allows(self, identifier: str) -> bool:
        """Return whether the API takes `identifier` as it is."""
        return self.allowed.fullmatch(identifier) is not None

    def made(self, identifier: str, number: int, taken: Iterable[str]) -> str:
        """Return an id for the call number `number` of those that came as `identifier`.

        None of those `taken`; the same for the same arguments in every process.
        """
        for attempt in range(1_000_000):
            seed = f"{identifier}\n{number}\n{attempt}".encode("utf-8", "surrogatepass")
            value = int.from_bytes(hashlib.sha256(seed).digest())
            text = ""
            for _ in range(self.digits):
                value, digit = divmod(value, len(_DIGITS))
                text += _DIGITS[digit]
            if self.prefix + text not in taken:
                return self.prefix + text
        msg = "no tool-call id is left"
        raise ValueError(msg)


# https://docs.claude.com/en/api/messages: `^[a-zA-Z0-9_-]+$`.
ANTHROPIC_IDS: Final = IdRule(re.compile(r"[a-zA-Z0-9_-]{1,64}"), "toolu_", 24)
# "Tool call id … must be a-z, A-Z, 0-9, with a length of 9."
MISTRAL_IDS: Final = IdRule(re.compile(r"[a-zA-Z0-9]{9}"), "", 9)
# "Expected a string with maximum length 40."
OPENAI_IDS: Final = IdRule(re.compile(r"[^\x00-\x20\x7f]{1,40}"), "call_", 24)


def with_ids(
    messages: Sequence[Message], rule: IdRule, *, fixed: Iterable[int] = ()
) -> list[Message]:
    """Return the conversation with ids that `rule` allows, each of them of one call only.

    A result follows its call. One without an id belongs to the first open call without one,
    of its name if there is such a call. The turns at the indices `fixed` go in
    their API's own words: their ids stay, and no other call gets them.
    """
    walk = _Walk(rule, frozenset(fixed))
    walk.reserve(messages)
    return [walk.renamed(message, index) for index, message in enumerate(messages)]


@dataclass(slots=True)
class _Open:
    """A call that has no result yet."""

    call: ToolCall
    identifier: str


@dataclass(slots=True)
class _Walk:
    rule: IdRule
    fixed: frozenset[int]
    taken: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    open: list[_Open] = field(default_factory=list)
    answered: dict[str, str] = field(default_factory=dict)

    def reserve(self, messages: Sequence[Message]) -> None:
        """Keep every id that will stay from being made for another call."""
        for index, message in enumerate(messages):
            calls = list(message.tool_calls or ())
            self.taken.update(call.id for call in calls if self.rule.allows(call.id))
            if index in self.fixed:
                self.used.update(call.id for call in calls)

    def renamed(self, message: Message, index: int) -> Message:
        if message.role in _RESULTS:
            return replace(message, tool_call_id=self._result(message))
        if not message.tool_calls:
            return message
        if index in self.fixed:
            self.open = [_Open(call, call.id) for call in message.tool_calls]
            return message
        calls = tuple(self._calls(message.tool_calls))
        self.open = [
            _Open(call, new.id) for call, new in zip(message.tool_calls, calls, strict=True)
        ]
        return replace(message, tool_calls=calls)

    def _calls(self, calls: Iterable[ToolCall]) -> Iterator[ToolCall]:
        for call in calls:
            yield replace(call, id=self._name(call.id))

    def _name(self, identifier: str) -> str:
        if self.rule.allows(identifier) and identifier not in self.used:
            name = identifier
        else:
            number = self.counts.get(identifier, 0)
            self.counts[identifier] = number + 1
            name = self.rule.made(identifier, number, self.taken)
            self.taken.add(name)
        self.used.add(name)
        return name

    def _result(self, message: Message) -> str:
        identifier = message.tool_call_id or ""
        # Where there is no id, a call that has none either is meant before one that has.
        matching = [one for one in self.open if one.call.id == identifier]
        if not identifier:
            nameless = matching or self.open
            matching = [one for one in nameless if one.call.name == message.name] or nameless
        if not matching:
            return self._stray(identifier)
        found = matching[0]
        self.open.remove(found)
        self.answered[identifier] = found.identifier
        return found.identifier

    def _stray(self, identifier: str) -> str:
        """Return the id of a result that answers no open call: what it answered before, or its own."""
        known: Mapping[str, str] = self.answered
        if identifier and identifier in known:
            return known[identifier]
        return identifier if self.rule.allows(identifier) else self.rule.made(identifier, 0, ())
