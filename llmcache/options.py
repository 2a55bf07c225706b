"""The options of a call, in one place: those of the cache, those of the journey, those of the API.

`complete` and `stream` share them (PEP 692), so that a type checker knows each
name and value, and a misspelled one is an error before anything is sent.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict

from .errors import InvalidRequestError
from .timeouts import Timeouts
from .types._json import Json

__all__ = [
    "CALL_FIELDS",
    "COMPLETION_FIELDS",
    "CONTROL_FIELDS",
    "EMBEDDING_FIELDS",
    "CompletionOptions",
    "ControlOptions",
    "EmbeddingOptions",
    "Replay",
    "TransportOptions",
    "check_switch",
    "check_switches",
    "checked_object",
    "reject_unknown",
]

Replay: TypeAlias = Literal["instant", "recorded"] | float
"""How a stored stream is played: at once, with its own pauses, or so many times faster."""


class ControlOptions(TypedDict, total=False):
    """Arguments of a call that the cache understands; none of them reaches the provider."""

    cache_response: bool
    """Read the cache, and store the answer on a miss. Default: False."""
    cache_collection: str | None
    """Where: a name of letters, digits, `.`, `_`, `-`. Default: the provider's."""
    rewrite_cache: bool
    """Call the provider and replace what is stored."""
    regen_cache: bool
    """Call the provider and store one more sample; what plain hits return stays."""
    mode: Literal["auto", "offline"]
    """`offline` never calls the provider: `CacheMissError` where nothing is stored."""
    sample: int
    """Which sample of the request to read or make. Default: 0, the one that plain hits return."""
    samples: int | None
    """Return this many samples in `result.samples`, making those that are missing."""
    ttl: float | None
    """Seconds that the answer of this call stays fresh. Default: the policy's."""
    max_age: float | None
    """Do not accept an answer older than this many seconds. Default: the policy's."""
    tags: tuple[str, ...] | list[str]
    """Labels of the stored answer, for `invalidate(tag=…)`."""
    salt: str | None
    """Anything the answer depends on that is not in the request (a document set's version)."""
    stale_while_revalidate: float | None
    """Seconds past its time during which an answer still serves, while it is refreshed behind."""
    stale_if_error: float | None
    """Seconds past its time during which an answer serves when the provider fails."""
    store_truncated: bool | None
    """Store an answer that was cut by its length limit. Default: the policy's."""
    store_refusals: bool | None
    """Store what the model refused to answer, or a content filter cut. Default: the policy's."""
    store_paused: bool | None
    """Store a turn that the model has only paused (`pause_turn`). Default: the policy's."""
    replay: Replay
    """How to play a stored answer that is streamed. Default: `instant`."""


class TransportOptions(TypedDict, total=False):
    """Arguments of a call that choose how it is sent."""

    attempts: int
    """How often to try in all. Default: 3."""
    backoff: float
    """Seconds before the second attempt; doubles. Default: 1.0."""
    timeout: float | Timeouts | None
    """Seconds without a byte before giving up, or `Timeouts(…)`. Default: the provider's."""
    request_id: str | None
    """Your name for the call, sent as `x-client-request-id`; in neither the key nor the entry."""
    extra_headers: Mapping[str, str] | None
    """More HTTP headers. Not in the key, except those that version the API or name an account."""
    extra_body: Mapping[str, Any] | None
    """More fields for the wire body; they are part of the key."""


