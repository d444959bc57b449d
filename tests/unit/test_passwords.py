"""Passwords: what may be chosen, how they are compared, and how many at a time."""

from __future__ import annotations

import asyncio
import threading
from typing import Literal

import pytest
from argon2 import PasswordHasher

from embergate.aip.errors import InvalidArgumentError
from embergate.errors import OverloadedError
from embergate.gateway.sessions.passwords import MAX_WAITING, PARALLEL, Passwords, check_new_password

PASSWORD = "correct horse battery"


class Hasher(PasswordHasher):
    """A quick one, which counts what it verifies and may hold it up."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.gate = threading.Event()
        self.gate.set()
        self.num_running = self.most_running = self.num_verified = 0
        self._lock = threading.Lock()

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - the name is argon2's
        with self._lock:
            self.num_running += 1
            self.num_verified += 1
            self.most_running = max(self.most_running, self.num_running)
        assert self.gate.wait(30)
        with self._lock:
            self.num_running -= 1
        return super().verify(hash, password)


async def test_password_fits_its_own_hash_only() -> None:
    passwords = Passwords(Hasher())
    stored = await passwords.hash(PASSWORD)
    assert PASSWORD not in stored
    assert stored.startswith("$argon2id$")
    assert await passwords.fits(stored, PASSWORD)
    assert not await passwords.fits(stored, PASSWORD + " ")
    assert not await passwords.fits(stored, "")
    assert await passwords.hash(PASSWORD) != stored


@pytest.mark.parametrize("stored", [None, "", "no hash at all", "$argon2id$v=19$m=8,t=1,p=1$"])
async def test_hash_that_is_none_fits_nothing_after_the_same_work(stored: str | None) -> None:
    hasher = Hasher()
    passwords = Passwords(hasher)
    assert not await passwords.fits(stored, PASSWORD)
    assert hasher.num_verified == 1


async def test_no_password_fits_the_user_who_is_not_there() -> None:
    passwords = Passwords(Hasher())
    assert not await passwords.fits(None, "")
    assert not await passwords.fits(None, passwords._hash_of_nobody)


async def test_few_are_compared_at_a_time_and_a_crowd_is_sent_away() -> None:
    hasher = Hasher()
    passwords = Passwords(hasher)
    stored = await passwords.hash(PASSWORD)
    hasher.gate.clear()
    waiting = [asyncio.create_task(passwords.fits(stored, PASSWORD)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await passwords.fits(stored, PASSWORD)
    hasher.gate.set()
    assert all(await asyncio.gather(*waiting))
    assert hasher.most_running <= PARALLEL
    assert await passwords.fits(stored, PASSWORD)


@pytest.mark.parametrize("length", [0, 11, 1025])
def test_password_of_this_length_is_refused(length: int) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        check_new_password("é" * length, "newPassword")
    assert refused.value.field == "newPassword"


@pytest.mark.parametrize("length", [12, 1024])
def test_password_of_this_length_may_be_chosen(length: int) -> None:
    check_new_password("é" * length, "newPassword")
