"""google.rpc codes."""

from __future__ import annotations

import pytest

from embergate.aip.message import parse_message, write_message
from embergate.aip.status import CODE_OF_HTTP_STATUS, Code, Status

# Source: google/rpc/code.proto.
CODES = [
    ("OK", 0),
    ("CANCELLED", 1),
    ("UNKNOWN", 2),
    ("INVALID_ARGUMENT", 3),
    ("DEADLINE_EXCEEDED", 4),
    ("NOT_FOUND", 5),
    ("ALREADY_EXISTS", 6),
    ("PERMISSION_DENIED", 7),
    ("RESOURCE_EXHAUSTED", 8),
    ("FAILED_PRECONDITION", 9),
    ("ABORTED", 10),
    ("OUT_OF_RANGE", 11),
    ("UNIMPLEMENTED", 12),
    ("INTERNAL", 13),
    ("UNAVAILABLE", 14),
    ("DATA_LOSS", 15),
    ("UNAUTHENTICATED", 16),
]


@pytest.mark.parametrize(("name", "number"), CODES)
def test_code_has_its_number(name: str, number: int) -> None:
    assert Code(name).number == number
    assert Code(number) is Code(name)  # type: ignore[arg-type]


def test_there_are_no_other_codes() -> None:
    assert [code.value for code in Code] == [name for name, _ in CODES]


@pytest.mark.parametrize(
    ("http_status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (405, "UNIMPLEMENTED"),  # as grpc-gateway says it of a method that a path does not have
        (408, "DEADLINE_EXCEEDED"),
        (409, "ALREADY_EXISTS"),
        (413, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
    ],
)
def test_http_status_stands_for_a_code(http_status: int, name: str) -> None:
    assert CODE_OF_HTTP_STATUS[http_status] is Code(name)


def test_status_of_a_resource_is_written_with_the_codes_name() -> None:
    assert write_message(Status()) == {"code": "OK", "message": ""}
    assert write_message(Status(code=Code.NOT_FOUND, message="gone")) == {"code": "NOT_FOUND", "message": "gone"}
    assert parse_message(Status, {"code": 8}) == Status(code=Code.RESOURCE_EXHAUSTED)