class CompletionOptions(ControlOptions, TransportOptions, total=False):
    """Arguments of `complete` and `stream`; see the provider's API reference for what they do."""

    model: str | None
    tools: Sequence[Any] | None
    """Tool objects, or dicts in the nested or the flat shape."""
    tool_choice: str | Mapping[str, Any] | None
    """`auto`, `none`, `required`, a tool's name, or the wire's object."""
    response_format: Any
    """`text`, `json_object`, a JSON Schema, or a pydantic model."""
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    max_completion_tokens: int | None
    n: int | None
    stop: str | Sequence[str] | None
    seed: int | None
    reasoning_effort: str | None
    verbosity: str | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    parallel_tool_calls: bool | None
    modalities: Sequence[str] | None
    audio: Mapping[str, Any] | None
    prediction: Mapping[str, Any] | None
    web_search_options: Mapping[str, Any] | None
    moderation: Json
    functions: Sequence[Mapping[str, Any]] | None
    function_call: str | Mapping[str, Any] | None
    service_tier: str | None
    store: bool | None
    metadata: Mapping[str, str] | None
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    prompt_cache_options: Mapping[str, Any] | None
    prompt_cache_retention: str | None
    stream_options: Mapping[str, Any] | None
    """A chat stream is asked for its usage; `{"include_usage": False}` leaves that out, and stores
    the stream only where the server gives its usage unasked."""
    think: bool | str | None
    """Ollama: whether the model thinks first, or how hard (`low`, `medium`, `high`)."""
    format: Any
    """Ollama: `json`, a JSON Schema, or a pydantic model; as `response_format`."""
    options: Mapping[str, Any] | None
    """Ollama: runtime parameters (`mirostat`, `num_gpu`, …); those below go among them."""
    keep_alive: float | str | None
    """Ollama: how long the model stays loaded: seconds, or a duration such as `5m`."""
    top_k: int | None
    min_p: float | None
    num_ctx: int | None
    num_predict: int | None
    repeat_penalty: float | None
    use_responses_api: bool | None
    """Ask OpenAI's Responses API, or chat completions. Default: the provider's."""
    # Of the Responses API alone.
    access_programs: Mapping[str, Any] | None
    background: bool | None
    background_options: Mapping[str, Any] | None
    conversation: str | Mapping[str, Any] | None
    image: Mapping[str, Any] | None
    include: Sequence[str] | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    previous_response_id: str | None
    prompt: Mapping[str, Any] | None
    reasoning: Mapping[str, Any] | None
    text: Mapping[str, Any] | None
    truncation: str | None
    system: str | Sequence[Mapping[str, Any]] | None
    """The system prompt, before that of the messages: text or blocks (Messages API)."""
    thinking: Mapping[str, Any] | None
    stop_sequences: Sequence[str] | None
    """The Messages API's name of `stop`."""
    output_config: Mapping[str, Any] | None
    context_management: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    mcp_servers: Sequence[Mapping[str, Any]] | None
    container: str | Mapping[str, Any] | None
    cache_control: Mapping[str, Any] | None
    inference_geo: str | None
    speed: str | None
    betas: Sequence[str] | None
    """More features of the Messages API to switch on, beside the provider's."""


class EmbeddingOptions(ControlOptions, TransportOptions, total=False):
    """Arguments of `embed`."""

    model: str | None
    dimensions: int | None
    encoding_format: Literal["float", "base64"] | None
    user: str | None
    truncate: bool | None
    """Ollama: whether a text longer than the model's context is cut. Default there: True."""
    options: Mapping[str, Any] | None
    """Ollama: runtime parameters, such as `num_ctx`."""
    keep_alive: float | str | None
    """Ollama: how long the model stays loaded."""


# The salt is part of what is asked: it goes with the request, into the key.
CONTROL_FIELDS: Final = frozenset(ControlOptions.__annotations__) - {"salt"}
CALL_FIELDS: Final = frozenset(
    {**ControlOptions.__annotations__, **TransportOptions.__annotations__, "model": str}
)
"""What a call of any kind can say."""
COMPLETION_FIELDS: Final = frozenset(CompletionOptions.__annotations__)
EMBEDDING_FIELDS: Final = frozenset(EmbeddingOptions.__annotations__)

_SWITCHES: Final = (
    "cache_response",
    "rewrite_cache",
    "regen_cache",
    "store_truncated",
    "store_refusals",
    "store_paused",
)
# What others call it, where no likeness of names leads there.
_HINTS: Final[Mapping[str, str]] = {
    "cache": "did you mean 'cache_response'?",
    "stream": "a stream is what `provider.stream(…)` gives",
}


def reject_unknown(options: Mapping[str, Any], known: frozenset[str]) -> None:
    """Do nothing when every option is known.

    Raises:
        InvalidRequestError: naming the option, and the known one it resembles.
    """
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = _HINTS.get(name) or (f"did you mean {close[0]!r}?" if close else "")
            reason = (
                f"unknown option{hint and '; '}{hint} (a provider's own fields go into extra_body)"
            )
            raise InvalidRequestError(name, reason)


def check_switches(options: Mapping[str, Any]) -> None:
    """Do nothing when what can only be on or off is one of these.

    Raises:
        InvalidRequestError: naming the option; the text `"no"` would count as on.
    """
    for name in _SWITCHES:
        check_switch(name, options.get(name))


def check_switch(name: str, value: object) -> None:
    """Do nothing when `value` is on, off or `None`.

    Raises:
        InvalidRequestError: it is something else.
    """
    if value not in (None, True, False):
        raise InvalidRequestError(name, f"must be True or False, not {value!r}")


def checked_object(option: str, value: Any) -> Mapping[str, Json]:
    """Return `value`.

    Raises:
        InvalidRequestError: naming the option, when it is no object.
    """
    if not isinstance(value, Mapping):
        raise InvalidRequestError(option, f"must be an object, not {type(value).__name__}")
    return value
