"""The gateway's part of the OpenAPI document: the schemas of bodies, which handlers read themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic.json_schema import models_json_schema

from embergate.gateway.body import INPUT_SUFFIX, PART_SUFFIX
from embergate.gateway.edge import Operation


def operation_of(route: RouteContext) -> Operation | None:
    """Return the operation that a route was declared with, or None for a route of another plane."""
    for dependency in route.dependant.dependencies:
        owner = getattr(dependency.call, "__self__", None)
        if isinstance(owner, Operation):
            return owner
    return None


def operations_of(app: FastAPI) -> Iterator[Operation]:
    """Yield every operation of the gateway, in the order of the routes."""
    for route in iter_route_contexts(app.routes):
        operation = operation_of(route)
        if operation is not None:
            yield operation


def describe_path_parameters(paths: Mapping[str, dict[str, Any]]) -> None:
    """Add the parameters of a path that a handler does not ask for itself, since the edge has looked at them."""
    for path, item in paths.items():
        for operation in item.values():
            parameters = operation.setdefault("parameters", [])
            known = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
            for name in re.findall(r"\{(\w+)(?::path)?\}", path):
                if name not in known:
                    parameters.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})


def body_schemas(app: FastAPI) -> dict[str, Any]:
    """Return the schemas of what the operations take, by the names that their routes refer to."""
    taken = {operation.takes for operation in operations_of(app) if operation.takes is not None}
    models = [(message, "validation") for message in sorted(taken, key=lambda message: message.__name__)]
    template = "#/components/schemas/{model}" + INPUT_SUFFIX
    _, schemas = models_json_schema(models, ref_template=template)  # type: ignore[arg-type]
    found = schemas.get("$defs", {})
    whole = {f"{name}{INPUT_SUFFIX}": schema for name, schema in found.items()}
    parts = {
        f"{operation.takes.__name__}{PART_SUFFIX}": {
            key: value for key, value in found[operation.takes.__name__].items() if key != "required"
        }
        for operation in operations_of(app)
        if operation.takes is not None and operation.takes_part
    }
    return whole | parts
