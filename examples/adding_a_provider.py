"""Add a provider: one file for a wire API, here Cohere's v2 chat.

    python examples/adding_a_provider.py

Three parts, and the cache, retries, typed errors, keys and streams come with them:

1. A dialect says what an answer means (`answer`): JSON in, `CompletionResult` out. What
   it cannot read it need not catch; that becomes an `InvalidResponseError`.
2. A decoder says what a piece of a stream means (`piece`: events out, `terminal` set at
   the last) and what the pieces add up to (`whole`: the answer as it comes unstreamed,
   read by the same `answer`). What is not whole is never stored.
3. A provider says where the server is (`API`) and what a call sends (`_call`): a `Request`
   whose body is the key, and an `HTTPCall` that posts it. `_fields` are the
   options it understands; any other is refused before anything is sent.

Then let the suite look at it: a subclass of `llmcache.testing.ProviderTests` with a fixture
(`tests/examples/test_adding_a_provider.py`). Facts of the API: https://docs.cohere.com/reference/chat
"""

import asyncio
import json
import os
import re
from typing import Any

from llmcache.keys import normalize_endpoint
from llmcache.options import CALL_FIELDS
from llmcache.providers.delivery import Delivery
from llmcache.providers.http_call import HTTPCall
from llmcache.providers.http_provider import API, HTTPProvider
from llmcache.providers.json_dialect import JSONDialect, JSONStreamDecoder
from llmcache.providers.openai_chat import wire_messages
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import CompletionResult, StreamEvent, StreamEventType, Usage

PLAIN = {"temperature", "seed", "max_tokens"}
NAMES = {"top_p": "p", "top_k": "k", "stop": "stop_sequences"}
FINISH = {"COMPLETE": "stop", "MAX_TOKENS": "length", "ERROR": "error", "TIMEOUT": "timeout"}


class CohereDialect(JSONDialect):
    """Understands answers of Cohere's chat."""

    kind = "cohere.chat"

    def answer(self, data: Any, raw: bytes) -> CompletionResult:
        """Return what an answer says."""
        tokens = data["usage"]["tokens"]
        read, written = int(tokens["input_tokens"]), int(tokens["output_tokens"])
        finish = data["finish_reason"]
        return CompletionResult(
            content="".join(part["text"] for part in data["message"]["content"]),
            usage=Usage(read, written, read + written),
            finish_reason=FINISH.get(finish, finish),
            id=data["id"],
            raw_json=raw,
        )

    def decoder(self) -> "CohereDecoder":
        """Return a decoder for one stream."""
        return CohereDecoder(self)


class CohereDecoder(JSONStreamDecoder):
    """Adds up the events of one stream."""

    def __init__(self, dialect: CohereDialect) -> None:
        super().__init__(dialect)
        self._id, self._text, self._end = "", "", {}

    def piece(self, data: Any) -> list[StreamEvent]:
        """Return what one event means."""
        if data["type"] == "message-start":
            self._id = data["id"]
        elif data["type"] == "content-delta":
            text = data["delta"]["message"]["content"]["text"]
            self._text += text
            return [StreamEvent(StreamEventType.TOKEN, text)]
        elif data["type"] == "message-end":
            self._end, self.terminal = data["delta"], True
        return []

    def whole(self) -> Any:
        """Return the answer as it comes unstreamed."""
        content = [{"type": "text", "text": self._text}]
        return {"id": self._id, "message": {"role": "assistant", "content": content}, **self._end}


class CohereProvider(HTTPProvider):
    """A client of Cohere's API, with the cache in front."""

    _fields = CALL_FIELDS | PLAIN | NAMES.keys()

    def __init__(
        self, model: str, *, base_url: str = "https://api.cohere.com", api_key: str, **options: Any
    ) -> None:
        api = API("cohere", base_url, {"authorization": f"Bearer {api_key}"})
        self._dialect = CohereDialect("cohere")
        super().__init__(model, api, [self._dialect], options)
        self._chat = Delivery(self._transport, self._url("v2/chat"), self._retry)
        self._endpoint = normalize_endpoint(self._chat.url)

    def _call(self, messages: Any, options: Any) -> HTTPCall:
        """Return the call that asks for an answer to `messages`."""
        body = {"model": self._model(options), "messages": wire_messages(messages)}
        for name, value in options.items():
            if value is not None and name in PLAIN | NAMES.keys():
                body[NAMES.get(name, name)] = value
        body.update(options.get("extra_body") or {})
        request = self._request(CohereDialect.kind, self._endpoint, body, options)
        return HTTPCall(request, self._dialect, self._travel(self._chat, options))


def stand_in(request: UpstreamRequest) -> Reply:
    """Answer as Cohere's server would, without a model: this is a stand-in."""
    asked = request.json()
    text = f"You said: {asked['messages'][-1]['content']}"
    end = {
        "finish_reason": "COMPLETE",
        "usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}},
    }
    if not asked.get("stream"):
        message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        return Reply(body=json.dumps({"id": "1", "message": message, **end}).encode())
    pieces = [
        {"type": "content-delta", "delta": {"message": {"content": {"text": word}}}}
        for word in re.findall(r"\S+\s*", text)
    ]
    events = [{"type": "message-start", "id": "1"}, *pieces, {"type": "message-end", "delta": end}]
    return Reply(body="".join(f"data: {json.dumps(event)}\n\n" for event in events).encode())


async def main() -> None:
    async with Upstream(stand_in) as server:
        url = os.environ.get("COHERE_BASE_URL", server.base_url.removesuffix("/v1"))
        key = os.environ.get("COHERE_API_KEY", "stand-in")
        async with CohereProvider("command-a-03-2025", base_url=url, api_key=key) as provider:
            for question in ("Hello", "Hello", "Hello again"):
                result = await provider.complete(question, cache_response=True, temperature=0)
                print(f"{result.cache.status:5} {result.content}")
            async for event in provider.stream("A stream", cache_response=True):
                print(event.type.value, end=" ")
            print()


if __name__ == "__main__":
    asyncio.run(main())
