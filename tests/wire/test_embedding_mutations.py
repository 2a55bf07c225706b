"""Damaged vectors: an error or the numbers that the bytes say, one vector for each input."""

from __future__ import annotations

import base64
import json
import math
import random
import struct
from typing import Any

import pytest

from llmcache import ProviderError
from llmcache.providers.http import HTTPReply
from llmcache.providers.ollama_answer import ollama_vectors
from llmcache.providers.openai_embeddings import parse_vector, vector_recordings
from llmcache.types import Recording

from .fuzzing import EACH, RUNS, Trials
from .support import as_json
from .test_mutations import mutated

INPUTS: list[Any] = ["first", "second"]
NUMBERS = [(0.5, -0.25, 3.0), (1e-7, 2.5, 0.1)]
PACKED = [base64.b64encode(struct.pack("<3f", *row)).decode() for row in NUMBERS]
USAGE = {"prompt_tokens": 5, "total_tokens": 5}


def openai_body(rows: list[Any]) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
    return as_json({"object": "list", "data": data, "model": "m", "usage": USAGE})


OPENAI = [openai_body(PACKED), openai_body([list(row) for row in NUMBERS])]
OLLAMA = [as_json({"model": "m", "embeddings": NUMBERS, "prompt_eval_count": 5})]


def meant(value: Any) -> tuple[float, ...]:
    """Return the numbers that a vector on the wire stands for, read the slow way."""
    if isinstance(value, str):
        packed = base64.b64decode(value, validate=True)
        return struct.unpack(f"<{len(packed) // 4}f", packed)
    return tuple(float(number) for number in value)


def check(found: list[Recording], rows: list[Any]) -> None:
    """Check the recordings against the rows that the body has, in the order of the inputs."""
    assert len(found) == len(rows) == len(INPUTS)
    for one, row in zip(found, rows, strict=True):
        assert one.body is not None
        vector, usage, _ = parse_vector(one.body, "test")
        assert vector == meant(row)
        assert all(map(math.isfinite, vector))
        assert usage is not None
        assert usage.input_tokens == usage.total_tokens


@pytest.mark.parametrize("seed", range(RUNS))
def test_mutated_vectors_of_openai_are_an_error_or_the_numbers_they_say(seed: int) -> None:
    rng, trials = random.Random(seed), Trials()
    for _ in range(EACH):
        body = mutated(rng, rng.choice(OPENAI))
        try:
            found = vector_recordings(HTTPReply(200, {}, body), INPUTS, "test")
        except ProviderError:
            trials.failed()
            continue
        rows = sorted(json.loads(body)["data"], key=lambda row: int(row["index"]))
        check(found, [row["embedding"] for row in rows])
        trials.answered(checked=True)
    trials.finish(share=0.1)


@pytest.mark.parametrize("seed", range(RUNS))
def test_mutated_vectors_of_ollama_are_an_error_or_the_numbers_they_say(seed: int) -> None:
    rng, trials = random.Random(seed), Trials()
    for _ in range(EACH):
        body = mutated(rng, rng.choice(OLLAMA))
        try:
            found = ollama_vectors(HTTPReply(200, {}, body), INPUTS, "test")
        except ProviderError:
            trials.failed()
            continue
        check(found, json.loads(body)["embeddings"])
        trials.answered(checked=True)
    trials.finish(share=0.1)
