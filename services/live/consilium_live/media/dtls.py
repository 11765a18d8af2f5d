"""DTLS in the server's role over datagrams that somebody else carries (RFC 5764), by OpenSSL's memory BIOs.

Synchronous on purpose: a datagram goes in, datagrams come out, no task per peer. The timer asks `retransmit` every 100 ms.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from consilium_live.media.srtp import PROFILES, Keys

_EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"
_MTU = 1200
_RECORD_HEADER = 13
_CIPHERS = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A certificate's digest as SDP writes it (RFC 8122): `sha-256` and upper-case hex pairs."""

    algorithm: str
    value: str


def fingerprint(certificate: x509.Certificate, algorithm: str = "sha-256") -> str:
    """Return `AB:CD:...` of a certificate."""
    digest = certificate.fingerprint(_DIGESTS[algorithm]).hex().upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


class DtlsIdentity:
    """One self-signed P-256 certificate and OpenSSL context, shared by every peer of the process."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(8))])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .sign(key, hashes.SHA256())
        )
        self.fingerprint = Fingerprint("sha-256", fingerprint(certificate))
        self.context = SSL.Context(SSL.DTLS_METHOD)
        self.context.set_options(SSL.OP_NO_TICKET)
        # The peer's certificate is self-signed; the signalled fingerprint proves it after the handshake (RFC 5763 5).
        self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _accept_any)
        self.context.use_certificate(certificate)
        self.context.use_privatekey(key)
        self.context.set_cipher_list(_CIPHERS)
        self.context.set_tlsext_use_srtp(b":".join(p.name.encode() for p in PROFILES))


def _accept_any(*_: object) -> bool:
    return True


class DtlsFailed(Exception):
    """The handshake cannot succeed: alert, wrong fingerprint, no common SRTP profile."""


class DtlsPeer:
    """One handshake. `keys` is set when it is done; `closed` when the peer said close_notify."""

    def __init__(self, identity: DtlsIdentity, remote: tuple[Fingerprint, ...], *, server: bool = True) -> None:
        self._remote = remote
        self._ssl = SSL.Connection(identity.context)
        self._ssl.set_ciphertext_mtu(_MTU)
        if server:
            self._ssl.set_accept_state()
        else:
            self._ssl.set_connect_state()
        self._server = server
        self.keys: Keys | None = None
        self.closed = False

    def start(self) -> list[bytes]:
        """Return the first flight of a client."""
        return self._step()

    def feed(self, datagram: bytes) -> list[bytes]:
        """Take one datagram and return those to send; raises DtlsFailed."""
        self._ssl.bio_write(datagram)
        return self._step()

    def _step(self) -> list[bytes]:
        try:
            if self.keys is None:
                self._ssl.do_handshake()
                self._finish()
            else:
                self._ssl.recv(2048)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error as error:
            raise DtlsFailed("the DTLS handshake failed") from error
        return self._drain()

    def _finish(self) -> None:
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        known = [f for f in self._remote if f.algorithm.lower() in _DIGESTS]
        if certificate is None or not known:
            raise DtlsFailed("no certificate or no fingerprint of a known algorithm")
        if any(f.value.upper() != fingerprint(certificate, f.algorithm.lower()) for f in known):
            raise DtlsFailed("the certificate is not the one that was signalled")
        chosen = self._ssl.get_selected_srtp_profile().decode()
        profile = next((p for p in PROFILES if p.name == chosen), None)
        if profile is None:
            raise DtlsFailed("no common SRTP profile")
        keys = Keys.from_exporter(profile, self._ssl.export_keying_material(_EXPORTER_LABEL, profile.keying_bytes))
        self.keys = keys if self._server else keys.mirrored()

    def retransmit(self) -> list[bytes]:
        """Return the flight to repeat if OpenSSL's timer has run out (RFC 6347 4.2.4)."""
        timeout = self._ssl.DTLSv1_get_timeout()
        if timeout is None or timeout > 0:
            return []
        try:
            self._ssl.DTLSv1_handle_timeout()
        except SSL.Error as error:
            raise DtlsFailed("the peer stopped answering") from error
        return self._drain()

    def shutdown(self) -> list[bytes]:
        """Return the close_notify to send, if any."""
        if self.keys is None:
            return []
        try:
            self._ssl.shutdown()
        except SSL.Error:
            return []  # a peer that is half gone needs no farewell
        return self._drain()

    def _drain(self) -> list[bytes]:
        """Cut what OpenSSL wrote into datagrams of whole records."""
        try:
            flight = self._ssl.bio_read(65536)
        except SSL.WantReadError:
            return []
        datagrams: list[bytes] = []
        start = at = 0
        while at + _RECORD_HEADER <= len(flight):
            end = at + _RECORD_HEADER + int.from_bytes(flight[at + 11 : at + 13], "big")
            if end - start > _MTU and at > start:
                datagrams.append(flight[start:at])
                start = at
            at = end
        if start < len(flight):
            datagrams.append(flight[start:])
        return datagrams
