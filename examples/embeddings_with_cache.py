"""Embeddings: every text is cached by itself, so a list that is half known sends the other half.

Runs against OPENAI_BASE_URL or OpenAI when OPENAI_API_KEY or OPENAI_BASE_URL is
set, else against a stand-in on this machine whose vectors mean nothing.
"""

import asyncio
import math
import os
from collections.abc import Sequence

from llmcache import OpenAIProvider
from llmcache.testing.upstream import DemoUpstream

MODEL = "text-embedding-3-small"
HAS_SERVER = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))
DOCUMENTS = [
    "A write-ahead log records every change before it is applied.",
    "A checkpoint folds the log into the main file.",
    "Bread rises because yeast makes gas.",
    "Sourdough needs a day and some patience.",
]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / (math.hypot(*a) * math.hypot(*b))


async def main() -> None:
    async with (
        DemoUpstream(latency=0.2) as stand_in,
        OpenAIProvider(
            model=MODEL,
            base_url=None if HAS_SERVER else stand_in.base_url,
            cache_dir="./cache",
            cache_collection="embeddings",
        ) as provider,
    ):
        # Two texts, then four of which two are known.
        for texts in (DOCUMENTS[:2], DOCUMENTS, DOCUMENTS):
            result = await provider.embed(texts, cache_response=True)
            cache = result.cache
            print(f"{cache.items} texts: {cache.items_hit} known, status {cache.status!r}")
        print(f"{len(result.embeddings)} vectors of {len(result.embedding)} numbers")

        # Fewer dimensions are another question, and get keys of their own.
        small = await provider.embed(DOCUMENTS, dimensions=64, cache_response=True)
        print(f"{len(small.embedding)} dimensions: {small.cache.items_hit} known\n")

        question = await provider.embed("How does a database survive a crash?", cache_response=True)
        ranked = sorted(
            zip(DOCUMENTS, result.embeddings, strict=True),
            key=lambda pair: cosine(question.embedding, pair[1]),
            reverse=True,
        )
        for text, vector in ranked:
            print(f"{cosine(question.embedding, vector):+.3f}  {text}")


if __name__ == "__main__":
    asyncio.run(main())
