"""Ask a model: forms of input, options, retries, and what can go wrong.

Runs against OPENAI_BASE_URL or OpenAI when OPENAI_API_KEY or OPENAI_BASE_URL is
set, else against a stand-in on this machine that makes its answers up.
"""

import asyncio
import os

from llmcache import InvalidRequestError, Message, OpenAIProvider, ProviderError
from llmcache.testing.upstream import DemoUpstream

MODEL = "gpt-5-nano"
HAS_SERVER = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


async def input_forms(provider: OpenAIProvider) -> None:
    # A prompt, a dict, a Message, or a list of any of them.
    question = "Name one property of a write-ahead log."
    inputs = (
        question,
        {"role": "user", "content": question},
        Message.user(question),
        [Message.system("Answer in one sentence."), {"role": "user", "content": question}],
    )
    for messages in inputs:
        result = await provider.complete(messages)
        print(f"{type(messages).__name__:8} {result.content}")


async def options(provider: OpenAIProvider) -> None:
    result = await provider.complete(
        "Why do disks like sequential writes?",
        max_tokens=2000,
        response_format="text",
        # How the call travels: three tries, half a second before the second one.
        attempts=3,
        backoff=0.5,
        timeout=60,
        # Fields that only your server knows go into the body as they are.
        extra_body={"seed": 7},
    )
    print(f"\n{result.model}, finished with {result.finish_reason!r}, status {result.status}")
    if result.usage is not None:
        print(f"{result.usage.input_tokens} tokens in, {result.usage.output_tokens} out")
        print(f"cost: {result.usage.total_cost or 'not told'}")

    # The answer is the next turn's past.
    conversation = [Message.user("Say a word."), result.to_message(), Message.user("Another.")]
    print((await provider.complete(conversation)).content)


async def what_can_go_wrong(provider: OpenAIProvider) -> None:
    print()
    try:  # Found before anything is sent; `path` names the place.
        await provider.complete([{"role": "user", "content": 42}])
    except InvalidRequestError as error:
        print(f"not sent: {error}")

    try:  # Every failure of a provider is a ProviderError; the subclasses say which.
        async with OpenAIProvider(
            model="any", base_url="http://127.0.0.1:9/v1", api_key="none", cache_backend=None
        ) as nobody:
            await nobody.complete("Is anybody there?", attempts=2, backoff=0.1)
    except ProviderError as error:
        print(f"{type(error).__name__}: {error} (another try may help: {error.retryable})")


async def main() -> None:
    async with (
        DemoUpstream(latency=0.1) as stand_in,
        OpenAIProvider(
            model=MODEL,
            base_url=None if HAS_SERVER else stand_in.base_url,
        ) as provider,
    ):
        await input_forms(provider)
        await options(provider)
        await what_can_go_wrong(provider)


if __name__ == "__main__":
    asyncio.run(main())
