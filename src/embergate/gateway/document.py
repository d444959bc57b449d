"""The gateway's part of the OpenAPI document: the schemas of bodies, which handlers read themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from embergate.gateway.body import INPUT_SUFFIX
from embergate.gateway.edge import Operation


def operation_of(route: BaseRoute) -> Operation | None:
    """Return the operation that a route was declared with, or None for a route of another plane."""
    for dependency in route.dependencies if isinstance(route, APIRoute) else []:
        owner = getattr(dependency.dependency, "__self__", None)
        if isinstance(owner, Operation):
            return owner
    return None


def body_schemas(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Return the schemas of what the routes take, by the names that the routes refer to."""
    taken = {operation.takes for route in routes if (operation := operation_of(route)) and operation.takes}
    models = [(message, "validation") for message in sorted(taken, key=lambda message: message.__name__)]
    template = "#/components/schemas/{model}" + INPUT_SUFFIX
    _, schemas = models_json_schema(models, ref_template=template)  # type: ignore[arg-type]
    return {f"{name}{INPUT_SUFFIX}": schema for name, schema in schemas.get("$defs", {}).items()}
