"""Make the compression dictionary that ships with the package, from made-up answers.

    python -m benchmarks.make_base_dictionary llmcache/data/base.zdict

The shapes are those of the public API references; ids, times, counts and text
are random. Run it for a new dictionary only: entries in the field name the one
that is shipped now, which therefore stays as it is.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from pathlib import Path
from typing import Any

from llmcache.codec import Codec, train_dictionary
from llmcache.keys import Request
from llmcache.types import CacheEntry, Recording, WireEvent

Json = dict[str, Any]

_WORDS = (
    "the of and to a in is it you that he was for on are with as I his they be at one have this "
    "from or had by hot but some what there we can out other were all your when up use word how "
    "said an each she which do their time if will way about many then them would write like so "
    "these her long make thing see him two has look more day could go come did my sound no most "
    "number who over know water than call first people may down side been now find any new work "
    "part take get place made live where after back little only round man year came show every "
    "good me give our under name very through just form much great think say help low line before "
    "turn cause same mean differ move right boy old too does tell sentence set three want air well "
    "also play small end put home read hand port large spell add even land here must big high such "
    "model data function value error request response example system following answer question"
).split()
_MODELS = (
    "gpt-4o gpt-4o-mini gpt-4o-2024-08-06 gpt-4o-mini-2024-07-18 gpt-4.1 gpt-4.1-mini gpt-4 "
    "gpt-3.5-turbo gpt-3.5-turbo-0125 gpt-5 gpt-5-mini gpt-5-nano gpt-5-2025-08-07 o3-mini o4-mini "
    "llama-3.3-70b-versatile mistral-large-latest mistral-small-latest deepseek-chat "
    "deepseek-reasoner openai/gpt-4o-mini anthropic/claude-sonnet-4 qwen/qwen3-32b grok-3-mini "
    "google/gemini-2.5-flash meta-llama/Llama-3.3-70B-Instruct"
).split()
_ENDPOINTS = (
    "https://api.openai.com/v1/chat/completions",
    "https://api.groq.com/openai/v1/chat/completions",
    "https://api.mistral.ai/v1/chat/completions",
    "https://api.deepseek.com/v1/chat/completions",
    "https://openrouter.ai/api/v1/chat/completions",
    "http://localhost:8000/v1/chat/completions",
)
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Maker:
    """Makes up requests and answers from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def identifier(self, length: int) -> str:
        return "".join(self.random.choices(_ALPHABET, k=length))

    def text(self, low: int, high: int) -> str:
        words = self.random.choices(_WORDS, k=self.random.randint(low, high))
        return " ".join(words).capitalize() + "."

    def number(self, high: int) -> int:
        return self.random.randint(0, high)

    def usage(self) -> Json:
        prompt, answer = self.number(900), self.number(500)
        usage: Json = {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        }
        style = self.random.random()
        if style < 0.6:
            usage["prompt_tokens_details"] = {"cached_tokens": 0, "audio_tokens": 0}
            usage["completion_tokens_details"] = {
                "reasoning_tokens": self.number(1) * self.number(300),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            }
        elif style < 0.7:
            usage |= {"queue_time": 0.05, "prompt_time": 0.002, "completion_time": 0.1}
            usage["total_time"] = 0.102
        elif style < 0.8:
            usage |= {"prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": prompt}
        return usage

    def tool_call(self) -> Json:
        arguments = json.dumps({"city": "Paris", "query": self.text(1, 4), "limit": self.number(9)})
        function = {"name": self.random.choice(("get_weather", "search")), "arguments": arguments}
        return {"id": f"call_{self.identifier(24)}", "type": "function", "function": function}

    def message(self) -> Json:
        message: Json = {"role": "assistant", "content": self.text(3, 60)}
        if self.random.random() < 0.3:
            message["content"] = None
            message["tool_calls"] = [self.tool_call() for _ in range(self.random.randint(1, 2))]
        if self.random.random() < 0.7:
            message["refusal"] = None
            message["annotations"] = []
        if self.random.random() < 0.15:
            message["reasoning_content"] = self.text(5, 60)
        elif self.random.random() < 0.15:
            message["reasoning"] = self.text(5, 60)
        return message

    def completion(self) -> Json:
        message = self.message()
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        answer: Json = {
            "id": f"chatcmpl-{self.identifier(29)}",
            "object": "chat.completion",
            "created": 1_760_000_000 + self.number(40_000_000),
            "model": self.random.choice(_MODELS),
            "choices": [choice],
            "usage": self.usage(),
        }
        if self.random.random() < 0.7:
            answer["service_tier"] = "default"
            answer["system_fingerprint"] = f"fp_{self.random.randbytes(5).hex()}"
        elif self.random.random() < 0.4:
            answer["x_groq"] = {"id": f"req_{self.identifier(26).lower()}"}
        return answer

    def chunks(self) -> list[bytes]:
        top: Json = {
            "id": f"chatcmpl-{self.identifier(29)}",
            "object": "chat.completion.chunk",
            "created": 1_760_000_000 + self.number(40_000_000),
            "model": self.random.choice(_MODELS),
            "service_tier": "default",
            "system_fingerprint": f"fp_{self.random.randbytes(5).hex()}",
        }
        deltas: list[Json] = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"content": f" {word}"} for word in self.text(4, 30).split()]
        chunks = [self._chunk(top, delta, None) for delta in deltas]
        chunks.append(self._chunk(top, {}, "stop"))
        chunks.append({**top, "choices": [], "usage": self.usage()})
        return [*(json.dumps(c, separators=(",", ":")).encode() for c in chunks), b"[DONE]"]

    @staticmethod
    def _chunk(top: Json, delta: Json, finish: str | None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**top, "choices": [choice], "usage": None}

    def request(self) -> Request:
        messages: list[Json] = [{"role": "user", "content": self.text(3, 40)}]
        if self.random.random() < 0.5:
            messages.insert(0, {"role": "system", "content": "You are a helpful assistant."})
        if self.random.random() < 0.2:
            call = self.tool_call()
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            messages.append(
                {"role": "tool", "tool_call_id": call["id"], "content": self.text(1, 9)}
            )
        body: Json = {"model": self.random.choice(_MODELS), "messages": messages}
        if self.random.random() < 0.4:
            body["temperature"] = self.random.choice((0, 0.2, 0.7))
        if self.random.random() < 0.3:
            body["max_tokens"] = self.number(2000)
        if self.random.random() < 0.4:
            schema = {
                "type": "object",
                "properties": {"city": {"type": "string", "description": self.text(2, 6)}},
                "required": ["city"],
                "additionalProperties": False,
            }
            function = {"name": "get_weather", "description": self.text(2, 9), "parameters": schema}
            body["tools"] = [{"type": "function", "function": function}]
            body["tool_choice"] = "auto"
        return Request("chat", self.random.choice(_ENDPOINTS), body)

    def recording(self) -> Recording:
        headers = (
            ("x-request-id", f"req_{self.random.randbytes(16).hex()}"),
            ("openai-processing-ms", str(self.number(9000))),
        )
        if self.random.random() < 0.25:
            events = [WireEvent(data, None, 0.3 + i * 0.02) for i, data in enumerate(self.chunks())]
            return Recording(events=tuple(events), headers=headers)
        compact = self.random.random() < 0.6
        separators = (",", ":") if compact else (", ", ": ")
        indent = 2 if self.random.random() < 0.3 else None
        text = json.dumps(
            self.completion(), separators=None if indent else separators, indent=indent
        )
        return Recording(body=text.encode(), headers=headers)

    def entry(self) -> CacheEntry:
        request = self.request()
        return CacheEntry(
            key=request.key(),
            recording=self.recording(),
            kind="chat",
            model=request.body["model"],
            created_at=1_760_000_000 + self.random.random() * 40_000_000,
            duration=self.random.random() * 9,
            identity=request.identity(),
        )


def main() -> None:
    """Train and write."""
    maker, codec = Maker(seed=1), Codec()
    samples = [part for _ in range(4_000) for part in codec.parts(maker.entry())]
    dictionary = train_dictionary(samples)
    Path(sys.argv[1]).write_bytes(dictionary.data)
    digest = base64.b16encode(dictionary.id.to_bytes(4, "little")).decode()
    print(f"{len(dictionary.data)} bytes, id {dictionary.id:08x} ({digest})")


if __name__ == "__main__":
    main()
