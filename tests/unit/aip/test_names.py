"""Resource names and ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.names import ResourcePattern, check_id

USERS = ResourcePattern("accounts/{account}/users/{user}")
CHECKPOINTS = ResourcePattern("accounts/{account}/rlorTrainerJobs/{job}/checkpoints/{checkpoint}")
POLICY = ResourcePattern("accounts/{account}/policySettings")


@pytest.mark.parametrize("value", ["a", "a1", "a-1", "a--b", "z" * 63, "a" + "-" * 61 + "9"])
def test_id(value: str) -> None:
    assert check_id(value, "userId") == value


@pytest.mark.parametrize(
    "value", ["", "1", "-a", "a-", "A", "aB", "a_b", "a.b", "a/b", "a b", "é", "a\n", "z" * 64, "a" * 10_000]
)
def test_id_that_a_user_may_not_choose(value: str) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^userId: .* is not an id: use 1 to 63 lower-case letters"
    ) as caught:
        check_id(value, "userId")
    assert caught.value.field == "userId"
    assert len(caught.value.message) < 250


NAMES = {
    "accounts/a/users/u": (USERS, {"account": "a", "user": "u"}),
    "accounts/-/users/-": (USERS, {"account": "-", "user": "-"}),
    "accounts/a/rlorTrainerJobs/j/checkpoints/4F6a.v1_x~2": (
        CHECKPOINTS,
        {"account": "a", "job": "j", "checkpoint": "4F6a.v1_x~2"},
    ),
    "accounts/a/policySettings": (POLICY, {"account": "a"}),
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items(), ids=NAMES.keys())
def test_name_has_ids(name: str, expected: tuple[ResourcePattern, dict[str, str]]) -> None:
    pattern, ids = expected
    assert pattern.parse(name) == ids
    assert pattern.format(**ids) == name
    assert pattern.ids == tuple(ids)


@pytest.mark.parametrize(
    "name",
    [
        *("", "accounts", "accounts/a", "accounts/a/users", "accounts/a/users/", "accounts//users/u", "users/u"),
        *("accounts/a/users/u/", "/accounts/a/users/u", "accounts/a/models/u", "accounts/a/users/u:get", "a" * 9_999),
        *(
            "accounts/a/users/..",
            "accounts/./users/u",
            "accounts/a/users/u\n",
            "Accounts/a/users/u",
            "accounts/a/users/é",
        ),
    ],
)
def test_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^parent: .* is not of the form accounts/{account}/users/{user}$"
    ) as caught:
        USERS.parse(name, field="parent")
    assert caught.value.field == "parent"
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("value", ["", "a/b", "..", ".a", "a:get", "a b", "é", "x" * 129])
def test_name_is_not_made_of_what_is_no_id(value: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^user: .* is not an id$") as caught:
        USERS.format(account="a", user=value)
    assert caught.value.field == "user"


@pytest.mark.parametrize("template", ["", "accounts/", "accounts/{Account}", "accounts/{a}{b}", "accounts/{a}:get"])
def test_pattern_that_is_none(template: str) -> None:
    with pytest.raises(ValueError, match="is no pattern of resource names"):
        ResourcePattern(template)


ids = st.text("azAZ09._~-", min_size=1, max_size=20).filter(lambda text: not text.startswith("."))


@given(ids, ids)
def test_formatted_name_comes_back(account: str, user: str) -> None:
    assert USERS.parse(USERS.format(account=account, user=user)) == {"account": account, "user": user}
