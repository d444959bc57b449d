"""A batch job's results as OpenAI's clients read them, line by line on the way out: no second copy is kept.

Source: https://platform.openai.com/docs/api-reference/batch/request-output
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, Literal, Protocol

import orjson

from embergate.errors import InvalidRequestError
from embergate.gateway.datasets.jsonl import Lines
from embergate.storage.objects.protocol import Objects

# How the job writes a line, and OpenAI's around the same bytes. NOTE: within a JSON string there is no bare quote, so the
# first place that looks like the end of `custom_id` is it.
BEGIN: Final = b'{"custom_id":'
MIDDLE: Final = b',"response":'
END: Final = b"}"
OPENAI_MIDDLE: Final = b',"response":{"status_code":200,"request_id":'
OPENAI_END: Final = b'},"error":null}'
# A line's beginning up to its answer: 512 characters, each written as `\u0000` at most.
MAX_HEAD_BYTES: Final = 8_192


class Translator(Protocol):
    """Takes a file's bytes as they come, and gives those of another."""

    def take(self, piece: bytes) -> bytes:
        """Translate the next bytes, as far as can be."""
        ...

    def finish(self) -> bytes:
        """Return what is left."""
        ...


class AnswerLines:
    """Answers: however long a line is, little of it is held. Of a line that no job has written nothing is changed."""

    def __init__(self, uid: str) -> None:
        """Begin with the first line of the output with this uid."""
        self._uid = uid
        self._number = 0
        # Where in its line the next byte is: before the answer, in it, or in what no job has written.
        self._where: Literal["head", "answer", "other"] = "head"
        self._held = b""

    def take(self, piece: bytes) -> bytes:
        """See `Translator`."""
        *ended, rest = piece.split(b"\n")
        found = []
        for part in ended:
            found += [self._more(part), self._end(), b"\n"]
        return b"".join([*found, self._more(rest)])

    def finish(self) -> bytes:
        """See `Translator`."""
        return self._end()

    def _more(self, part: bytes) -> bytes:
        held = self._held + part
        if self._where == "answer":
            self._held = held[-1:]  # it may be the line's last
            return held[:-1]
        if self._where == "other":
            return part
        cut = held.find(MIDDLE, 0, MAX_HEAD_BYTES) if held.startswith(BEGIN) else -1
        if cut >= 0:
            self._where, self._held = "answer", b""
            head = _head(self._uid, self._number, held[len(BEGIN) : cut])
            return head + self._more(held[cut + len(MIDDLE) :])
        if len(held) > MAX_HEAD_BYTES:
            self._where, self._held = "other", b""
            return held
        self._held = held
        return b""

    def _end(self) -> bytes:
        held, where = self._held, self._where
        self._held, self._where = b"", "head"
        self._number += 1
        return OPENAI_END if where == "answer" and held == END else held


class ErrorLines:
    """Errors of rows that could not be answered."""

    def __init__(self, uid: str) -> None:
        """Begin with the first line of the output with this uid."""
        self._uid = uid
        self._number = 0
        self._lines = Lines()

    def take(self, piece: bytes) -> bytes:
        """See `Translator`."""
        return b"".join(self._line(line) for line in self._lines.take(piece))

    def finish(self) -> bytes:
        """See `Translator`."""
        return b"".join(self._line(line) for line in self._lines.finish())

    def _line(self, line: bytes) -> bytes:
        request_id = f"{_request_id(self._uid, self._number)}e"
        self._number += 1
        try:
            row = orjson.loads(line)
            custom_id, error = row["custom_id"], row["error"]
            said = {"code": error["code"], "message": error["message"]}
        except (ValueError, KeyError, TypeError):  # no job has written it
            return line + b"\n"
        response = {
            "status_code": InvalidRequestError.http_status,  # what else a row may fail with is tried again
            "request_id": request_id,
            "body": {"error": error},
        }
        return orjson.dumps({"id": request_id, "custom_id": custom_id, "response": response, "error": said}) + b"\n"


async def translated(objects: Objects, key: str, translator: Translator) -> AsyncGenerator[bytes, None]:
    """Yield an object's translation. Raises: NotFoundError; UnavailableError."""
    async with aclosing(objects.read(key)) as pieces:
        async for piece in pieces:
            yield translator.take(piece)
    yield translator.finish()


def num_bytes_more(uid: str) -> int:
    """Return by how much the line of an answer grows."""
    return len(_head(uid, 0, b"")) + len(OPENAI_END) - len(BEGIN) - len(MIDDLE) - len(END)


def _head(uid: str, number: int, custom_id: bytes) -> bytes:
    request_id = orjson.dumps(_request_id(uid, number))
    return b'{"id":' + request_id + b',"custom_id":' + custom_id + OPENAI_MIDDLE + request_id + b',"body":'


def _request_id(uid: str, number: int) -> str:
    """Return what a line is called, whenever it is read; each is as long as the others."""
    return f"batch_req_{uid}{number:08x}"
