"""A text that arrives in pieces."""

from __future__ import annotations

from typing import Final

__all__ = ["GrowingText"]

# Pieces that are kept before they are put together: a word of its own takes ten times its letters.
_MOST_PIECES: Final = 1_024


class GrowingText:
    """A text that grows: kept in few pieces, however small those are in which it comes.

    A piece costs its own length; the memory is that of the text, and a little.
    """

    __slots__ = ("_pieces", "_whole")

    def __init__(self, start: str = "") -> None:
        """`start` is what there is already."""
        self._whole: list[str] = [start] if start else []
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        """Append `piece`."""
        self._pieces.append(piece)
        if len(self._pieces) == _MOST_PIECES:
            self._whole.append("".join(self._pieces))
            self._pieces = []

    def __str__(self) -> str:
        return "".join((*self._whole, *self._pieces))
