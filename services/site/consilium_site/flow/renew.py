"""Keeps a WHIP session while the site's tokens come and go: each new token is shown to the server before the old one ends (SP-41)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from consilium_core.errors import ConsiliumError
from consilium_site.errors import ServerRefused, StreamGone
from consilium_site.ports import MediaSession

log = structlog.get_logger(__name__)
_LEAST_S = 1.0
_RETRY_S = 2.0
_NOT_UNDERSTOOD_S = 60.0


async def keep_renewed(session: MediaSession, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> str:
    """Renew for as long as the server holds the session; return why it does not any more."""
    while True:
        try:
            due_s = await session.renew()
        except StreamGone as gone:
            return gone.code
        except ServerRefused:  # a server that does not end sessions with their token need not understand this
            due_s = _NOT_UNDERSTOOD_S
        except ConsiliumError as error:
            log.warning("session_renewal_delayed", code=error.code)
            due_s = max(_RETRY_S, getattr(error, "retry_after_s", 0.0))
        await sleep(max(_LEAST_S, due_s))
