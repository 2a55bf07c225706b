"""Values that the pinned requests are made of: texts, numbers, messages, schemas, formats."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["FORMATS", "MESSAGES", "NUMBERS", "SCHEMAS", "STRINGS"]

STRINGS: Final = {
    "empty": "",
    "ascii": "Explain WAL in one paragraph.",
    "trailing-space": "Explain WAL in one paragraph. ",
    "upper": "EXPLAIN WAL IN ONE PARAGRAPH.",
    "newlines": "a\nb\n\nc",
    "crlf": "a\r\nb",
    "tab": "\ta",
    "quotes": '"\\/\b\f',
    "controls": "\x00\x01\x1f\x7f",
    "nfc": "é",
    "nfd": "e\u0301",
    "german": "Größe, Straße",
    "greek": "Ὀδύσσεια",
    "chinese": "你好，世界",
    "arabic": "مرحبا بالعالم",
    "hindi": "नमस्ते",
    "korean": "안녕하세요",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈",
    "astral": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "separators": "a\u2028b\u2029c\u0085d",
    "spaces": "\u00a0\u2003\u200b\ufeff",
    "bidi": "\u202eabc\u202c",
    "noncharacter": "\uffff\ufffe\U0010ffff",
    "json": '{"a": [1, 2.0, null]}',
    "data-url": "data:image/png;base64,QQ==",
    "html": "<b>&amp;</b>",
    "long": "All work and no play makes Jack a dull boy. " * 20,
}
NUMBERS: Final[dict[str, float]] = {
    "zero": 0,
    "minus-zero": -0.0,
    "one": 1,
    "one-point-zero": 1.0,
    "tenth": 0.1,
    "third": 1 / 3,
    "milli": 0.001,
    "below-milli": 0.000999,
    "micro": 1e-6,
    "tenth-micro": 1e-7,
    "smallest": 5e-324,
    "largest": 1.7976931348623157e308,
    "e16": 1e16,
    "e21": 1e21,
    "e22": 1e22,
    "2-53": 2**53,
    "2-53-and-1": 2**53 + 1,
    "int64": 2**63 - 1,
    "uint64": 2**64 - 1,
    "beyond": 2**64,
    "far-beyond": -(10**40),
}
MESSAGES: Final[dict[str, list[Any]]] = {
    "none": [],
    "system": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    "developer": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    "turns": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye"},
    ],
    "prefill": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}],
    "name": [{"role": "user", "name": "bob", "content": "Hi"}],
    "nulls": [{"role": "user", "name": None, "content": "Hi", "refusal": None}],
    "refusal": [{"role": "assistant", "content": None, "refusal": "No."}],
    "audio": [{"role": "assistant", "audio": {"id": "audio_1"}}],
    "function": [{"role": "function", "name": "f", "content": "1"}],
    "legacy-call": [{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}],
    "custom-call": [
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}],
        }
    ],
    "reasoning": [{"role": "assistant", "content": "a", "reasoning_content": "because"}],
    "unknown": [{"role": "user", "content": "Hi", "weight": 0}],
    "odd-role": [{"role": "narrator", "content": "Once upon a time"}],
}
_CITY: Final = {"type": "string", "description": "Whose weather"}
_UNIT: Final = {"type": "string", "enum": ["c", "f"]}
SCHEMAS: Final[dict[str, Any]] = {
    "empty": {},
    "object": {"type": "object", "properties": {}},
    "two": {"type": "object", "properties": {"city": _CITY, "unit": _UNIT}, "required": ["city"]},
    "two-turned": {
        "type": "object",
        "properties": {"unit": _UNIT, "city": _CITY},
        "required": ["city"],
    },
    "keywords-turned": {
        "required": ["city"],
        "properties": {"city": _CITY, "unit": _UNIT},
        "type": "object",
    },
    "required-turned": {"type": "object", "required": ["b", "a"], "properties": {"a": {}, "b": {}}},
    "nested": {"$defs": {"n": {"properties": {"z": {"$ref": "#/$defs/n"}, "a": {}}}}, "$ref": "#/$defs/n"},
    "nulls": {"type": "object", "properties": {"a": {"default": None, "enum": [None, 1.0, 1e-7]}}},
    "marks": {"type": "object", "properties": {"cache_control": {}, "b": {"cache_control": None}}},
    "unicode": {"type": "object", "properties": {"größe": {"description": "e\u0301"}}},
}  # fmt: skip
FORMATS: Final[dict[str, Any]] = {
    "text": {"type": "text"},
    "json-object": {"type": "json_object"},
    **{
        f"schema-{name}": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        for name, schema in SCHEMAS.items()
    },
    "strict": {
        "type": "json_schema",
        "json_schema": {"name": "n", "strict": True, "schema": SCHEMAS["two"]},
    },
    "flat": {"type": "json_schema", "name": "n", "schema": SCHEMAS["two"]},
}
