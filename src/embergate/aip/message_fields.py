"""What filters, orders and masks may name in a message, read off its annotations."""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Union, get_args, get_origin

from embergate.aip.fields import FieldType, Kind
from embergate.aip.message import INPUT_ONLY, Message, ProtoEnum, behaviors

SCALARS: Final = {
    str: Kind.STRING,
    bool: Kind.BOOL,
    int: Kind.INTEGER,
    float: Kind.NUMBER,
    datetime: Kind.TIMESTAMP,
    timedelta: Kind.DURATION,
}


@lru_cache
def fields_of(message_type: type[Message]) -> Mapping[str, FieldType]:
    """Return the fields that a reader can see, by their snake_case names."""
    return {
        name: _type_of(field.annotation)
        for name, field in message_type.model_fields.items()
        if INPUT_ONLY not in behaviors(message_type, name)
    }


def _type_of(annotation: Any) -> FieldType:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _type_of(arguments[0])
    if origin in (Union, types.UnionType):
        return _type_of(next(argument for argument in arguments if argument is not type(None)))
    if origin is list:
        return FieldType(Kind.LIST, element=_type_of(arguments[0]))
    if origin is dict:
        return FieldType(Kind.STRUCT) if arguments[1] is Any else FieldType(Kind.MAP, element=_type_of(arguments[1]))
    if issubclass(annotation, ProtoEnum):
        return FieldType(Kind.ENUM, enum_names=tuple(member.value for member in annotation))
    if issubclass(annotation, Message):
        return FieldType(Kind.MESSAGE, fields=fields_of(annotation))
    return FieldType(SCALARS[annotation])
