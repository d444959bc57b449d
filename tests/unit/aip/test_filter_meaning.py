"""What filters mean: checked against a message's fields, then judged on rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fields import FieldType, Kind
from embergate.aip.filtering import compile_filter
from embergate.aip.filtering.checked import And, Compare, FieldPath, HasKey, Not, Operator, Or
from tests.unit.aip.evaluate import matches
from tests.unit.aip.messages import ALIASES, FIELDS, INTEGER

JOB = {
    "name": "accounts/a/jobs/j",
    "display_name": "Run 7 *final*",
    "model": "accounts/a/models/m",
    "email": "ann@example.com",
    "state": "JOB_STATE_COMPLETED",
    "cluster_state": "STATE_UNSPECIFIED",
    "supports_serverless": True,
    "a": 1,
    "b": 0,
    "c": None,
    "p99_1": 5,
    "example_count": 2_997_000_000,
    "temperature": -0.5,
    "create_time": datetime(2026, 1, 1, 12, tzinfo=UTC),
    "timeout": timedelta(seconds=90),
    "status": {"code": "NOT_FOUND", "message": "No such model"},
    "job_progress": {"percent": 40, "last": None},
    "total_cost": {"currency_code": "USD", "units": 3, "nanos": 500_000_000},
    "annotations": {"team": "search", "empty": "", "app.io/name": "x", "k 1": "y", "*": "star"},
    "load_targets": {"cpu": 0.5},
    "schedules": {"night": {"cron": "0 0 * * *"}},
    "deployments": ["accounts/a/deployments/d", "two"],
    "sizes": [1, 2],
    "replicas": [
        {"zone": "x", "size": 1, "status": None, "labels": {}},
        {"zone": "y", "size": 2, "status": {"code": "OK", "message": ""}, "labels": {}},
    ],
    "metadata": {"free": 1},
}
# A job of which nothing is set.
EMPTY: dict[str, Any] = {}

# Filter -> whether JOB passes, whether EMPTY does.
MEANINGS: dict[str, tuple[bool, bool]] = {
    "": (True, True),
    " \n": (True, True),
    # the test vectors of the contract
    'state=JOB_STATE_COMPLETED AND model="accounts/a/models/m"': (True, False),
    "NOT state=JOB_STATE_FAILED": (True, True),
    "-state=JOB_STATE_FAILED": (True, True),
    'create_time>="2026-01-01T00:00:00Z"': (True, False),
    "createTime > 2026-01-01T00:00:00+02:00": (True, False),
    'display_name:"run"': (True, False),
    'display_name="Run*"': (True, False),
    'display_name="run*"': (False, False),
    'annotations.team="search"': (True, False),
    "annotations:team": (True, False),
    'deployments:"accounts/a/deployments/d"': (True, False),
    "job_progress.percent<50": (True, False),
    "(a=1 OR b=2) c=3": (False, False),
    "a=1 OR b=2 AND c=3": (False, False),
    "c=3 AND b=2 OR a=1": (False, False),
    # names
    "jobProgress.percent = 40": (True, False),
    '"state" = JOB_STATE_COMPLETED': (True, False),
    "`job_progress`.percent = 40": (True, False),
    "p991 = 5": (True, False),
    "principal = ann@example.com": (True, False),
    'reason : "no such"': (True, False),
    # enums
    "state = COMPLETED": (True, False),
    'state = "COMPLETED"': (True, False),
    "state : COMPLETED": (True, False),
    "state != COMPLETED": (False, False),
    "state != FAILED": (True, False),
    "cluster_state = READY": (False, False),
    "cluster_state = STATE_UNSPECIFIED": (True, False),
    # bools
    "supports_serverless = true": (True, False),
    "supportsServerless=false": (False, False),
    "supports_serverless != false": (True, False),
    "supports_serverless : true": (True, False),
    # numbers
    "a >= 1": (True, False),
    "a > 1": (False, False),
    "a <= 1": (True, False),
    "a < 1": (False, False),
    "a != 1": (False, False),
    "a : 1": (True, False),
    'a = "1"': (True, False),
    "example_count = 2.997e9": (True, False),
    "a > -30": (True, False),
    "a < 9223372036854775807": (True, False),
    "a > -9223372036854775808": (True, False),
    "b = 0e999999999999": (True, False),
    "b = -0.0": (True, False),
    "temperature < -0.25": (True, False),
    "temperature = -5e-1": (True, False),
    "temperature < 1e-999": (True, False),
    # times and durations
    "create_time = 2026-01-01T12:00:00Z": (True, False),
    "create_time = 2026-01-01T13:00:00.000000000+01:00": (True, False),
    'create_time = "2026-01-01t12:00:00z"': (True, False),
    "create_time < 2026-01-01T12:00:00.5Z": (True, False),
    "create_time >= 2026-01-01": (True, False),
    'create_time < "2026-01-02"': (True, False),
    "create_time : 2026-01-01T12:00:00Z": (True, False),
    "timeout = 90s": (True, False),
    'timeout > "89.999999999s"': (True, False),
    "timeout > -1.5s": (True, False),
    "timeout < 90.5s": (True, False),
    # strings
    "display_name > Rum": (True, False),
    "display_name < a": (True, False),
    "email = ANN@example.com": (False, False),
    "email != bob": (True, False),
    'display_name = "*final*"': (True, False),
    'display_name = "*\\*final\\*"': (True, False),
    'display_name = "Run 7 \\*final\\*"': (True, False),
    'display_name = "Run 7*"': (True, False),
    "display_name = Run*": (True, False),
    'display_name = "*7"': (False, False),
    'display_name != "Run*"': (False, False),
    'display_name != "*7"': (True, False),
    'NOT display_name = "*7"': (True, True),
    'display_name = "*"': (True, False),
    'email = "**"': (True, False),
    "model = accounts/a/models/*": (True, False),
    'email = "*.com"': (True, False),
    "email = *.com": (True, False),
    "email : EXAMPLE": (True, False),
    'email : "*example*"': (True, False),
    'display_name : "\\*FINAL"': (True, False),
    'display_name : ""': (True, False),
    'model = ""': (False, False),
    'email = "null"': (False, False),
    # bare literals
    "EXAMPLE": (True, False),
    '"run 7"': (True, False),
    "NOT nothing_of_this": (True, True),
    "such": (True, False),  # inside a message
    "example.com": (True, False),
    "exam*": (True, False),
    "star": (False, False),  # maps are not searched
    "COMPLETED": (False, False),  # nor are enums
    "run AND final": (True, False),
    "and": (False, False),
    # presence
    "a:*": (True, False),
    "b:*": (False, False),
    "c:*": (False, False),
    "NOT c:*": (True, True),
    "display_name:*": (True, False),
    "state:*": (True, False),
    "cluster_state:*": (False, False),
    "supports_serverless:*": (True, False),
    "create_time:*": (True, False),
    "timeout:*": (True, False),
    "status:*": (True, False),
    "job_progress.last:*": (False, False),
    "deployments:*": (True, False),
    "annotations:*": (True, False),
    "metadata:*": (True, False),
    "status:code": (True, False),
    "status:message": (True, False),
    "job_progress:last": (False, False),
    "job_progress:last.error": (False, False),
    # messages
    "status.code = NOT_FOUND": (True, False),
    'status.message : "model"': (True, False),
    "totalCost.units > 2": (True, False),
    "totalCost.units > 3": (False, False),
    "total_cost.currency_code = USD": (True, False),
    "job_progress.last.epoch = 1": (False, False),
    "job_progress.last.epoch != 1": (False, False),
    "job_progress.last.error.code != OK": (False, False),
    "NOT job_progress.last.epoch = 1": (True, True),
    "NOT job_progress.last.epoch != 1": (True, True),
    # maps
    "annotations:none": (False, False),
    "annotations.team:*": (True, False),
    "annotations.empty:*": (True, False),
    "annotations.none:*": (False, False),
    "annotations.team:search": (True, False),
    "annotations.team:sea": (False, False),
    'annotations.team="sea*"': (True, False),
    "annotations.team != search": (False, False),
    "annotations.none != search": (False, False),
    "NOT annotations.none = search": (True, True),
    "annotations.`k 1` = y": (True, False),
    'annotations."k 1" = y': (True, False),
    "annotations.app.io/name = x": (True, False),
    'annotations:"k 1"': (True, False),
    "annotations:app.io/name": (True, False),
    'annotations:"*"': (True, False),
    "load_targets.cpu > 0.4": (True, False),
    "load_targets.cpu : 0.5": (True, False),
    "schedules:night": (True, False),
    "schedules.night:*": (True, False),
    "schedules.day:*": (False, False),
    # lists
    "deployments:two": (True, False),
    "deployments:t": (False, False),
    "deployments:TWO": (False, False),
    "sizes:2": (True, False),
    "sizes:3": (False, False),
    "NOT sizes:3": (True, True),
    "replicas.zone:y": (True, False),
    "replicas.size:3": (False, False),
    "replicas.status.code:OK": (True, False),
    "replicas.status.code:NOT_FOUND": (False, False),
}


@pytest.mark.parametrize(("text", "expected"), MEANINGS.items(), ids=MEANINGS.keys())
def test_meaning(text: str, expected: tuple[bool, bool]) -> None:
    node = compile_filter(text, FIELDS, aliases=ALIASES)
    assert (matches(node, JOB), matches(node, EMPTY)) == expected


# Filter -> column, and what its message says.
REFUSED: dict[str, tuple[int, str]] = {
    # the contract's own
    "state=": (7, "a value after = is missing"),
    "foo=": (5, "a value after = is missing"),
    "(a=1": (1, "this ( is never closed"),
    "unknown_field=3": (1, "there is no field 'unknown_field'; there are name, display_name, model,"),
    "state=NOPE": (
        7,
        "not 'NOPE'; there are JOB_STATE_UNSPECIFIED, JOB_STATE_RUNNING, JOB_STATE_COMPLETED, JOB_STATE_FAI",
    ),
    'create_time="x"': (
        13,
        "create_time is a timestamp, not 'x'; write a timestamp with its offset, such as 2026-01-31T1",
    ),
    "a = = b": (5, "a value after = is missing: found ="),
    'display_name="x': (14, 'this " is never closed'),
    # names
    "crate_time>3": (1, "there is no field 'crate_time'; did you mean create_time?"),
    "createTim>3": (1, "there is no field 'createTim'; did you mean create_time?"),
    "princpal=x": (1, "did you mean principal?"),
    "b=1 AND status.cod = OK": (16, "there is no field 'cod' in status; did you mean code?"),
    "status:cod": (8, "there is no field 'cod' in status; did you mean code?"),
    "a.b=2": (3, "a is a whole number, which has no fields"),
    "sizes.foo:3": (7, "sizes is a list of elements without fields"),
    "replicas.zon:3": (10, "there is no field 'zon'; did you mean zone?"),
    "metadata.x:y": (10, "metadata is a free JSON object, which has no fields"),
    # values
    "state=ready": (7, "state is one of a fixed set of names, not 'ready'"),
    "state=complete": (7, "did you mean JOB_STATE_COMPLETED?"),
    "state=JOB_STATE_complete": (7, "did you mean JOB_STATE_COMPLETED?"),
    "cluster_state=redy": (15, "did you mean READY?"),
    "state=2": (7, "state is one of a fixed set of names, not '2'"),
    "supports_serverless=yes": (21, "supports_serverless is true or false, not 'yes'; write true or false"),
    "supports_serverless=True": (21, "write true or false"),
    "a=x": (3, "a is a whole number, not 'x'; write a number, such as 12, -0.5 or 2.997e9"),
    "a=1.5": (3, "write a whole number: the field holds nothing else"),
    "a=1e-99999999999999999999": (3, "write a whole number"),
    "a=9223372036854775808": (3, "the number does not fit into 64 bits"),
    "a=-9223372036854775809": (3, "the number does not fit into 64 bits"),
    "a=1e20": (3, "the number does not fit into 64 bits"),
    "a=1e999999999": (3, "the number is out of range"),
    "a=١": (3, "write a number"),
    "temperature<1e999": (13, "the number is out of range"),
    "temperature=NaN": (13, "only finite numbers can be compared"),
    "temperature<-Infinity": (13, "only finite numbers can be compared"),
    "temperature=0x10": (13, "write a number"),
    "a=true": (3, "write a number"),
    "create_time>2026-02-30": (13, "there is no such time"),
    "create_time>2026-01-01T25:00:00Z": (13, "there is no such time"),
    "create_time>2026-01-01T00:00:00+99:00": (13, "there is no such time"),
    "create_time>0001-01-01T00:00:00+01:00": (13, "there is no such time"),
    "create_time>2026-01-01T00:00:00": (13, "write a timestamp with its offset"),
    "create_time>5": (13, "write a timestamp with its offset"),
    "timeout>5": (9, "timeout is a duration, not '5'; write a duration in seconds, such as 20s or 1.5s"),
    "timeout>5m": (9, "write a duration in seconds"),
    "timeout>315576000001s": (9, "the duration is out of range"),
    # comparisons that a type has not
    "state>RUNNING": (6, "state is one of a fixed set of names, which has no order; compare it by = or !="),
    "supports_serverless<true": (20, "supports_serverless is true or false, which has no order"),
    "status=OK": (
        7,
        "status is a message, which = cannot compare; compare a field of it, such as status.code, or write s",
    ),
    "annotations=x": (
        12,
        "annotations is a map, which = cannot compare; compare an entry, annotations.key, or write annotati",
    ),
    "metadata=x": (9, "metadata is a free JSON object, which = cannot compare; write metadata:* for its presence"),
    "metadata:x": (10, "metadata is a free JSON object; only metadata:* can be asked"),
    "schedules.night=x": (
        16,
        "schedules.night is a message, which = cannot compare; write schedules.night:* for its presence",
    ),
    "schedules.night:x": (17, "schedules.night is a message; only schedules.night:* can be asked"),
    "schedules.night.cron:x": (17, "what is inside an entry of schedules cannot be compared"),
    "sizes=3": (6, "sizes is a list, whose elements are asked for by : as in sizes:3"),
    "replicas.zone=x": (14, "replicas is a list, whose elements are asked for by : as in replicas.zone:x"),
    "replicas:x": (10, "replicas has a message in each element; name a field of it that is a single value"),
    "replicas.labels:x": (17, "replicas.labels has a map in each element"),
    "replicas.labels.k:x": (10, "keys of maps inside the list replicas cannot be asked for"),
    "matrix:3": (8, "matrix has a list in each element"),
    'deployments:"a*"': (13, "a list's elements are compared whole; write \\* in quotes for a star"),
    "replicas.zone:*": (15, "a list's elements are compared whole"),
    # wildcards
    'display_name="a*b"': (14, "a * stands at the start or end of a text; write \\* in quotes for a star"),
    "display_name:a*b": (14, "a * stands at the start or end of a text"),
    "a*b": (1, "a * stands at the start or end of a text"),
    # null
    "c=null": (3, 'nothing equals null; write NOT c:* for unset, or "null" for the text'),
    "status!=null": (9, 'nothing equals null; write status:* for set, or "null" for the text'),
    "annotations.team:null": (18, "nothing equals null; write NOT annotations.team:* for unset"),
    # what AIP-160 has, and no message here
    "f(a)": (1, "there is no function f, nor any other"),
    "a=f(b)": (3, "there is no function f, nor any other"),
    "a=1 AND f(a) > 2": (9, "there is no function f, nor any other"),
    "a=(1 OR 2)": (3, "one value stands here; write (a = 1 OR a = 2) for a choice"),
    "a=1 && b=2": (5, "write AND for &&"),
    "a=1 || b=2": (5, "write OR for ||"),
}


@pytest.mark.parametrize(("text", "column", "message"), [(t, *e) for t, e in REFUSED.items()], ids=REFUSED.keys())
def test_error_names_the_column_and_the_mend(text: str, column: int, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        compile_filter(text, FIELDS, aliases=ALIASES)
    assert caught.value.field == "filter"
    first, shown, caret = caught.value.message.split("\n")
    assert first.startswith(f"filter, column {column}: ")
    assert message in first
    assert shown[2:] == text
    assert caret.index("^") == 2 + column - 1


@pytest.mark.parametrize(
    ("text", "column"),
    [
        (" ".join(["a=1"] * 100 + ["b=2"]), 401),
        (" OR ".join(["x"] * 51), 251),
        ("NOT q " * 51, 305),
    ],
    ids=["comparisons", "words", "negations"],
)
def test_number_of_comparisons_is_bounded(text: str, column: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"column {column}: more than 100 comparisons"):
        compile_filter(text, FIELDS, searched=("id", "status.message"))
    assert (
        compile_filter(text[: column - 1].strip().removesuffix("OR").removesuffix("NOT"), FIELDS, searched=("id", "b"))
        is not None
    )


def test_quoted_text_as_long_as_a_filter_leaves_room_for_the_caret() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        compile_filter(f'annotations."{"k" * 1_900}" = null', FIELDS)
    assert caught.value.message.endswith("^")
    assert len(caught.value.message) < 1_000


def compare(name: str, value: int) -> Compare:
    return Compare(FieldPath((name,), INTEGER), Operator.EQ, value)


def test_or_binds_tighter_than_and() -> None:
    expected = And((Or((compare("a", 1), compare("b", 2))), compare("c", 3)))
    assert compile_filter("a=1 OR b=2 AND c=3", FIELDS) == expected
    assert compile_filter("(a=1 OR b=2) c=3", FIELDS) == expected


def test_nested_ands_are_one() -> None:
    expected = And((compare("a", 1), compare("b", 2), compare("c", 3)))
    assert compile_filter("a=1 (b=2 AND c=3)", FIELDS) == expected
    assert compile_filter("a=1 b=2 AND c=3", FIELDS) == expected


def test_negation_stays_outside() -> None:
    assert compile_filter("-(a=1 AND b=2)", FIELDS) == Not(And((compare("a", 1), compare("b", 2))))


def test_key_of_a_map_is_presence_of_an_entry() -> None:
    expected = HasKey(FieldPath(("annotations",), FIELDS["annotations"]), "team")
    assert compile_filter("annotations:team", FIELDS) == expected
    assert compile_filter("annotations.team:*", FIELDS) == expected


def test_real_field_goes_before_an_alias() -> None:
    assert compile_filter("a=1", FIELDS, aliases={"a": "b"}) == compare("a", 1)


def test_right_side_is_never_a_field() -> None:
    assert matches(compile_filter("email = model", FIELDS), {"email": "model", "model": "x"})


def test_message_without_fields_has_none_to_suggest() -> None:
    with pytest.raises(InvalidArgumentError, match="there is no field 'b' in a; there are none"):
        compile_filter("a.b=1", {"a": FieldType(Kind.MESSAGE)})
    with pytest.raises(InvalidArgumentError, match=r"which = cannot compare; write a:\* for"):
        compile_filter("a=1", {"a": FieldType(Kind.MESSAGE)})


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (("KIND_A", "KIND_B"), "A", "KIND_A"),
        (("KIND_A", "KIND_AB"), "AB", "KIND_AB"),
        (("A", "X_A"), "A", "A"),
        (("ONE_ONLY",), "ONLY", "ONE_ONLY"),
    ],
)
def test_enum_may_leave_out_the_prefix_that_all_names_share(names: tuple[str, ...], text: str, expected: str) -> None:
    field_type = FieldType(Kind.ENUM, enum_names=names)
    assert compile_filter(f"e={text}", {"e": field_type}) == Compare(
        FieldPath(("e",), field_type), Operator.EQ, expected
    )


@pytest.mark.parametrize(("names", "message"), [((), "there are none"), (("FP16", "BF16"), "there are FP16, BF16")])
def test_enum_without_a_shared_prefix(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        compile_filter("e=XYZZY", {"e": FieldType(Kind.ENUM, enum_names=names)})


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "NOT ", "-", "(", "NOT ("]),
            st.sampled_from([*FIELDS, "status.code", "annotations.k", "replicas.zone", "jobProgress.last", "nope"]),
            st.sampled_from(["=", "!=", "<", "<=", ">", ">=", ":", " "]),
            st.sampled_from(
                ["1", "x", '"a*"', "*", "COMPLETED", "true", "null", "2026-01-01", "20s", "-1.5", "code", "f(x)"]
            ),
            st.sampled_from([" ", " AND ", " OR ", ") "]),
        ),
        max_size=6,
    )
)
def test_whatever_is_checked_can_be_judged(terms: list[tuple[str, ...]]) -> None:
    try:
        node = compile_filter("".join(map("".join, terms)), FIELDS)
    except InvalidArgumentError:
        return
    assert matches(node, JOB) in {True, False}
    assert matches(node, EMPTY) in {True, False}
