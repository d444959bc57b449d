"""Passwords: argon2id, off the event loop, a few at a time, and as long for a user who is unknown as for one who is not.

Source: https://www.rfc-editor.org/rfc/rfc9106
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from embergate.aip.errors import InvalidArgumentError
from embergate.errors import OverloadedError
from embergate.ids import new_token

MIN_CHARACTERS: Final = 12
MAX_CHARACTERS: Final = 1024
# Each takes a core for a tenth of a second, and 64 MiB.
PARALLEL: Final = 2
MAX_WAITING: Final = 50
SECONDS_EACH: Final = 0.2
T = TypeVar("T")


def check_new_password(password: str, field: str) -> None:
    """Raise InvalidArgumentError, naming the field, unless the password may be chosen."""
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise InvalidArgumentError(f"{field} must have {MIN_CHARACTERS} to {MAX_CHARACTERS} characters", field=field)


class Passwords:
    """Hashes passwords and compares them with hashes."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """Hash with argon2-cffi's own parameters, unless told otherwise."""
        self._hasher = hasher or PasswordHasher()
        self._places = asyncio.Semaphore(PARALLEL)
        self._num_waiting = 0
        # What the password of a user who has none is compared with.
        self._hash_of_nobody = ""

    async def hash(self, password: str) -> str:
        """Return the hash to store."""
        return await self._run(lambda: self._hasher.hash(password))

    async def fits(self, password_hash: str | None, password: str) -> bool:
        """Tell whether the password is the one of this hash. None, of a user without one, takes as long and is False.

        Raises: OverloadedError if too many wait already.
        """
        return await self._run(lambda: self._verify(password_hash or "", password))

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made with other parameters than now."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        if not self._hash_of_nobody:
            self._hash_of_nobody = self._hasher.hash(new_token())
        try:
            return self._hasher.verify(password_hash or self._hash_of_nobody, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._num_waiting >= MAX_WAITING:
            raise OverloadedError(
                "too many logins at once; try again", retry_after_s=MAX_WAITING * SECONDS_EACH / PARALLEL
            )
        self._num_waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(work)
        finally:
            self._num_waiting -= 1
