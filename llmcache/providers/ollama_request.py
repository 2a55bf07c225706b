"""The wire bodies of Ollama's `/api/chat`, `/api/generate` and `/api/embed`.

https://docs.ollama.com/api, ollama-python `_types.py`. Sampling parameters stand in
`options` there; the names that other APIs have for them are taken as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..errors import InvalidRequestError
from ..options import (
    CALL_FIELDS,
    ControlOptions,
    TransportOptions,
    checked_object,
)
from ..types import MessageInput
from ..types._json import Json
from .ollama_messages import ollama_messages, wire_images
from .openai_embeddings import embedding_inputs
from .tools import wire_tool

__all__ = [
    "CHAT_FIELDS",
    "EMBED_FIELDS",
    "GENERATE_FIELDS",
    "GenerateOptions",
    "chat_body",
    "embed_body",
    "embed_inputs",
    "generate_body",
    "tagged",
]

# By what a call says, what it is called among Ollama's `options`.
_RUNTIME: Final[Mapping[str, str]] = {
    "frequency_penalty": "frequency_penalty",
    "max_completion_tokens": "num_predict",
    "max_tokens": "num_predict",
    "min_p": "min_p",
    "num_ctx": "num_ctx",
    "num_predict": "num_predict",
    "presence_penalty": "presence_penalty",
    "repeat_penalty": "repeat_penalty",
    "seed": "seed",
    "stop": "stop",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
}
_PLAIN: Final = ("think", "logprobs", "top_logprobs", "keep_alive")
_SHARED: Final = (
    CALL_FIELDS
    | _RUNTIME.keys()
    | frozenset(_PLAIN)
    | {"format", "options", "reasoning_effort", "response_format"}
)
_PROMPT: Final = ("suffix", "system", "template", "context", "raw", "width", "height", "steps")

CHAT_FIELDS: Final = _SHARED | {"tools"}
"""Options that `/api/chat` knows."""
GENERATE_FIELDS: Final = _SHARED | frozenset(_PROMPT) | {"images"}
"""Options that `/api/generate` knows."""
_EMBED: Final = ("dimensions", "truncate", "keep_alive", "options")
EMBED_FIELDS: Final = CALL_FIELDS | frozenset(_EMBED)
"""Options that `/api/embed` knows."""


class GenerateOptions(ControlOptions, TransportOptions, total=False):
    """Arguments of `generate`; see Ollama's API reference for what they do."""

    model: str | None
    suffix: str | None
    """What comes after the text to write."""
    system: str | None
    template: str | None
    context: Sequence[int] | None
    """The tokens of an earlier answer, to go on from there."""
    raw: bool | None
    """Whether the prompt goes to the model without a template."""
    images: Sequence[Any] | None
    """Pictures: bytes, base64, data URLs or `ImagePart`s."""
    width: int | None
    height: int | None
    steps: int | None
    think: bool | str | None
    reasoning_effort: str | None
    format: Any
    response_format: Any
    options: Mapping[str, Any] | None
    keep_alive: float | str | None
    logprobs: bool | None
    top_logprobs: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    max_tokens: int | None
    max_completion_tokens: int | None
    num_ctx: int | None
    num_predict: int | None
    repeat_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None


