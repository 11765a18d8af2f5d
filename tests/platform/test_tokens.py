"""Bearer tokens: what is believed and what is not."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, OKPKey

from consilium_core.clock import FakeClock
from consilium_core.roles import Role
from consilium_platform.tokens import (
    ISSUER,
    Claims,
    TokenRefused,
    TokenSigner,
    TokenVerifier,
    ensure_embedded_keys,
    load_signer,
    load_verifier,
    new_key,
)

DOCTOR = Claims("user", "u1", "demo", Role.SPECIALIST, "Doctor")


class Ring:
    """Keys, a clock and everything made of them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.users, self.services = new_key("users"), new_key("services")
        self.verifier = TokenVerifier(KeySet([self.users, self.services]), self.clock)
        self.signer = TokenSigner(self.users, self.clock)

    def forged(self, key: Any = None, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """Return a token with changed claims, signed by ``key``."""
        now = int(self.clock.now().timestamp())
        claims = {
            "iss": ISSUER, "aud": "consilium", "sub": "u1", "tenant": "demo", "role": "admin", "name": "x", "kind": "user",
            "iat": now, "exp": now + 60, "jti": "j", **changed,
        }  # fmt: skip
        key = key or self.users
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(header or {"alg": "Ed25519", "kid": key.kid}, claims, key, algorithms=["Ed25519", "HS256"])


@pytest.fixture
def ring() -> Ring:
    """Return fresh keys."""
    return Ring()


def test_a_token_says_who_one_is(ring: Ring) -> None:
    principal = ring.verifier.verify(ring.signer.sign(DOCTOR, 60))
    assert (principal.kind, principal.subject, principal.tenant, principal.role, principal.name) == (
        "user", "u1", "demo", Role.SPECIALIST, "Doctor",
    )  # fmt: skip


def test_a_token_ends_on_time_even_when_its_signature_is_remembered(ring: Ring) -> None:
    token = ring.signer.sign(DOCTOR, 60)
    ring.verifier.verify(token)
    ring.clock.advance(59.9)
    ring.verifier.verify(token)
    ring.clock.advance(0.2)
    with pytest.raises(TokenRefused) as refusal:
        ring.verifier.verify(token)
    assert refusal.value.facts["reason"] == "expired"
    assert token not in ring.verifier._seen


@pytest.mark.parametrize("ttl_s", [0, -1, 901, float("inf")])
def test_no_token_lives_longer_than_fifteen_minutes(ring: Ring, ttl_s: float) -> None:
    with pytest.raises(ValueError, match="at most 900"):
        ring.signer.sign(DOCTOR, ttl_s)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "." * 50, "e" * 5000, "é.é.é"])
def test_nonsense_is_refused(ring: Ring, token: str) -> None:
    with pytest.raises(TokenRefused):
        ring.verifier.verify(token)


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "other"}, {"aud": "other"}, {"aud": None}, {"role": "god"}, {"kind": "service"}, {"kind": "root"}, {"sub": None},
        {"tenant": None}, {"exp": "soon"}, {"jti": None},
    ],
)  # fmt: skip
def test_wrong_or_missing_claims_are_refused_whoever_signed(ring: Ring, changed: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused):
        ring.verifier.verify(ring.forged(**changed))


def test_the_services_key_can_not_make_a_person_nor_the_users_key_a_service(ring: Ring) -> None:
    with pytest.raises(TokenRefused):
        ring.verifier.verify(ring.forged(ring.services))
    with pytest.raises(TokenRefused):
        ring.verifier.verify(ring.forged(kind="service", role="service"))
    assert ring.verifier.verify(ring.forged(ring.services, kind="service", role="service")).kind == "service"


@pytest.mark.parametrize(
    ("kind", "role"),
    [("service", "admin"), ("service", "site"), ("site", "admin"), ("site", "service"), ("user", "site"), ("user", "service")],
)  # fmt: skip
def test_a_kind_has_no_other_kinds_role(ring: Ring, kind: str, role: str) -> None:
    with pytest.raises(TokenRefused):
        ring.verifier.verify(ring.forged(ring.services if kind == "service" else ring.users, kind=kind, role=role))


