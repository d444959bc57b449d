"""Runs in `.clients`: what fireworks-ai 0.x makes of reranked documents, printed as JSON."""

import asyncio
import json
import sys

from fireworks.client import AsyncFireworks, Fireworks

MODEL, KEY, QUERY, *DOCUMENTS = sys.argv[1:]


async def asynchronous() -> object:
    return await AsyncFireworks(api_key=KEY).rerank.acreate(model=MODEL, query=QUERY, documents=DOCUMENTS)


answers = (
    Fireworks(api_key=KEY).rerank.create(model=MODEL, query=QUERY, documents=DOCUMENTS),
    asyncio.run(asynchronous()),
)
print(json.dumps([[[one.index, one.relevance_score, one.text] for one in answer.results] for answer in answers]))
