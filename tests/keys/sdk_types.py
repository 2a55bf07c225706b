"""Sample values of the official SDKs' request types: each field, at every depth, in turn.

`samples` takes a type apart as a type checker would. The samples of one object
are its fullest form, the same with one field changed, for every field and every
sample of it, and the same with one field left out. Their number grows with the
sum of the fields, not with their product.
"""

from __future__ import annotations

import collections.abc
import os
import types
from typing import IO, Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import anthropic.types.beta.message_create_params as claude
import openai.types as sdk
import typing_extensions

__all__ = ["FIELDS", "ROOTS", "Sample", "samples"]

Sample = tuple[str, Any]
"""A path through the types that says what is special about the value, and the value."""

ROOTS: Final = {
    "chat": sdk.chat.completion_create_params.CompletionCreateParamsNonStreaming,
    "responses": sdk.responses.response_create_params.ResponseCreateParamsNonStreaming,
    "completions": sdk.completion_create_params.CompletionCreateParamsNonStreaming,
    "embedding": sdk.embedding_create_params.EmbeddingCreateParams,
    "messages": claude.MessageCreateParamsNonStreaming,
}
"""The request of each kind, as its SDK types it; of Claude's API with all that is in beta."""

_STREAMED: Final = {
    "chat": sdk.chat.completion_create_params.CompletionCreateParamsStreaming,
    "responses": sdk.responses.response_create_params.ResponseCreateParamsStreaming,
    "completions": sdk.completion_create_params.CompletionCreateParamsStreaming,
    "embedding": sdk.embedding_create_params.EmbeddingCreateParams,
    "messages": claude.MessageCreateParamsStreaming,
}

HEADERS: Final = frozenset({"betas", "user_profile_id", "workspace_id"})
"""What the SDK takes beside the fields of Claude's API and sends as a header."""
# What version 2023-06-01 of that API has, and the SDK of the newer one does not write any more.
_RETIRED: Final = {"messages": {"output_format", "temperature", "top_k", "top_p"}}

FIELDS: Final = {
    kind: sorted(
        ({*get_type_hints(root), *get_type_hints(_STREAMED[kind])} - HEADERS)
        | _RETIRED.get(kind, set())
    )
    for kind, root in ROOTS.items()
}
"""The fields of each request's body."""

_SCALARS: Final[dict[Any, tuple[Any, ...]]] = {
    str: ("alpha", "beta"),
    bool: (True, False),
    int: (3, 7),
    float: (0.25, 0.5),
    object: ({"z": 1, "a": None}, {"z": 2}, [1], "text"),
    Any: ({"z": 1, "a": None}, {"z": 2}, [1], "text"),
    type(None): (),
    # Files that the SDK reads and sends as text.
    IO[bytes]: (),
    os.PathLike: (),
    os.PathLike[str]: (),
}
_WRAPPERS: Final = (Annotated, typing_extensions.Required, typing_extensions.NotRequired)


def samples(tp: Any, inside: tuple[Any, ...] = ()) -> list[Sample]:
    """Return distinct values of `tp`; nothing for null, and for a type inside itself.

    Raises:
        TypeError: a form of type that this walk does not know yet.
    """
    if tp in _SCALARS:
        return [("", value) for value in _SCALARS[tp]]
    origin, arguments = get_origin(tp), get_args(tp)
    if origin in _WRAPPERS:
        return samples(arguments[0], inside)
    if origin is Literal:
        # A discriminator has one value; another one must still make another request.
        return [("", value) for value in (*arguments, "another")[:2]]
    if origin in (Union, types.UnionType):
        return _union([samples(argument, inside) for argument in arguments])
    if hasattr(tp, "__required_keys__"):
        return [] if tp in inside else _object(tp, (*inside, tp))
    return _container(tp, inside)


def _container(tp: Any, inside: tuple[Any, ...]) -> list[Sample]:
    origin, arguments = get_origin(tp), get_args(tp)
    if origin in (dict, collections.abc.Mapping):
        values = samples(arguments[1], inside)
        return [("{}" + path, {"k": v}) for path, v in values] + [("{key}", {"j": values[0][1]})]
    if origin in (list, collections.abc.Sequence, collections.abc.Iterable):
        return [("[]" + path, [value]) for path, value in samples(arguments[0], inside)]
    if hasattr(tp, "model_fields"):
        return []  # an answer's block, which is sent in the shape of its request type
    msg = f"teach tests/keys/sdk_types.py about {tp!r}"
    raise TypeError(msg)


def _union(alternatives: list[list[Sample]]) -> list[Sample]:
    found: list[Sample] = []
    for path, value in (sample for alternative in alternatives for sample in alternative):
        if not any(value == other and type(value) is type(other) for _, other in found):
            found.append((path, value))
    return found


def _object(tp: Any, inside: tuple[Any, ...]) -> list[Sample]:
    headers = HEADERS if len(inside) == 1 else frozenset[str]()
    hints = {name: hint for name, hint in get_type_hints(tp).items() if name not in headers}
    fields = {name: samples(hint, inside) for name, hint in hints.items()}
    fields = {name: values for name, values in fields.items() if values}
    full = {name: values[0][1] for name, values in fields.items()}
    found: list[Sample] = [(f"<{tp.__name__}>", full)]
    for name, values in fields.items():
        path = f"<{tp.__name__}>.{name}"
        found += [(path + inner, {**full, name: value}) for inner, value in values[1:]]
        found.append((f"{path}=absent", {k: v for k, v in full.items() if k != name}))
    return found