def chat_body(model: str, messages: MessageInput, options: Mapping[str, Any]) -> dict[str, Json]:
    """Return the wire body of a chat, without the field that only chooses how it is delivered.

    Raises:
        InvalidRequestError: naming the place of a message or option of the wrong shape.
    """
    body: dict[str, Json] = {"model": model, "messages": ollama_messages(messages)}
    tools = options.get("tools")
    if tools is not None:
        if isinstance(tools, Mapping | str) or not isinstance(tools, Sequence):
            reason = f"must be a list of tools, not {type(tools).__name__}"
            raise InvalidRequestError("tools", reason)
        body["tools"] = [wire_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
    return _finished(body, options)


def generate_body(model: str, prompt: str, options: Mapping[str, Any]) -> dict[str, Json]:
    """Return the wire body that asks to go on from `prompt`.

    Raises:
        InvalidRequestError: as `chat_body`.
    """
    if not isinstance(prompt, str):
        raise InvalidRequestError("prompt", f"must be text, not {type(prompt).__name__}")
    body: dict[str, Json] = {"model": model, "prompt": prompt}
    body.update({name: options[name] for name in _PROMPT if options.get(name) is not None})
    if options.get("images") is not None:
        body["images"] = wire_images(options["images"], "images")
    return _finished(body, options)


def embed_body(model: str, options: Mapping[str, Any]) -> dict[str, Json]:
    """Return the wire body without its inputs.

    Raises:
        InvalidRequestError: an option is no object that should be one.
    """
    body: dict[str, Json] = {"model": model}
    body.update({name: options[name] for name in _EMBED if options.get(name) is not None})
    if "options" in body:
        checked_object("options", body["options"])
    return _extended(body, options)


def embed_inputs(inputs: Any) -> tuple[list[Json], bool]:
    """Return the list of texts, and whether it was one without a list.

    Raises:
        InvalidRequestError: anything else; Ollama embeds no token ids.
    """
    items, is_single = embedding_inputs(inputs)
    for i, item in enumerate(items):
        if not isinstance(item, str):
            raise InvalidRequestError(f"input[{i}]", "must be text")
    return items, is_single


def tagged(model: str) -> str:
    """Return a model's name with its tag, which is `latest` where none is given."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _finished(body: dict[str, Json], options: Mapping[str, Any]) -> dict[str, Json]:
    for name in _PLAIN:
        if options.get(name) is not None:
            body[name] = options[name]
    effort = options.get("reasoning_effort")
    if effort is not None:
        _set_once(body, "think", effort != "none" and effort, "reasoning_effort")
    for name in ("format", "response_format"):
        wanted = None if options.get(name) is None else _format(name, options[name])
        if wanted is not None:
            _set_once(body, "format", wanted, name)
    runtime = _runtime(options)
    if runtime is not None:
        body["options"] = runtime
    return _extended(body, options)


def _extended(body: dict[str, Json], options: Mapping[str, Any]) -> dict[str, Json]:
    extra = options.get("extra_body")
    if extra is not None:
        body.update(checked_object("extra_body", extra))
    return body


def _runtime(options: Mapping[str, Any]) -> dict[str, Json] | None:
    """Return Ollama's `options`: those given as such, and those that have a name of their own."""
    given = options.get("options")
    runtime = None if given is None else dict(checked_object("options", given))
    for name, theirs in _RUNTIME.items():
        value = options.get(name)
        if value is not None:
            runtime = {} if runtime is None else runtime
            if name == "stop" and isinstance(value, str):
                value = [value]
            _set_once(runtime, theirs, value, name)
    return runtime


def _set_once(body: dict[str, Json], field: str, value: Json, name: str) -> None:
    """Set a field that has several names; two that disagree leave nobody the wiser."""
    if field in body and (body[field] != value or type(body[field]) is not type(value)):
        raise InvalidRequestError(name, f"says {value!r} where {field} is {body[field]!r} already")
    body[field] = value


def _format(name: str, value: Any) -> Json:
    """Return Ollama's `format` for its own values, and for those of `response_format`."""
    if isinstance(value, str):
        known: dict[str, Json] = {"json_object": "json", "text": None}
        return known.get(value, value)
    if isinstance(value, Mapping):
        if isinstance(value.get("json_schema"), Mapping):
            return value["json_schema"].get("schema")
        if value.get("type") in {"json_object", "text"}:
            return _format(name, value["type"])
        return dict(value)
    if hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    reason = "must be 'json', 'json_object', 'text', a JSON Schema, or a pydantic model"
    raise InvalidRequestError(name, reason)
