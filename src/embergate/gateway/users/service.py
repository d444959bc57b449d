"""The rules of users: roles, addresses, and the admin that an account cannot do without."""

from __future__ import annotations

import re
import string
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fieldmask import update_message
from embergate.aip.message import require_fields
from embergate.aip.names import check_id
from embergate.clock import now
from embergate.errors import AlreadyExistsError, FailedPreconditionError, ForbiddenError
from embergate.gateway.access import PERMISSIONS, Permission, has_permission, outranks
from embergate.gateway.accounts import store as accounts
from embergate.gateway.accounts.schemas import ResourceState
from embergate.gateway.call import Call
from embergate.gateway.users import store
from embergate.gateway.users.schemas import User
from embergate.gateway.users.store import USERS
from embergate.ids import new_short_id
from embergate.storage.tables.accounts import UserRow
from embergate.web.caller import Role

EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,255}")
ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# The address that a service account acts under; nobody can receive mail there.
SERVICE_ADDRESS: Final = "{user}@{account}.sa.fireworks.ai"


async def create(call: Call, user_id: str, user: User, *, is_operator: bool = False) -> User:
    """Add a user to the account. Raises: AlreadyExistsError for an id or address that is taken."""
    require_fields(user)
    role = parse_role(user.role)
    _check_preset(user)
    account = await accounts.get(call.db, call.account_id, for_update=True)
    row = await add(call.db, account.id, user_id or _id_from(user.email), user, role, is_operator=is_operator)
    call.event.resource = USERS.name_of(row)
    return USERS.message_of(row)


async def add(
    db: AsyncSession, account_id: str, user_id: str, user: User, role: Role, *, is_operator: bool = False
) -> UserRow:
    """Insert a user; the command line and the first start come here too."""
    check_id(user_id, "userId")
    if await store.find(db, account_id, user_id) is not None:
        raise AlreadyExistsError(f"there is a user {user_id!r} already", param="userId")
    email = SERVICE_ADDRESS.format(user=user_id, account=account_id) if user.service_account else user.email
    await _check_email(db, account_id, email, user_id)
    moment = now()
    row = UserRow(
        account_id=account_id,
        id=user_id,
        display_name=user.display_name,
        email=email,
        email_key=email_key(email),
        service_account=user.service_account,
        role=role.value,
        is_operator=is_operator,
        password_hash=None,
        state=ResourceState.READY.value,
        create_time=moment,
        update_time=moment,
    )
    db.add(row)
    await db.flush()
    return row


async def update(call: Call, user_id: str, patch: User, mask: str | None) -> User:
    """Change what the patch names.

    Raises: FailedPreconditionError if it would leave the account without an admin, or a lesser role would leave an
        operator what it is.
    """
    # NOTE: the account's row is the lock that keeps two admins from demoting each other at the same time.
    await accounts.get(call.db, call.account_id, for_update=True)
    row = await store.get(call.db, call.account_id, user_id)
    if row.is_operator and not call.caller.is_operator:
        raise ForbiddenError("only an operator may change an operator")
    before = USERS.message_of(row)
    after = update_message(before, patch, mask)
    require_fields(after)
    role = parse_role(after.role)
    _check_preset(after)
    if after.service_account != before.service_account:
        raise InvalidArgumentError("serviceAccount cannot be changed; create another user", field="serviceAccount")
    if after.email != before.email:
        if row.service_account:
            raise InvalidArgumentError("the address of a service account is given by the server", field="email")
        await _check_email(call.db, call.account_id, after.email, user_id)
    if row.is_operator and PERMISSIONS[role] < PERMISSIONS[Role(row.role)]:
        raise FailedPreconditionError(
            f"{user_id} is an operator, with all rights whatever its role; take that away first: "
            f"`embergate users set-operator {call.account_id} {user_id} --no-operator`"
        )
    if (
        row.role == Role.ADMIN.value
        and role is not Role.ADMIN
        and not await store.count_admins(call.db, call.account_id, besides=user_id)
    ):
        raise FailedPreconditionError(f"{user_id} is the account's last admin; make another user an admin first")
    row.display_name, row.role, row.email, row.email_key = (
        after.display_name,
        role.value,
        after.email,
        email_key(after.email),
    )
    row.update_time = now()
    call.after_commit.append(call.deps.authenticator.forget)
    return USERS.message_of(row)


async def managed(call: Call, user_id: str, belongings: str) -> UserRow:
    """Return the user whose keys or sessions a call is about: the caller itself, or whom it may manage.

    Raises: ForbiddenError, which names the belongings, if it may not; NotFoundError.
    """
    is_own = (call.account_id, user_id) == (call.caller.account, call.caller.user)
    if not is_own and not has_permission(call.caller, Permission.ADMIN):
        raise ForbiddenError(f"only an admin may manage another user's {belongings}")
    user = await store.get(call.db, call.account_id, user_id)
    if not outranks(call.caller, Role(user.role), is_operator=user.is_operator):
        raise ForbiddenError(f"the user has more rights than you, so you may not manage the user's {belongings}")
    return user


async def set_operator(call: Call, user_id: str, *, is_operator: bool) -> User:
    """Make a user an operator, or one no more; the role stays as it is. An operator's act. Raises: NotFoundError."""
    await accounts.get(call.db, call.account_id, for_update=True)
    row = await store.get(call.db, call.account_id, user_id)
    row.is_operator, row.update_time = is_operator, now()
    call.event.resource = USERS.name_of(row)
    call.after_commit.append(call.deps.authenticator.forget)
    return USERS.message_of(row)


def parse_role(text: str) -> Role:
    """Return the role of this name. Raises: InvalidArgumentError naming those there are."""
    try:
        return Role(text)
    except ValueError:
        known = ", ".join(Role)
        raise InvalidArgumentError(
            f"role: there is no role {text[:40]!r}; choose one of {known}", field="role"
        ) from None


def email_key(email: str) -> str:
    """Return an address as it is compared: ASCII letters without regard to case, every other character as it is.

    NOTE: no more than that. Unicode's case folding makes one of `straße` and `strasse`, which are two people's addresses, and
    whoever owns one would log in as the other.
    """
    return email.translate(ASCII_LOWER)


def _check_preset(user: User) -> None:
    if user.permission_preset:
        raise InvalidArgumentError(
            "permissionPreset: it belongs to the role custom, which there is none of; leave it empty",
            field="permissionPreset",
        )


def check_address(email: str) -> None:
    """Raise InvalidArgumentError unless this looks like an email address."""
    if not EMAIL.fullmatch(email):
        raise InvalidArgumentError("email: expected an address such as ada@example.org", field="email")


async def _check_email(db: AsyncSession, account_id: str, email: str, user_id: str) -> None:
    check_address(email)
    if await store.has_email(db, account_id, email_key(email), besides=user_id):
        raise AlreadyExistsError("another user of the account has this email", param="email")


def _id_from(email: str) -> str:
    """Return an id that is made of the address's name, `ada.l@example.org` -> `ada-l`."""
    slug = re.sub(r"[^a-z0-9]+", "-", email.partition("@")[0].lower()).strip("-")[:40].strip("-")
    return slug if slug[:1].isalpha() else new_short_id("user-")
