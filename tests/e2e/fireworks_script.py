"""Runs in `.clients`: what fireworks-ai 0.x sends and makes of the answers, printed as JSON."""

import asyncio
import json
import os
import sys

from fireworks.client import AsyncFireworks, Fireworks, Model
from fireworks.client.error import AuthenticationError, InvalidRequestError

MODEL, KEY = sys.argv[1:3]


def refused(**arguments: object) -> str:
    try:
        Fireworks(api_key=arguments.pop("api_key", KEY)).embeddings.create(**arguments)
    except (AuthenticationError, InvalidRequestError) as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


async def asynchronous() -> list[float]:
    client = AsyncFireworks(api_key=KEY)
    answer = await client.embeddings.acreate(model=MODEL, input="hello world")
    return answer.data[0].embedding


def models() -> list[str] | None:
    # In strict mode this client refuses every key that it does not know, also Fireworks' own newer ones.
    return [model.id for model in Model.list().data] if os.environ["FIREWORKS_API_STRICT"] == "0" else None


answer = Fireworks(api_key=KEY).embeddings.create(model=MODEL, input=["hello world", "goodbye"])
print(
    json.dumps(
        {
            "vectors": [item.embedding for item in answer.data],
            "usage": [answer.usage.prompt_tokens, answer.usage.total_tokens],
            "async": asyncio.run(asynchronous()),
            "token ids": Fireworks(api_key=KEY).embeddings.create(model=MODEL, input=[7592, 2088]).data[0].embedding,
            "models": models(),
            "wrong key": refused(api_key="eg_wrong", model=MODEL, input="x"),
            "unknown model": refused(model="no/such-model", input="x"),
            "too long": refused(model=MODEL, input="word " * 1000),
        }
    )
)
