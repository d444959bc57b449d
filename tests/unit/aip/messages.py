"""The message that the filters and orders of these tests are about."""

from __future__ import annotations

from typing import Final

from embergate.aip.fields import FieldType, Kind

STRING: Final = FieldType(Kind.STRING)
INTEGER: Final = FieldType(Kind.INTEGER)
NUMBER: Final = FieldType(Kind.NUMBER)
TIMESTAMP: Final = FieldType(Kind.TIMESTAMP)
JOB_STATES: Final = ("JOB_STATE_UNSPECIFIED", "JOB_STATE_RUNNING", "JOB_STATE_COMPLETED", "JOB_STATE_FAILED")
STATES: Final = ("STATE_UNSPECIFIED", "CREATING", "READY")
STATUS: Final = FieldType(
    Kind.MESSAGE, fields={"code": FieldType(Kind.ENUM, enum_names=("OK", "NOT_FOUND")), "message": STRING}
)
REPLICA: Final = FieldType(
    Kind.MESSAGE,
    fields={"zone": STRING, "size": INTEGER, "status": STATUS, "labels": FieldType(Kind.MAP, element=STRING)},
)
FIELDS: Final = {
    "name": STRING,
    "display_name": STRING,
    "model": STRING,
    "email": STRING,
    "state": FieldType(Kind.ENUM, enum_names=JOB_STATES),
    "cluster_state": FieldType(Kind.ENUM, enum_names=STATES),
    "supports_serverless": FieldType(Kind.BOOL),
    "a": INTEGER,
    "b": INTEGER,
    "c": INTEGER,
    "p99_1": INTEGER,
    "example_count": INTEGER,
    "temperature": NUMBER,
    "create_time": TIMESTAMP,
    "timeout": FieldType(Kind.DURATION),
    "status": STATUS,
    "job_progress": FieldType(
        Kind.MESSAGE,
        fields={"percent": INTEGER, "last": FieldType(Kind.MESSAGE, fields={"error": STATUS, "epoch": INTEGER})},
    ),
    "total_cost": FieldType(Kind.MESSAGE, fields={"currency_code": STRING, "units": INTEGER, "nanos": INTEGER}),
    "annotations": FieldType(Kind.MAP, element=STRING),
    "load_targets": FieldType(Kind.MAP, element=NUMBER),
    "schedules": FieldType(Kind.MAP, element=FieldType(Kind.MESSAGE, fields={"cron": STRING})),
    "deployments": FieldType(Kind.LIST, element=STRING),
    "sizes": FieldType(Kind.LIST, element=INTEGER),
    "replicas": FieldType(Kind.LIST, element=REPLICA),
    "matrix": FieldType(Kind.LIST, element=FieldType(Kind.LIST, element=INTEGER)),
    "metadata": FieldType(Kind.STRUCT),
}
ALIASES: Final = {"principal": "email", "reason": "status.message"}
