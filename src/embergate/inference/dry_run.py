"""What a request would be, would cost and would meet, told without running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from starlette.datastructures import Headers
from starlette.responses import Response

from embergate.engine.registry import ServedModel
from embergate.errors import EmbergateError, InvalidRequestError
from embergate.inference.deps import Deps
from embergate.web.errors import JSONResponse
from embergate.web.metering import Tab, UsageKind

DRY_RUN_HEADER: Final = "x-embergate-dry-run"
VALUES: Final = {"true": True, "false": False}
NANOS_PER_UNIT: Final = 1_000_000_000
MILLION: Final = 1_000_000
CURRENCY: Final = "USD"
LIMITS: Final = ("requests", "tokens-prompt")


def is_dry_run(headers: Headers) -> bool:
    """Tell whether nothing is to be run. Raises: InvalidRequestError for a header that says neither true nor false."""
    text = headers.get(DRY_RUN_HEADER, "false").strip()
    if text not in VALUES:
        raise InvalidRequestError(f"{DRY_RUN_HEADER} must be true or false", param=DRY_RUN_HEADER)
    return VALUES[text]


def described_by(schema: str) -> dict[str, Any]:
    """Return what the OpenAPI document says of a request that can be run dry, and whose body is read by hand."""
    header = {
        "name": "X-Embergate-Dry-Run",
        "in": "header",
        "description": "`true`: run nothing, and tell what the request would cost and meet.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"parameters": [header], "requestBody": {"required": True, "content": content}}


class Described(Protocol):
    """What a dry run tells of a request besides its tokens."""

    @property
    def model_name(self) -> str:
        """The model as the request names it."""
        ...

    @property
    def usage(self) -> UsageKind:
        """What it is for."""
        ...

    @property
    def inputs_name(self) -> str:
        """What its field of texts is called."""
        ...


async def answer_dry_run(
    deps: Deps, served: ServedModel, request: Described, tab: Tab, counts: Sequence[int | None]
) -> Response:
    """Answer with the tokens of each input, the price and cost, what is left of limits, and what would refuse it now."""
    max_tokens = served.model.spec.max_tokens
    inputs = [
        {"index": index, "tokens": count, "is_too_long": count is None or count > max_tokens}
        for index, count in enumerate(counts)
    ]
    num_tokens = sum(count for count in counts if count is not None)
    quote = await tab.quote(num_tokens)
    too_long = [one["index"] for one in inputs if one["is_too_long"]]
    refusal = _too_long(request.inputs_name, too_long, max_tokens) if too_long else quote.refusal
    content = {
        "object": f"{request.usage.name.lower()}.dry_run",
        "model": request.model_name,
        "inputs": inputs,
        "max_input_tokens": max_tokens,
        "prompt_tokens": num_tokens,
        "price_per_million_tokens": _money(quote.price_nanos * MILLION),
        "price_nanos_per_token": quote.price_nanos,
        "cost": _money(quote.cost_nanos),
        "cost_nanos": quote.cost_nanos,
        "limits": {name.replace("-", "_"): _left(quote.headers, name) for name in LIMITS},
        "expected_queue_wait_s": round(deps.engine.runner.waiting_s, 3),
        "refusal": _told(refusal) if refusal is not None else None,
    }
    return JSONResponse(content, headers={**quote.headers, DRY_RUN_HEADER: "true"})


def _too_long(name: str, indexes: Sequence[Any], max_tokens: int) -> InvalidRequestError:
    first, others = indexes[0], len(indexes) - 1
    more = f", and {others} more are" if others else " is"
    return InvalidRequestError(f"{name}[{first}]{more} longer than this model's limit of {max_tokens} tokens")


def _told(refusal: EmbergateError) -> dict[str, Any]:
    return {"status": refusal.http_status, "code": refusal.code, "message": refusal.message}


def _money(amount_nanos: int) -> dict[str, Any]:
    units, nanos = divmod(amount_nanos, NANOS_PER_UNIT)
    return {"currencyCode": CURRENCY, "units": str(units), "nanos": nanos}


def _left(headers: Mapping[str, str], name: str) -> dict[str, int] | None:
    """Return a limit a minute and what is left of it; None where there is none."""
    maximum = headers.get(f"x-ratelimit-limit-{name}")
    if maximum is None:
        return None
    return {"limit": int(maximum), "remaining": int(headers[f"x-ratelimit-remaining-{name}"])}
