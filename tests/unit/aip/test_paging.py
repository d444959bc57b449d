"""Page sizes, and tokens that nobody can change or use for another request."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.paging import MAX_TOKEN_CHARACTERS, PageTokens, SortValue, page_size_of, request_digest

OLD_KEY, NEW_KEY = b"old-" * 8, b"new-" * 8
TOKENS = PageTokens([NEW_KEY])
DIGEST = request_digest({"filter": "a=1", "orderBy": "", "parent": "accounts/a"})
POSITION = ("Ünïcode", 7, -1.5, True, None, datetime(2026, 1, 31, 12, 30, 0, 250, tzinfo=UTC), "accounts/a/jobs/j")
NOT_OURS = "pageToken: it is not a page token"
BAD_SIGNATURE = "pageToken: its signature is not valid"


@pytest.mark.parametrize(
    ("asked", "expected"), [(None, 50), (0, 50), (1, 1), (50, 50), (200, 200), (201, 200), (10**30, 200)]
)
def test_page_size(asked: int | None, expected: int) -> None:
    assert page_size_of(asked, 50, 200) == expected


def test_negative_page_size_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^pageSize: -1 is negative; leave it out for 50") as caught:
        page_size_of(-1, 50, 200)
    assert caught.value.field == "pageSize"


def test_digest_is_of_the_parts_and_not_of_their_order() -> None:
    assert request_digest({"a": "1", "b": "2"}) == request_digest({"b": "2", "a": "1"})


@pytest.mark.parametrize("other", [{"a": "1"}, {"a": "1", "b": ""}, {"a": "2", "b": "1"}, {"a": "1b", "": "2"}, {}])
def test_digest_tells_requests_apart(other: dict[str, str]) -> None:
    assert request_digest({"a": "1", "b": "2"}) != request_digest(other)


def test_token_is_compact_and_fit_for_a_url() -> None:
    token = TOKENS.encode(["2026-01-31T12:00:00Z", "accounts/a/jobs/j"], DIGEST)
    assert token.isascii()
    assert token.replace("-", "").replace("_", "").isalnum()
    assert len(token) < 120


def refuse(token: str, message: str, digest: bytes = DIGEST, tokens: PageTokens = TOKENS) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{message}") as caught:
        tokens.decode(token, digest)
    assert caught.value.field == "pageToken"


sort_values = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.datetimes(timezones=st.just(UTC)),
)


@given(st.lists(sort_values, max_size=9), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4))
def test_position_comes_back(position: list[SortValue], parts: dict[str, str]) -> None:
    digest = request_digest(parts)
    found = TOKENS.decode(TOKENS.encode(position, digest), digest)
    assert found == tuple(position)
    assert [type(value) for value in found] == [type(value) for value in position]


def test_time_comes_back_in_utc() -> None:
    there = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    (found,) = TOKENS.decode(TOKENS.encode([there], DIGEST), DIGEST)
    assert isinstance(found, datetime)
    assert found.isoformat() == "2025-12-31T23:00:00+00:00"


def test_token_of_another_request_is_refused() -> None:
    token = TOKENS.encode(POSITION, DIGEST)
    message = "pageToken: it belongs to another request; filter, orderBy and parent must be those of the first page"
    refuse(token, message, request_digest({"filter": "a=2", "orderBy": "", "parent": "accounts/a"}))


def test_token_of_another_server_is_refused() -> None:
    refuse(PageTokens([OLD_KEY]).encode(POSITION, DIGEST), BAD_SIGNATURE)


def test_keys_rotate() -> None:
    rotated = PageTokens([NEW_KEY, OLD_KEY])
    assert rotated.decode(PageTokens([OLD_KEY]).encode(POSITION, DIGEST), DIGEST) == POSITION
    assert TOKENS.decode(rotated.encode(POSITION, DIGEST), DIGEST) == POSITION


@pytest.mark.parametrize("keys", [[], [b"short"], [NEW_KEY, b"x" * 15]])
def test_weak_keys_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="at least one key, of at least 16 bytes"):
        PageTokens(keys)


MALFORMED = {
    "": NOT_OURS,
    "2": NOT_OURS,
    "page 2": NOT_OURS,
    "AQ==": NOT_OURS,
    "AR": NOT_OURS,  # decodes to what AQ does
    "é": NOT_OURS,
    "AAAA\n": NOT_OURS,
    "A" * (MAX_TOKEN_CHARACTERS + 1): NOT_OURS,
    "AQ": BAD_SIGNATURE,
    "AQAA": BAD_SIGNATURE,
    "AgAA": "pageToken: it was made by another version of this server; start again at the first page",
}


@pytest.mark.parametrize(("token", "message"), MALFORMED.items(), ids=[ascii(token[:20]) for token in MALFORMED])
def test_malformed_token_is_refused(token: str, message: str) -> None:
    refuse(token, message)


def test_token_with_any_flipped_bit_is_refused() -> None:
    token = TOKENS.encode(POSITION, DIGEST)
    content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for bit in range(len(content) * 8):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        refuse(base64.urlsafe_b64encode(changed).rstrip(b"=").decode(), "pageToken: it")


@pytest.mark.parametrize("num_letters", [0, 1, 2])
def test_token_with_any_flipped_bit_of_its_text_is_refused(num_letters: int) -> None:
    token = TOKENS.encode(["x" * num_letters], DIGEST)  # three lengths: base64 has three kinds of ends
    for bit in range(len(token) * 8):
        changed = bytearray(token.encode())
        changed[bit // 8] ^= 1 << bit % 8
        refuse(changed.decode("latin-1"), "pageToken: it")


@given(st.text(max_size=200))
def test_any_text_is_refused(token: str) -> None:
    refuse(token, "pageToken: it")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), datetime(2026, 1, 1), "x" * MAX_TOKEN_CHARACTERS])
def test_value_that_no_row_is_sorted_by_is_a_bug(value: SortValue) -> None:
    with pytest.raises(ValueError):
        TOKENS.encode([value], DIGEST)
