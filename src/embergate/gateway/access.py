"""Who may do what in an account. An operator may do in every account what its admins may."""

from __future__ import annotations

import enum
from typing import Final

from embergate.errors import ForbiddenError
from embergate.web.caller import Caller, Role


class Permission(enum.Enum):
    """What an operation asks of its caller."""

    ITSELF = "manage itself"
    READ = "read the account's resources"
    WRITE = "create and change the account's resources"
    OWN_KEYS = "manage its own API keys"
    ADMIN = "manage the account"


PERMISSIONS: Final = {
    Role.ADMIN: frozenset(Permission),
    Role.USER: frozenset({Permission.ITSELF, Permission.READ, Permission.WRITE, Permission.OWN_KEYS}),
    Role.CONTRIBUTOR: frozenset({Permission.ITSELF, Permission.READ, Permission.WRITE}),
    Role.INFERENCE_USER: frozenset({Permission.ITSELF}),
}


def has_permission(caller: Caller, permission: Permission) -> bool:
    """Tell whether the caller may do this in its own account."""
    return caller.is_operator or permission in PERMISSIONS[caller.role]


def require(caller: Caller, permission: Permission, *, account_id: str | None = None) -> None:
    """Raise ForbiddenError unless the caller may do this in the account; None is the caller's own.

    What is in a foreign account, or whether there is one, is never told. Source: https://google.aip.dev/211
    """
    if account_id is not None and account_id != caller.account and not caller.is_operator:
        raise ForbiddenError("this API key or session has no access to the account")
    if not has_permission(caller, permission):
        raise ForbiddenError(f"the role {caller.role} may not {permission.value}; ask an admin of the account")


def outranks(caller: Caller, role: Role, *, is_operator: bool) -> bool:
    """Tell whether the caller has at least the rights of a user with this role."""
    if is_operator or caller.is_operator:
        return caller.is_operator
    return PERMISSIONS[caller.role] >= PERMISSIONS[role]
