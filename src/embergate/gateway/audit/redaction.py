"""What of a request may be written down. In doubt a value is left out: a trail is read by more people than a secret is.

- A body's field that only a client sets (INPUT_ONLY), or that is called like a secret, is never written down.
- Of a field that the message does not have only the name is: it may be a secret under a misspelt name.
- What comes back from either database is exactly what was stored: the trail's seals are over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from embergate.aip.message import INPUT_ONLY, Message, behaviors, message_in, names_on_the_wire

# Values under these names are never written down, wherever in a request they stand.
SECRET_NAMES: Final = frozenset(
    {
        *("key", "value", "apikey", "secret", "password", "currentpassword", "newpassword"),
        *("token", "refreshtoken", "accesstoken", "idtoken"),
    }
)
# In a query: what an OpenID Connect provider gives a browser to bring along.
SECRET_PARAMETERS: Final = frozenset({"code", "state"})
REDACTED: Final = "[redacted]"
MAX_PAYLOAD_BYTES: Final = 16_384
MAX_PART_BYTES: Final = 2_048
MAX_DEPTH: Final = 32
# From here on a float is written with an exponent, which PostgreSQL's JSON gives back as a whole number.
EXPONENT_FROM: Final = 1e16


def redact_body(body: Any, message_type: type[Message]) -> Any:
    """Return a copy of a request's body, which may be anything, with what its message knows and nothing secret."""
    if isinstance(body, list):
        return [redact_body(item, message_type) for item in body]
    if not isinstance(body, Mapping):
        return REDACTED
    names = names_on_the_wire(message_type)
    return {key: _redact_field(key, value, message_type, names.get(key)) for key, value in body.items()}


def _redact_field(key: str, value: Any, message_type: type[Message], name: str | None) -> Any:
    if name is None or INPUT_ONLY in behaviors(message_type, name):
        return REDACTED
    inner = message_in(message_type, name)
    if inner is not None and value is not None:
        return redact_body(value, inner)
    return REDACTED if _is_secret(key) else redact(value)


def redact_query(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of a request's query without secrets."""
    return {
        storable(name): REDACTED if name in SECRET_PARAMETERS or _is_secret(name) else storable(value)
        for name, value in parameters.items()
    }


def redact(value: Any, depth: int = 0) -> Any:
    """Return a copy of what no message describes, such as a query, without what is called like a secret."""
    if depth > MAX_DEPTH:
        return REDACTED
    if isinstance(value, Mapping):
        return {storable(key): REDACTED if _is_secret(key) else redact(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, depth + 1) for item in value]
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float):
        # + 0.0 makes a zero of a negative zero, which PostgreSQL's JSON does not know either.
        return value + 0.0 if abs(value) < EXPONENT_FROM else repr(value)
    return value


def storable(text: str, max_characters: int | None = None) -> str:
    """Return a text that both databases take: bounded, encodable, without NUL."""
    return text[:max_characters].encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def bounded(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload; where it is too large to keep, of its large parts only the sizes."""
    sizes = {name: len(orjson.dumps(part)) for name, part in payload.items()}
    if sum(sizes.values()) <= MAX_PAYLOAD_BYTES:
        return payload
    return {
        name: part if sizes[name] <= MAX_PART_BYTES else {"omittedBytes": sizes[name]} for name, part in payload.items()
    }


def _is_secret(name: str) -> bool:
    return name.lower().replace("_", "").replace("-", "") in SECRET_NAMES
