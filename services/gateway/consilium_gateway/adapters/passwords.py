"""Passwords under argon2id (RFC 9106) in threads of their own, so that hashing never stops the loop; waiting is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from consilium_gateway.errors import TooManyTries

T = TypeVar("T")
THREADS = 2
WAITING = 64
_HASHER = PasswordHash((Argon2Hasher(),))
# The hash of a random password that nobody kept: an unknown user's sign-in takes as long as a known one's.
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$mP6EAP8JSsJhhrvDb0TgNg$uUET3Ooynt4WY8MttHpC7Z/sNclB4sJHPzXS48W4LIE"


def hash_password(password: str) -> str:
    """Return the encoded argon2id hash; takes tens of milliseconds: call it in a thread."""
    return _HASHER.hash(password)


class Passwords:
    """Verifies; open with ``open_passwords``."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._waiting = 0

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise TooManyTries("Many people are signing in. Try again in a moment.", retry_after_s=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    async def verify(self, password: str, stored: str | None) -> bool:
        """Compare in the same time whether there is a stored hash or not (``None``: nobody's)."""

        matches = await self._run(lambda: _HASHER.verify(password, stored or NOBODY))
        return matches and stored is not None


@asynccontextmanager
async def open_passwords() -> AsyncIterator[Passwords]:
    """Open the threads, and end them with the block."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="argon2") as pool:
        yield Passwords(pool)
