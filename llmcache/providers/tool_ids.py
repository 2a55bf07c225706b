"""Ids of tool calls, renamed where the API that a conversation goes to would refuse them.

Every API answers with ids of its own making and checks those that come back:
Anthropic wants letters, digits, `_` and `-`, and no id twice in a conversation;
Mistral nine letters or digits; OpenAI at most 40 characters in chat completions and
64 in responses. Servers that send no ids, or the same ones in every turn, exist too.

What can stay stays. Anything else is named after its digest and its place among
equal ids, so the same conversation always gets the same names, two calls never
share one, and turns that are appended later rename nothing that was sent before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..types import Message, Role

__all__ = [
    "ANTHROPIC_IDS",
    "MISTRAL_IDS",
    "OPENAI_IDS",
    "RESPONSES_IDS",
    "CallIds",
    "IdRule",
    "with_ids",
]

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
# The same words of the Responses API, with 64.
RESPONSES_IDS: Final = IdRule(re.compile(r"[^\x00-\x20\x7f]{1,64}"), "call_", 24)


@dataclass(slots=True)
class _Open:
    """A call that has no result yet: the id it came with, its name, and the id it goes with."""

    given: str
    name: str
    identifier: str


class CallIds:
    """Goes through a conversation from its start, and says which ids its calls and results get.

    A result follows its call. One without an id belongs to the first open call without one,
    of its name if there is such a call.
    """

    def __init__(self, rule: IdRule, *, by_turn: bool = False) -> None:
        """Allow what `rule` does. With `by_turn` an id may come again in a later turn."""
        self._rule = rule
        self._by_turn = by_turn
        self._taken: set[str] = set()
        self._used: set[str] = set()
        self._counts: dict[str, int] = {}
        self._open: list[_Open] = []
        self._answered: dict[str, str] = {}

    def reserve(self, identifiers: Iterable[str], *, fixed: bool = False) -> None:
        """Keep ids that are in the conversation from being made for another call.

        Those that are `fixed` no other call has, made or not.
        """
        known = list(identifiers)
        self._taken.update(one for one in known if fixed or self._rule.allows(one))
        if fixed and not self._by_turn:
            self._used.update(known)

    def turn(
        self, calls: Sequence[tuple[str, str]], *, fixed: bool = False, as_given: bool = False
    ) -> list[str]:
        """Return the ids of a turn's calls, given the id and name of each.

        Those of a turn that is `fixed` stay; `as_given` they do whatever their form, unless
        an earlier call has the same.
        """
        if self._by_turn:
            self._used.clear()
        self._open = []
        if fixed:
            self.note(calls)
            return [given for given, _ in calls]
        for given, name in calls:
            self._open.append(_Open(given, name, self._name(given, as_given=as_given)))
        return [one.identifier for one in self._open]

    def note(self, calls: Iterable[tuple[str, str]]) -> None:
        """Add calls that keep their ids to those that are open."""
        self._open += [_Open(given, name, given) for given, name in calls]

    def result(self, identifier: str, name: str | None) -> str | None:
        """Return the id of a result; `None` when it answers no call before it."""
        # Where there is no id, a call that has none either is meant before one that has.
        matching = [one for one in self._open if one.given == identifier]
        if not identifier:
            nameless = matching or self._open
            matching = [one for one in nameless if one.name == name] or nameless
        if not matching:
            # What it answered before, if it is told twice.
            return self._answered.get(identifier) if identifier else None
        found = matching[0]
        self._open.remove(found)
        self._answered[identifier] = found.identifier
        return found.identifier

    def stray(self, identifier: str) -> str:
        """Return an id that can be sent for a result that answers no call."""
        allowed = self._rule.allows(identifier)
        return identifier if allowed else self._rule.made(identifier, 0, ())

    def _name(self, identifier: str, *, as_given: bool) -> str:
        fits = bool(identifier) if as_given else self._rule.allows(identifier)
        if fits and identifier not in self._used:
            name = identifier
        else:
            number = self._counts.get(identifier, 0)
            self._counts[identifier] = number + 1
            name = self._rule.made(identifier, number, self._taken)
            self._taken.add(name)
        self._used.add(name)
        return name


def with_ids(
    messages: Sequence[Message], rule: IdRule, *, fixed: Iterable[int] = ()
) -> list[Message]:
    """Return the conversation with ids that `rule` allows, each of them of one call only.

    The turns at the indices `fixed` go in their API's own words: their ids stay, and no
    other call gets them.
    """
    own, ids = frozenset(fixed), CallIds(rule)
    for index, message in enumerate(messages):
        ids.reserve((call.id for call in message.tool_calls or ()), fixed=index in own)
    return [_renamed(message, ids, fixed=index in own) for index, message in enumerate(messages)]


def _renamed(message: Message, ids: CallIds, *, fixed: bool) -> Message:
    if message.role in _RESULTS:
        given = message.tool_call_id or ""
        found = ids.result(given, message.name)
        return replace(message, tool_call_id=ids.stray(given) if found is None else found)
    if not message.tool_calls:
        return message
    names = ids.turn([(call.id, call.name) for call in message.tool_calls], fixed=fixed)
    calls = (replace(call, id=name) for call, name in zip(message.tool_calls, names, strict=True))
    return message if fixed else replace(message, tool_calls=tuple(calls))