def test_a_stranger_with_our_key_id_is_refused(ring: Ring) -> None:
    stranger = OKPKey.generate_key("Ed25519", {"kid": ring.users.kid}, private=True)
    with pytest.raises(TokenRefused):
        ring.verifier.verify(ring.forged(stranger))


def test_unsigned_tokens_and_public_keys_used_as_secrets_are_refused(ring: Ring) -> None:
    payload = ring.forged().split(".")[1]
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": ring.users.kid}).encode()).rstrip(b"=").decode()
    secret = OctKey.import_key(ring.users.as_dict(private=False)["x"])
    confused = ring.forged(secret, {"alg": "HS256", "kid": ring.users.kid})
    for token in (f"{none}.{payload}.", f"{none}.{payload}.AAAA", confused):
        with pytest.raises(TokenRefused):
            ring.verifier.verify(token)


def test_a_changed_payload_is_refused(ring: Ring) -> None:
    head, _, signature = ring.signer.sign(DOCTOR, 60).split(".")
    payload = ring.forged(role="admin").split(".")[1]
    with pytest.raises(TokenRefused):
        ring.verifier.verify(f"{head}.{payload}.{signature}")


def test_a_token_from_a_clock_that_is_wrong_says_so(ring: Ring) -> None:
    token = ring.signer.sign(DOCTOR, 900)
    ring.clock.advance(-300)
    with pytest.raises(TokenRefused) as refusal:
        ring.verifier.verify(token)
    assert refusal.value.facts["reason"] == "clock"


def test_the_memory_for_signatures_is_bounded(ring: Ring) -> None:
    verifier = TokenVerifier(KeySet([ring.users]), ring.clock, remember=3)
    for _ in range(10):
        verifier.verify(ring.signer.sign(DOCTOR, 60))
    assert len(verifier._seen) == 3


def test_embedded_keys_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    ensure_embedded_keys(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    ensure_embedded_keys(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert set(before) == {"users.json", "services.json", "receipts.json", "verify.json"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    assert '"d"' not in before["verify.json"], "the verifying set holds no private part"
    token = load_signer(tmp_path / "users.json").sign(DOCTOR, 60)
    assert load_verifier(tmp_path / "verify.json").verify(token).subject == "u1"


def test_a_folder_of_an_older_version_gets_the_key_that_it_lacks_and_keeps_the_others(tmp_path: Path) -> None:
    ensure_embedded_keys(tmp_path)
    verify = tmp_path / "verify.json"
    old = [key for key in json.loads(verify.read_text())["keys"] if not key["kid"].startswith("receipts.")]
    assert len(old) == 2
    verify.write_text(json.dumps({"keys": old}))
    cut_off = (tmp_path / "receipts.json").read_text()  # as if killed between the two files: this key is taken
    users = (tmp_path / "users.json").read_text()
    ensure_embedded_keys(tmp_path)
    assert json.loads(verify.read_text())["keys"][:2] == old
    assert json.loads(verify.read_text())["keys"][2]["kid"] == json.loads(cut_off)["kid"]
    (tmp_path / "receipts.json").unlink()
    verify.write_text(json.dumps({"keys": old}))
    ensure_embedded_keys(tmp_path)
    assert (
        json.loads((tmp_path / "receipts.json").read_text())["kid"] == json.loads(verify.read_text())["keys"][2]["kid"]
    )
    assert (tmp_path / "users.json").read_text() == users


def test_the_key_of_receipts_makes_no_token(tmp_path: Path) -> None:
    ensure_embedded_keys(tmp_path)
    token = load_signer(tmp_path / "receipts.json").sign(DOCTOR, 60)
    with pytest.raises(TokenRefused):
        load_verifier(tmp_path / "verify.json").verify(token)
