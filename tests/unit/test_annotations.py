"""What callers mark their calls with, and that an account has no more marks a day than can be added up."""

from __future__ import annotations

import pytest

from embergate.errors import InvalidRequestError
from embergate.gateway.usage.annotations import OTHER, AnnotationBounds
from embergate.web.metering import Annotations, annotations_of


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Annotations()),
        (["team=a, project = b c ,environment="], Annotations("a", "b c", "")),
        (["team=a=b,colour=red,,"], Annotations("a=b")),
        (["team=a", "project=b,team=c"], Annotations("c", "b")),
        (["team=größe"], Annotations("größe")),
        (["team=" + "größe".encode().decode("latin-1")], Annotations("größe")),
        (["team=" + "北京".encode().decode("latin-1")], Annotations("北京")),
        (["team=" + "x" * 128], Annotations("x" * 128)),
    ],
)
def test_header_is_read(headers: list[str], expected: Annotations) -> None:
    assert annotations_of(headers) == expected


@pytest.mark.parametrize("value", ["x" * 129, "a\tb", "a\x00b"])
def test_what_cannot_be_kept_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequestError, match="team must have at most 128 printable characters"):
        annotations_of([f"team={value}"])


def test_account_has_its_own_marks_and_the_rest_is_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embergate.gateway.usage.annotations.MAX_A_DAY", 2)
    bounds = AnnotationBounds()
    a, b, c = (Annotations(team) for team in "abc")
    assert [bounds.bound("acme", one) for one in (a, b, c, a, Annotations())] == [a, b, OTHER, a, Annotations()]
    assert bounds.bound("globex", c) == c
