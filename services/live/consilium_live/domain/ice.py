"""ICE servers that clients are told, with time-limited TURN credentials (coturn's ``use-auth-secret``).

User name ``<expiry>:<who>``, password base64(HMAC-SHA1(secret, user name)): draft-uberti-behave-turn-rest-00 section 2.2.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IceServerFacts:
    """One RTCIceServer."""

    urls: tuple[str, ...]
    username: str = ""
    credential: str = ""

    def links(self) -> list[str]:
        """Return ``Link`` header values (RFC 9725 4.6)."""
        secret = ""
        if self.username:
            secret = f'; username="{self.username}"; credential="{self.credential}"; credential-type="password"'
        return [f'<{url}>; rel="ice-server"{secret}' for url in self.urls]


def turn_credential(secret: str, user: str, expires_at: int) -> tuple[str, str]:
    """Return user name and password that coturn accepts until ``expires_at`` (Unix seconds)."""
    name = f"{expires_at}:{user}"
    digest = hmac.new(secret.encode(), name.encode(), hashlib.sha1).digest()
    return name, base64.b64encode(digest).decode()


@dataclass(frozen=True, slots=True)
class IceDirectory:
    """Which servers there are."""

    stun_urls: Sequence[str] = ()
    turn_urls: Sequence[str] = ()
    turn_secret: str = ""
    turn_ttl_s: int = 3600

    def servers(self, user: str, now_s: float) -> list[IceServerFacts]:
        """Return what ``user`` may use; TURN only with a secret."""
        found = [IceServerFacts(tuple(self.stun_urls))] if self.stun_urls else []
        if self.turn_urls and self.turn_secret:
            name, password = turn_credential(self.turn_secret, user, int(now_s) + self.turn_ttl_s)
            found.append(IceServerFacts(tuple(self.turn_urls), name, password))
        return found
