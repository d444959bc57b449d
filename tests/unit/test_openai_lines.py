"""A batch's results in OpenAI's shape: whatever the pieces that they come in, and whatever a row is called."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.errors import InvalidRequestError
from embergate.gateway.batch_jobs.results import answer_line, error_line
from embergate.gateway.batch_jobs.rows import Row
from embergate.gateway.openai.lines import AnswerLines, ErrorLines, Translator, num_bytes_more
from embergate.ids import new_id
from embergate.web.bulk import BulkAnswer

UID = new_id()
BODY = b'{"object":"list","data":[{"embedding":[0.1,-2.5e-8]}],"model":"}\\"response\\":","usage":{}}'
ODD_IDS = ["a", 'x","response":{', "\\", '"}', "\n", "é\u2028😀", "\x00" * 512, "}"]


def translate(translator: Translator, content: bytes, piece: int) -> bytes:
    pieces = [content[start : start + piece] for start in range(0, len(content), piece)]
    return b"".join([*map(translator.take, pieces), translator.finish()])


@pytest.mark.parametrize("piece", [1, 2, 7, 64, 100_000])
def test_answers_are_wrapped_and_keep_every_byte(piece: int) -> None:
    content = b"".join(answer_line(Row(one, {}), BulkAnswer(BODY)) for one in ODD_IDS)
    made = translate(AnswerLines(UID), content, piece)
    rows = [json.loads(line) for line in made.split(b"\n")[:-1]]
    assert [row["custom_id"] for row in rows] == ODD_IDS
    assert made.count(BODY) == len(ODD_IDS)
    assert len(made) == len(content) + len(ODD_IDS) * num_bytes_more(UID)
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == len(ODD_IDS)
    for row in rows:
        response = {"status_code": 200, "request_id": row["id"], "body": json.loads(BODY)}
        assert row == {"id": row["id"], "custom_id": row["custom_id"], "response": response, "error": None}
    assert translate(AnswerLines(UID), content, 11) == made  # with the same ids whenever it is read


@given(st.text(max_size=512), st.integers(1, 50))
def test_any_row_can_be_read_back(custom_id: str, piece: int) -> None:
    made = translate(AnswerLines(UID), answer_line(Row(custom_id, {}), BulkAnswer(BODY)), piece)
    assert json.loads(made)["custom_id"] == custom_id


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_errors_are_told_in_both_places_where_clients_look(piece: int) -> None:
    errors = [InvalidRequestError("input is too long", param="input"), InvalidRequestError('no "}', param=None)]
    content = b"".join(error_line(Row(f"row-{number}", {}), error) for number, error in enumerate(errors))
    rows = [json.loads(line) for line in translate(ErrorLines(UID), content, piece).splitlines()]
    for number, (row, error) in enumerate(zip(rows, errors, strict=True)):
        assert (row["custom_id"], row["response"]["status_code"]) == (f"row-{number}", 400)
        assert row["error"] == {"code": "INVALID_REQUEST", "message": error.message}
        assert row["response"]["body"]["error"] == {**row["error"], "param": error.param, "type": "error"}
        assert row["id"] == row["response"]["request_id"]
    assert rows[0]["id"] != rows[1]["id"]


@pytest.mark.parametrize("piece", [1, 9, 100_000])
@pytest.mark.parametrize("kind", [AnswerLines, ErrorLines])
def test_what_no_job_has_written_passes_as_it_is(kind: type[AnswerLines] | type[ErrorLines], piece: int) -> None:
    content = (
        b'{"a": 1}\n\n{"custom_id": "x"}\nnot JSON\n[1]\n' + b'{"custom_id":"' + b"x" * 9000 + b'","response":1}\n'
    )
    assert translate(kind(UID), content, piece) == content
