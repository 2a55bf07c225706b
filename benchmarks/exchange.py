"""The exchange that hits are measured with: made-up text, the same in every process.

Standard library only: the peers' processes import it too.
"""

from __future__ import annotations

import json
import random
from typing import Any, Final

__all__ = [
    "MODEL",
    "PROMPT",
    "TEXT",
    "answer",
    "body",
    "completion",
    "ollama_stream",
    "prose",
    "stream_chunks",
]

Json = dict[str, Any]

MODEL: Final = "gpt-4o-mini"
_WORDS: Final = (
    "the a of and to in that it is was for on are as with they be at one have this from by had "
    "not but what all were when we there can an your which their said if do will each about how "
    "up out them then she many some so these would other into has more her two like him see time "
    "could no make than first been its who now people my made over did down only way find use may "
    "water long little very after word called just where most know ledger record page checkpoint "
    "commit crash recovery buffer write read index table row lock transaction replica segment disk "
    "flush order change state memory process system reader writer snapshot sequence number block"
).split()


def prose(size: int, seed: int) -> str:
    """Return about `size` characters of sentences."""
    source = random.Random(seed)
    sentences: list[str] = []
    length = 0
    while length < size:
        words = source.choices(_WORDS, k=source.randint(7, 18))
        sentence = f"{' '.join(words).capitalize()}."
        sentences.append(sentence)
        length += len(sentence) + 1
    return " ".join(sentences)[:size]


PROMPT: Final = prose(3_000, seed=1)
TEXT: Final = prose(1_050, seed=2)


def body(prompt: str = PROMPT) -> Json:
    """Return the wire body that `complete(prompt)` sends."""
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}


def completion(text: str = TEXT, *, number: int = 0) -> Json:
    """Return a chat completion as OpenAI's server writes it."""
    message: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return {
        "id": f"chatcmpl-Bq8rTj3Yw0nVhKXu2LzPaMd{number:06d}",
        "object": "chat.completion",
        "created": 1_760_000_000 + number,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 655,
            "completion_tokens": 231,
            "total_tokens": 886,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_51db84afab",
    }


def answer(text: str = TEXT, *, number: int = 0) -> bytes:
    """Return the response body, indented as OpenAI indents it."""
    return json.dumps(completion(text, number=number), indent=2).encode()


def stream_chunks(words: int, seed: int = 3) -> list[bytes]:
    """Return the server-sent events of an answer of so many words; the last is `[DONE]`."""
    whole = completion()
    top = {name: whole[name] for name in ("id", "created", "model", "service_tier")}
    top |= {"object": "chat.completion.chunk", "system_fingerprint": whole["system_fingerprint"]}
    text = prose(words * 8, seed).split()[:words]
    deltas: list[tuple[Json, str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": f" {word}"}, None) for word in text]
    deltas.append(({}, "stop"))
    chunks: list[Json] = []
    for delta, finish in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunks.append({**top, "choices": [choice], "usage": None})
    chunks.append({**top, "choices": [], "usage": whole["usage"]})
    texts = [json.dumps(chunk, separators=(",", ":")) for chunk in chunks]
    return [f"data: {text}\n\n".encode() for text in [*texts, "[DONE]"]]


def ollama_stream(words: int) -> bytes:
    """Return an answer of so many words as Ollama streams it: lines of JSON."""
    source = random.Random(4)
    top: Json = {"model": "llama3", "created_at": "2026-11-21T12:00:00.314639Z"}
    lines: list[Json] = [
        {
            **top,
            "message": {"role": "assistant", "content": f"{source.choice(_WORDS)} "},
            "done": False,
        }
        for _ in range(words)
    ]
    end = {"done_reason": "stop", "prompt_eval_count": 655, "eval_count": words}
    lines.append({**top, "message": {"role": "assistant", "content": ""}, "done": True, **end})
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
