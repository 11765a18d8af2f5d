"""Bearer tokens: JWTs (RFC 7519) signed with Ed25519 (RFC 8037), at most 15 minutes, verified by each service itself.

Keys are JWKs in files: ``users.json`` signs people's and sites' tokens (gateway only), ``services.json`` signs calls between
services, ``receipts.json`` signs what ingest states about stored images (``statements``) and no token, ``verify.json`` is the public JWK set everybody holds. In the embedded world they are made at first start, mode 0600.
"""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from consilium_core.clock import Clock, SystemClock
from consilium_core.errors import Unauthenticated
from consilium_core.ids import new_ulid
from consilium_core.roles import Principal, PrincipalKind, Role
from consilium_platform.statements import ALGORITHMS, StatementSigner

ISSUER = AUDIENCE = "consilium"
MAX_TTL_S = 900.0
KeyName = Literal["users", "services", "receipts"]
_KEY_NAMES: tuple[KeyName, ...] = ("users", "services", "receipts")
# What each key may vouch for: the services' key can't make a person, nor the users' key a service; the receipts' key makes no token.
_KINDS: dict[str, frozenset[str]] = {"users": frozenset({"user", "site"}), "services": frozenset({"service"})}
# ... and which role each kind has: a person's kind has a person's role, a machine's its own.
_MACHINES: dict[str, Role] = {"site": Role.SITE, "service": Role.SERVICE}


class TokenRefused(Unauthenticated):
    """The bearer token is missing, malformed, expired or signed by nobody we know."""

    code = "token-refused"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says; ``subject`` is a user's, site's or service's id."""

    kind: PrincipalKind
    subject: str
    tenant: str
    role: Role
    name: str


class TokenSigner:
    """Signs tokens with one private key; the key's id says what it may vouch for."""

    def __init__(self, key: OKPKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def sign(self, claims: Claims, ttl_s: float = MAX_TTL_S) -> str:
        """Return a compact JWT that lives ``ttl_s`` seconds (0 < ttl_s <= 900)."""
        if not 0 < ttl_s <= MAX_TTL_S:
            raise ValueError(f"a token lives at most {MAX_TTL_S:.0f} s")
        now = self._clock.now().timestamp()
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": claims.subject,
            "tenant": claims.tenant,
            "role": claims.role.value,
            "name": claims.name,
            "kind": claims.kind,
            "iat": int(now),
            "exp": now + ttl_s,
            "jti": new_ulid(),
        }
        return jwt.encode({"alg": "Ed25519", "kid": self._key.kid}, payload, self._key, algorithms=ALGORITHMS)


class TokenVerifier:
    """Verifies tokens offline; signatures are remembered, expiry is checked every time."""

    def __init__(self, keys: KeySet, clock: Clock, remember: int = 4096) -> None:
        self._keys = keys
        self._clock = clock
        self._seen: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self._remember = remember

    def verify(self, token: str) -> Principal:
        """Return who the token speaks for, or raise TokenRefused."""
        known = self._seen.get(token)
        if known is None:
            known = self._check(token)
            self._seen[token] = known
            while len(self._seen) > self._remember:
                self._seen.popitem(last=False)
        principal, not_before = known
        now = self._clock.now().timestamp()
        if now >= principal.expires_at:
            self._seen.pop(token, None)
            facts = {"subject": principal.subject, "tenant": principal.tenant}  # the signature was good
            raise TokenRefused("The sign-in has expired. Sign in again.", reason="expired", **facts)
        if now < not_before - 120:
            raise TokenRefused("The token is from the future: a clock is wrong.", reason="clock")
        return principal

    def _check(self, token: str) -> tuple[Principal, float]:
        if not token or len(token) > 4096:
            raise TokenRefused("A bearer token is needed. Sign in.", reason="missing")
        try:
            decoded = jwt.decode(token, self._keys, algorithms=ALGORITHMS)
            c = decoded.claims
            kid = str(decoded.header.get("kid", ""))
            if c["iss"] != ISSUER or c["aud"] != AUDIENCE or c["kind"] not in _KINDS.get(kid.partition(".")[0], ()):
                raise TokenRefused("The token is not meant for this system.", reason="audience")
            principal = Principal(
                kind=c["kind"],
                subject=str(c["sub"]),
                tenant=str(c["tenant"]),
                role=Role(c["role"]),
                name=str(c["name"]),
                token_id=str(c["jti"]),
                expires_at=float(c["exp"]),
            )
            if not _fits(principal.kind, principal.role):
                raise TokenRefused("The token's role is not one of its kind.", reason="role")
            return principal, float(c["iat"])
        except (JoseError, KeyError, ValueError, TypeError) as problem:
            raise TokenRefused("The token is not valid. Sign in again.", reason="invalid") from problem


def _fits(kind: PrincipalKind, role: Role) -> bool:
    return role is _MACHINES[kind] if kind in _MACHINES else role not in _MACHINES.values()


def new_key(name: KeyName) -> OKPKey:
    """Return a fresh private Ed25519 key whose id begins with its name."""
    return OKPKey.generate_key("Ed25519", {"kid": f"{name}.{new_ulid()}", "use": "sig"}, private=True)


def write_private(path: Path, text: str) -> None:
    """Write ``text`` durably into a file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def ensure_embedded_keys(folder: Path) -> None:
    """Make ``users.json``, ``services.json``, ``receipts.json`` and ``verify.json`` under ``folder``, each unless it is there.

    A folder of an older version gets the key that it lacks, and ``verify.json`` its public half, beside those that stand there.
    """
    verify = folder / "verify.json"
    public: list[dict[str, Any]] = json.loads(verify.read_text())["keys"] if verify.exists() else []
    known = {key.get("kid") for key in public}
    added = []
    for name in _KEY_NAMES:
        if public and any(str(kid).startswith(f"{name}.") for kid in known):
            continue
        private = folder / f"{name}.json"
        if not private.exists():
            write_private(private, json.dumps(new_key(name).as_dict(private=True)))
        added.append(OKPKey.import_key(json.loads(private.read_text())).as_dict(private=False))
    if added:
        write_private(verify, json.dumps({"keys": [*public, *added]}))


def load_signer(path: Path, clock: Clock | None = None) -> TokenSigner:
    """Read a private JWK file."""
    return TokenSigner(OKPKey.import_key(json.loads(path.read_text())), clock or SystemClock())


def load_statement_signer(path: Path) -> StatementSigner:
    """Read the private JWK file of receipts."""
    return StatementSigner(OKPKey.import_key(json.loads(path.read_text())))


def load_verifier(path: Path, clock: Clock | None = None) -> TokenVerifier:
    """Read the public JWK set."""
    return TokenVerifier(KeySet.import_key_set(json.loads(path.read_text())), clock or SystemClock())


def seconds_left(principal: Principal) -> float:
    """Return how long the principal's token is still good for, seconds."""
    return max(0.0, principal.expires_at - time.time())
