"""SRTP keys and packets: RFC 3711 key derivation, AEAD_AES_128_GCM (RFC 7714) by hand for what is sent in bulk.

Everything received and all RTCP goes through libsrtp, which also refuses replays; RTP to viewers under GCM is encrypted
by `cryptography` straight into the output buffer. A viewer's packet index starts at roll-over count 0 when it joins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pylibsrtp import Error, Policy, Session

GCM_TAG_BYTES = 16
MAX_TRAILER_BYTES = 16
MAX_INBOUND_SSRCS = 128  # libsrtp keeps a stream, in a list, for every SSRC that it has authenticated
REPLAY_WINDOW = 1024  # a retransmission asked of a publisher may come this late

ProfileName = Literal["SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"]


@dataclass(frozen=True, slots=True)
class Profile:
    """A DTLS-SRTP protection profile (RFC 5764 4.1.2, RFC 7714 14.2); lengths in bytes."""

    name: ProfileName
    libsrtp: int
    key_bytes: int
    salt_bytes: int

    @property
    def keying_bytes(self) -> int:
        """Return how much to export from DTLS: two keys and two salts."""
        return 2 * (self.key_bytes + self.salt_bytes)


GCM_128 = Profile("SRTP_AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12)
SHA1_80 = Profile("SRTP_AES128_CM_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14)
PROFILES = (GCM_128, SHA1_80)  # in order of preference


@dataclass(frozen=True, slots=True)
class Keys:
    """Master keys and salts of one direction each, as the DTLS server sees them."""

    profile: Profile
    local: bytes  # key then salt of what we send
    remote: bytes

    @classmethod
    def from_exporter(cls, profile: Profile, material: bytes) -> Keys:
        """Split RFC 5764 4.2's keying material (client key, server key, client salt, server salt)."""
        key, salt = profile.key_bytes, profile.salt_bytes
        client = material[:key] + material[2 * key : 2 * key + salt]
        server = material[key : 2 * key] + material[2 * key + salt : 2 * key + 2 * salt]
        return cls(profile, local=server, remote=client)

    def mirrored(self) -> Keys:
        """Return the same keys as the DTLS client sees them."""
        return Keys(self.profile, local=self.remote, remote=self.local)


def derive(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """Return a session key (label 0), authentication key (1) or salt (2) by RFC 3711 4.3 with AES-CM, rate 0.

    A 96-bit salt (RFC 7714 11) is taken as a 112-bit one with zeros appended, as RFC 7714 11.1 says.
    """
    salt = int.from_bytes(master_salt.ljust(14, b"\0"), "big") ^ (label << 48)
    counter = (salt << 16).to_bytes(16, "big")
    keystream = Cipher(algorithms.AES(master_key), modes.CTR(counter)).encryptor()
    return keystream.update(bytes(length))


class GcmSender:
    """RFC 7714 8.1: nonce = (00 00 | SSRC | ROC | SEQ) xor salt, the RTP header is authenticated in clear."""

    __slots__ = ("encrypt", "encrypt_into", "salt")

    def __init__(self, session_key: bytes, session_salt: bytes) -> None:
        cipher = AESGCM(session_key)
        self.salt = int.from_bytes(session_salt, "big")
        self.encrypt = cipher.encrypt
        self.encrypt_into = cipher.encrypt_into

    @classmethod
    def from_master(cls, master: bytes) -> GcmSender:
        """Derive the session key and salt from a master key followed by its salt."""
        key, salt = master[:16], master[16:28]
        return cls(derive(key, salt, 0, 16), derive(key, salt, 2, 12))

    def nonce_base(self, ssrc: int) -> int:
        """Return what the 48-bit packet index (ROC << 16 | SEQ) is xored with to give the nonce."""
        return self.salt ^ (ssrc << 48)

    def protect(self, header: bytes, payload: bytes, ssrc: int, index: int) -> bytes:
        """Return one whole SRTP packet."""
        nonce = (self.nonce_base(ssrc) ^ index).to_bytes(12, "big")
        return header + self.encrypt(nonce, payload, header)


class SrtpSession:
    """One peer's SRTP and SRTCP, both directions."""

    def __init__(self, keys: Keys) -> None:
        self.profile = keys.profile
        self.gcm: GcmSender | None = GcmSender.from_master(keys.local) if keys.profile is GCM_128 else None
        self._rx = Session(_policy(keys.profile, keys.remote, Policy.SSRC_ANY_INBOUND))
        self._tx = Session(_policy(keys.profile, keys.local, Policy.SSRC_ANY_OUTBOUND))
        self._inbound: set[bytes] = set()

    def unprotect(self, packet: bytes) -> bytes | None:
        """Return the plain RTP packet, or None if it is forged, replayed, malformed or of one SSRC too many."""
        return self._opened(self._rx.unprotect, packet, packet[8:12])

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """Return the plain RTCP compound, or None if it is forged, replayed, malformed or of one SSRC too many."""
        return self._opened(self._rx.unprotect_rtcp, packet, packet[4:8])

    def _opened(self, unprotect: Callable[[bytes], bytes], packet: bytes, ssrc: bytes) -> bytes | None:
        if ssrc not in self._inbound and len(self._inbound) >= MAX_INBOUND_SSRCS:
            return None
        try:
            plain = bytes(unprotect(packet))
        except (Error, ValueError):
            return None
        self._inbound.add(ssrc)
        return plain

    def protect(self, packet: bytes) -> bytes:
        """Return the SRTP packet by libsrtp, which counts the roll-overs itself."""
        return bytes(self._tx.protect(packet))

    def protect_rtcp(self, packet: bytes) -> bytes:
        """Return the SRTCP packet."""
        return bytes(self._tx.protect_rtcp(packet))


def _policy(profile: Profile, master: bytes, direction: int) -> Policy:
    policy = Policy(key=master, ssrc_type=direction, srtp_profile=profile.libsrtp)
    policy.allow_repeat_tx = True  # the very same packet again, for viewers without RTX
    policy.window_size = REPLAY_WINDOW
    return policy
