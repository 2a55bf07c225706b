"""JSON values for property tests, and a second opinion on which of them are equal."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

from hypothesis import strategies as st

__all__ = ["EDGE_NUMBERS", "json_values", "numbers", "typed"]

EDGE_NUMBERS: Final[list[int | float]] = [
    *(0, -0.0, 1, 1.0, 0.1, 1 / 3, -2.5, 1.5e15),
    *(1e-7, 9.999999999999999e-8, 1e-5, 1e-4, 9.99e-4, 1e-3, 1.0000000000000002e-3, 5e-324),
    *(1e15, 1e16, 1e17, 1e21, 1e22, 1e23, 1.7976931348623157e308, -1e21, -1e-7),
    *(2**53, 2**53 + 1, 2.0**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1),
    *(10**30, -(10**30)),
]
"""Where encoders are known to differ: exponents, the ends of 64 bits, the ends of a float."""

_TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
numbers: Final = (
    st.sampled_from(EDGE_NUMBERS) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
_SCALARS: Final = st.none() | st.booleans() | numbers | _TEXT
# Few names and few values: equal ones must come up, or equality is never put to the test.
_SMALL: Final = st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, "", "1", "a", "null"])
json_values: Final[st.SearchStrategy[Any]] = st.recursive(
    _SCALARS | _SMALL,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_TEXT, inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)


def typed(value: Any) -> Any:
    """Return a form of `value` that equals another's exactly when both are one JSON value.

    Numbers by their exact value; `true` is no number; objects without order.
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, int | float):
        return ("number", Fraction(value))
    if isinstance(value, dict):
        return ("object", frozenset((name, typed(item)) for name, item in value.items()))
    return ("array", tuple(typed(item) for item in value))
