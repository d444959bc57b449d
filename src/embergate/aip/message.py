"""Messages: what a resource or a request holds, read from and written to proto3 JSON.

- Names are lowerCamelCase on the wire; snake_case is understood as well, but not both for one field.
- An unknown field is an error that names it; null is the same as leaving a field out.
- What the server alone sets is dropped on the way in; what only a client sets is dropped on the way out.
- On the way out every field is there: zero values too, null for an unset message or timestamp.

Source: https://protobuf.dev/programming-guides/json/ and https://google.aip.dev/203
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Final, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fields import lower_camel

MAX_MAP_ENTRIES: Final = 100
_FROM_CLIENT: Final = {"from_client": True}


@dataclass(frozen=True)
class Behavior:
    """Who may set a field, and when: a marker in its annotation, shown in the OpenAPI document."""

    name: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the marker to the field's JSON schema."""
        document = handler(schema)
        document["x-field-behavior"] = [*document.get("x-field-behavior", []), self.name]
        if self is OUTPUT_ONLY:
            document["readOnly"] = True
        if self is INPUT_ONLY:
            document["writeOnly"] = True
        return document


REQUIRED: Final = Behavior("REQUIRED")
OUTPUT_ONLY: Final = Behavior("OUTPUT_ONLY")
IMMUTABLE: Final = Behavior("IMMUTABLE")
INPUT_ONLY: Final = Behavior("INPUT_ONLY")

# A oneof's member or a proto3-optional field: left out where it is not set.
ABSENT_IF_UNSET: Final = Field(exclude_if=lambda value: value is None)
# Never written: the client's own secret.
NEVER_SHOWN: Final = Field(exclude=True)


class ProtoEnum(enum.StrEnum):
    """An enum read by name or by number, its members standing in the order of their numbers, and written by name."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        members = list(cls)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(members):
            return members[value]
        return None


class Message(BaseModel):
    """A structured value of the API."""

    model_config = ConfigDict(
        alias_generator=lower_camel,
        populate_by_name=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_assignment=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _read_proto_json(cls, data: Any, info: ValidationInfo) -> Any:
        if not (info.context or {}).get("from_client"):
            return data
        if not isinstance(data, Mapping):
            raise PydanticCustomError("message_type", "expected a JSON object")
        names = names_on_the_wire(cls)
        values: dict[str, Any] = {}
        for key, value in data.items():
            name = names.get(key)
            if name is None:
                raise PydanticCustomError("unknown_field", 'unknown field "{field}"', {"field": str(key)[:100]})
            if name in values:
                raise PydanticCustomError("given_twice", 'field "{field}" is given twice', {"field": lower_camel(name)})
            values[name] = value
        return {
            lower_camel(name): value
            for name, value in values.items()
            if value is not None and OUTPUT_ONLY not in behaviors(cls, name)
        }

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say what is read, or what is written: in Python every field has a default, as in proto3, and none is null."""
        reference = handler(schema)
        document = handler.resolve_ref_schema(reference)
        properties = document.get("properties", {})
        if handler.mode == "serialization":  # none is required: a read mask may leave any of them out
            for name in cls.model_fields:
                if INPUT_ONLY in behaviors(cls, name):
                    unseen = {"type": "string", "writeOnly": True, "x-field-behavior": [INPUT_ONLY.name]}
                    properties.setdefault(lower_camel(name), unseen)
            return reference
        required = [lower_camel(name) for name in cls.model_fields if REQUIRED in behaviors(cls, name)]
        if required:
            document["required"] = required
        for name in cls.model_fields:
            if OUTPUT_ONLY in behaviors(cls, name):
                properties[lower_camel(name)] = {"readOnly": True, "description": "Set by the server; ignored here."}
            elif REQUIRED not in behaviors(cls, name):
                properties[lower_camel(name)] = _nullable(properties[lower_camel(name)])
        return reference


def _nullable(document: JsonSchemaValue) -> JsonSchemaValue:
    if {"type": "null"} in document.get("anyOf", []):
        return document
    outer: dict[str, Any] = {key: document.pop(key) for key in ("default", "title", "description") if key in document}
    return {"anyOf": [document, {"type": "null"}], **outer}


M = TypeVar("M", bound=Message)


def parse_message(message_type: type[M], data: Any) -> M:
    """Read what a client sent, already parsed from JSON. `model_fields_set` of the result tells what it named.

    Raises: InvalidArgumentError naming the first field that is wrong and what it must be.
    """
    try:
        return message_type.model_validate(data, context=_FROM_CLIENT)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0]) from error


def _explain(problem: ErrorDetails) -> InvalidArgumentError:
    field = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    if problem["type"] in {"unknown_field", "given_twice"}:
        return InvalidArgumentError(f"{message} in {field}" if field else message, field=field or None)
    return InvalidArgumentError(f"{field or 'the body'}: {message[0].lower()}{message[1:]}", field=field or None)


def require_fields(message: Message, prefix: str = "") -> None:
    """Raise InvalidArgumentError naming the first REQUIRED field of `message` that is missing or empty."""
    for name in type(message).model_fields:
        if REQUIRED in behaviors(type(message), name) and getattr(message, name) in (None, "", [], {}):
            field = prefix + lower_camel(name)
            raise InvalidArgumentError(f"{field} is required", field=field)


def has_required_fields(message_type: type[Message]) -> bool:
    """Tell whether a create needs any field."""
    return any(REQUIRED in behaviors(message_type, name) for name in message_type.model_fields)


def write_message(message: Message) -> dict[str, Any]:
    """Return proto3 JSON, ready for a JSON encoder."""
    return message.model_dump(mode="json", by_alias=True)


@lru_cache
def names_on_the_wire(message_type: type[Message]) -> Mapping[str, str]:
    """Return how fields may be spelled, each spelling with the field's name."""
    spellings: dict[str, str] = {}
    for name in message_type.model_fields:
        spellings[name] = spellings[lower_camel(name)] = name
    return spellings


@lru_cache
def behaviors(message_type: type[Message], name: str) -> frozenset[Behavior]:
    """Return a field's markers."""
    return frozenset(item for item in message_type.model_fields[name].metadata if isinstance(item, Behavior))


@lru_cache
def message_in(message_type: type[Message], name: str) -> type[Message] | None:
    """Return the message type that a field is, or a list's elements are."""
    return next(_messages_in(message_type.model_fields[name].annotation), None)


def _messages_in(annotation: Any) -> Iterator[type[Message]]:
    if isinstance(annotation, type) and issubclass(annotation, Message):
        yield annotation
    if get_origin(annotation) is not dict:  # a map's keys are no fields
        for argument in get_args(annotation):
            yield from _messages_in(argument)


def mutable_fields(message_type: type[Message]) -> Iterator[str]:
    """Yield the fields that an update may change."""
    for name in message_type.model_fields:
        if not behaviors(message_type, name) & {OUTPUT_ONLY, IMMUTABLE}:
            yield name


# Free text of a map, bounded.
StringMap = Annotated[
    dict[Annotated[str, Field(max_length=256)], Annotated[str, Field(max_length=1024)]],
    Field(max_length=MAX_MAP_ENTRIES),
]
