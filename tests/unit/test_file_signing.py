"""Signed URLs: what they allow, and that they allow nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
import time_machine

from embergate.errors import ForbiddenError, InvalidRequestError, RangeNotSatisfiableError
from embergate.gateway.files.ranges import Span, asked_range, check_length_range, sent_range
from embergate.gateway.files.signing import PURPOSE, Grant, verify
from embergate.gateway.files.urls import FileUrls, PlaneUrlSigner, safe_name
from embergate.web.keyring import Keyring

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
OLD, NEW, OTHER = (bytes([number]) * 32 for number in range(3))
KEYS = Keyring([OLD]).keys(PURPOSE)
PUT = Grant("PUT", "a/b.bin", int((NOW + HOUR).timestamp()), size=5, upload="u1", sha256="0" * 64)


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def query_of(grant: Grant, key: bytes = KEYS[0]) -> list[tuple[str, str]]:
    return parse_qsl(grant.query(key))


def urls(*masters: bytes, base: str = "http://test") -> FileUrls:
    return PlaneUrlSigner(Keyring(masters)).at(base)


def test_url_that_was_signed_is_what_it_says() -> None:
    assert verify(KEYS, "PUT", "a/b.bin", query_of(PUT)) == PUT
    get = Grant("GET", "a/b.bin", PUT.expires_at_s, filename="Umläute & more.jsonl")
    assert verify(KEYS, "GET", "a/b.bin", query_of(get)) == get


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "put", ""])
def test_url_is_of_one_method(method: str) -> None:
    with pytest.raises(ForbiddenError):
        verify(KEYS, method, "a/b.bin", query_of(PUT))


@pytest.mark.parametrize("key", ["a/b.bin2", "a", "a/b", "b.bin", "", "a/b.bin/", "../a/b.bin", "a//b.bin", "A/b.bin"])
def test_url_is_of_one_key(key: str) -> None:
    with pytest.raises(ForbiddenError):
        verify(KEYS, "PUT", key, query_of(PUT))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("expires", str(PUT.expires_at_s + 1)),
        ("expires", "-1"),
        ("expires", "1e12"),
        ("expires", "٣" * 10),
        ("size", "6"),
        ("size", ""),
        ("upload", "u2"),
        ("upload", "u1\nx"),
        ("sha256", "1" * 64),
        ("filename", "x"),
        ("signature", "A" * 43),
        ("signature", ""),
        ("signature", "ä" * 43),
        ("signature", "\ud800"),
    ],
)
def test_nothing_in_a_url_can_be_changed(name: str, value: str) -> None:
    changed = dict(query_of(PUT)) | {name: value}
    with pytest.raises(ForbiddenError, match="not valid"):
        verify(KEYS, "PUT", "a/b.bin", changed.items())


@pytest.mark.parametrize("name", ["expires", "size", "upload", "sha256", "signature"])
def test_nothing_in_a_url_can_be_left_out_or_said_twice(name: str) -> None:
    query = query_of(PUT)
    with pytest.raises(ForbiddenError):
        verify(KEYS, "PUT", "a/b.bin", [(key, value) for key, value in query if key != name])
    with pytest.raises(ForbiddenError):
        verify(KEYS, "PUT", "a/b.bin", [*query, (name, dict(query)[name])])


def test_what_a_url_does_not_know_is_refused() -> None:
    with pytest.raises(ForbiddenError):
        verify(KEYS, "PUT", "a/b.bin", [*query_of(PUT), ("x", "1")])
    with pytest.raises(ForbiddenError):
        verify(KEYS, "PUT", "a/b.bin", [])


def test_every_field_is_signed() -> None:
    others = {
        "method": "GET",
        "key": "other",
        "expires_at_s": 1,
        "size": 6,
        "upload": "u2",
        "sha256": "1" * 64,
        "filename": "f",
    }
    assert others.keys() == {field.name for field in fields(Grant)}
    signatures = {replace(PUT, **{name: value}).signed_by(KEYS[0]) for name, value in others.items()}  # type: ignore[arg-type]
    assert len(signatures | {PUT.signed_by(KEYS[0])}) == len(others) + 1


def test_url_expires(clock: time_machine.Traveller) -> None:
    clock.move_to(NOW + HOUR - timedelta(seconds=1))
    assert verify(KEYS, "PUT", "a/b.bin", query_of(PUT)) == PUT
    clock.move_to(NOW + HOUR)
    with pytest.raises(ForbiddenError, match="expired"):
        verify(KEYS, "PUT", "a/b.bin", query_of(PUT))


def test_url_of_an_old_key_is_good_as_long_as_the_key_is_known() -> None:
    signed = query_of(PUT)
    rotated = Keyring([NEW, OLD]).keys(PURPOSE)
    assert verify(rotated, "PUT", "a/b.bin", signed) == PUT
    assert verify(rotated, "PUT", "a/b.bin", query_of(PUT, rotated[0])) == PUT
    for masters in ([NEW], [OTHER, NEW]):
        with pytest.raises(ForbiddenError):
            verify(Keyring(masters).keys(PURPOSE), "PUT", "a/b.bin", signed)


def test_key_of_another_purpose_signs_nothing() -> None:
    with pytest.raises(ForbiddenError):
        verify(KEYS, "PUT", "a/b.bin", query_of(PUT, Keyring([OLD]).keys("page-token")[0]))


async def test_urls_are_below_the_base_that_the_client_knows() -> None:
    upload = await urls(NEW, OLD, base="https://embeddings.example/").upload_url("a/b.bin", size=5, expires_in=HOUR)
    assert upload.startswith("https://embeddings.example/files/a/b.bin?expires=")
    grant = verify(Keyring([NEW]).keys(PURPOSE), "PUT", "a/b.bin", parse_qsl(urlsplit(upload).query))
    assert (grant.size, grant.expires_at_s, grant.sha256) == (5, PUT.expires_at_s, None)
    public = PlaneUrlSigner(Keyring([OLD]), "https://public.example/base").at("http://inner:8000/")
    download = await public.download_url("a/b.bin", filename="x", expires_in=HOUR)
    assert download.startswith("https://public.example/base/files/a/b.bin?")


async def test_each_upload_is_one_of_its_own_unless_it_is_named() -> None:
    made = [await urls(OLD).upload_url("k", size=5, expires_in=HOUR) for _ in range(2)]
    named = [await urls(OLD).upload_url("k", size=5, expires_in=HOUR, upload="set-3") for _ in range(2)]
    assert (len(set(made)), len(set(named))) == (2, 1)


@pytest.mark.parametrize("key", ["", "../x", "a b", "a?b", "a#b", "a%2fb"])
async def test_url_of_what_is_no_key_is_not_made(key: str) -> None:
    with pytest.raises(InvalidRequestError):
        await urls(OLD).upload_url(key, size=5, expires_in=HOUR)
    with pytest.raises(InvalidRequestError):
        await urls(OLD).download_url(key, filename="x", expires_in=HOUR)


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("data.jsonl", "data.jsonl"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ('a"b\r\nset-cookie: x', "a_b__set-cookie_ x"),
        ("C:\\x\\y.exe", "C__x_y.exe"),
        (".bashrc", "bashrc"),
        ("日本語.jsonl", "日本語.jsonl"),
        ("a\u202egpj.exe", "a_gpj.exe"),
        ("x" * 300 + ".jsonl", "x" * 194 + ".jsonl"),
        ("\ud800", "_"),
        ("...", ""),
    ],
)
def test_file_name_holds_nothing_that_misleads(given: str, safe: str) -> None:
    assert safe_name(given) == safe


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=2-", Span(2, 10)),
        ("bytes=2-99", Span(2, 10)),
        ("Bytes=-3", Span(7, 10)),
        ("bytes=-99", Span(0, 10)),
        ("bytes=5-3", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_range_that_is_asked_for(header: str | None, span: Span | None) -> None:
    assert asked_range(header, 10) == span


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=99-100", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_range_of_nothing_is_refused(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiableError) as caught:
        asked_range(header, size)
    assert caught.value.headers == {"content-range": f"bytes */{size}"}


@pytest.mark.parametrize(
    ("header", "span"),
    [("bytes 0-9/10", Span(0, 10)), ("bytes 3-5/*", Span(3, 6)), ("bytes */10", None), ("bytes */*", None)],
)
def test_part_that_is_sent(header: str, span: Span | None) -> None:
    assert sent_range(header, 10) == span


@pytest.mark.parametrize(
    "header",
    ["", "bytes 0-9/11", "bytes */9", "bytes 5-4/10", "bytes 0-10/10", "bytes 0-/10", "0-9/10", "bytes -1-5/10"],
)
def test_part_that_lies_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequestError):
        sent_range(header, 10)


def test_length_range_of_google_is_kept_to() -> None:
    for allowed in (None, "10,10", "0,10", "5, 20"):
        check_length_range(allowed, 10)
    for refused in ("11,12", "0,9", "10", "a,b", "", "-1,10"):
        with pytest.raises(InvalidRequestError):
            check_length_range(refused, 10)
