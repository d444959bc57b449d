"""What pydantic finds wrong with a body in OpenAI's shape, as the error that a caller is told."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from embergate.errors import InvalidRequestError

MAX_NAME_CHARACTERS: Final = 200


def first_problem(error: ValidationError) -> InvalidRequestError:
    """Return the first problem, naming the field and what it must be."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"] if part != "[key]")[:MAX_NAME_CHARACTERS]
    if problem["type"] == "missing":
        return InvalidRequestError(f"{field} is required", param=field)
    if problem["type"] == "none_required":
        return InvalidRequestError(f"{field} is not supported here; leave it out", param=field)
    if problem["type"] == "extra_forbidden":
        return InvalidRequestError(f'unknown field "{field}"', param=field)
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return InvalidRequestError(f"{field}: {message}" if field else f"the body: {message}", param=field or None)
