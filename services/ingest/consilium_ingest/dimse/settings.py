"""Settings of the DIMSE door, from ``CONSILIUM_INGEST_DICOM_*``; without a port there is no door.

``PEERS`` is the allow list, one rule per kind of sender: whose objects they are (tenant), which AE title they call, as whom, from
where. Whoever fits no rule is refused. The default lets programs of this machine in and nobody else.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import SettingsConfigDict

from consilium_platform.settings import RoomSettings

ANY = "*"


class PeerRule(BaseModel):
    """Who may store for one tenant. AE titles are compared whole and by case; ``*`` is any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str = Field(min_length=1, max_length=64)
    called: tuple[str, ...] = Field(default=(ANY,), min_length=1)
    calling: tuple[str, ...] = Field(min_length=1)
    addresses: tuple[str, ...] = Field(min_length=1)

    @field_validator("addresses")
    @classmethod
    def _networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            ip_network(one)
        return given

    @field_validator("called", "calling")
    @classmethod
    def _titles(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            if not 1 <= len(one.strip(" ")) <= 16 or not all(" " <= letter <= "~" and letter != "\\" for letter in one):
                raise ValueError(f"{one!r} is no AE title: 1 to 16 characters of ASCII")
        return tuple(one.strip(" ") for one in given)

    def fits_address(self, address: str) -> bool:
        """Tell whether the peer's address is in one of the rule's networks."""
        at = ip_address(address.partition("%")[0])
        mapped = getattr(at, "ipv4_mapped", None) or at
        return any(mapped in _network(one) for one in self.addresses)

    def fits_titles(self, called: str, calling: str) -> tuple[bool, bool]:
        """Tell whether (the called, the calling) AE title is one of the rule's."""
        return bool({called, ANY} & set(self.called)), bool({calling, ANY} & set(self.calling))


def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)


# Labels of 1 to 63 characters, or an address, with the interface where it is a local one: what IDNA can't encode is refused here.
_HOST = r"^[A-Za-z0-9:_-]{1,63}(\.[A-Za-z0-9:_-]{1,63})*\.?(%[A-Za-z0-9._-]+)?$"


class Remote(BaseModel):
    """Where a peer listens: reports of storage commitment go there when the association that asked is gone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str = Field(min_length=1, max_length=64)
    title: str = Field(min_length=1, max_length=16, pattern=r"^[!-~]([ -~]*[!-~])?$")
    host: str = Field(min_length=1, max_length=253, pattern=_HOST)
    port: int = Field(ge=1, le=65535)


LOOPBACK = PeerRule(tenant="demo", calling=(ANY,), addresses=("127.0.0.0/8", "::1/128"))


class DimseSettings(RoomSettings):
    """Where the door is, who may come in, and how much at once."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_INGEST_DICOM_")

    port: int | None = Field(default=None, ge=0, le=65535, description="TCP port; unset: no DIMSE; 0: a free one.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    peers: tuple[PeerRule, ...] = Field(
        default=(LOOPBACK,),
        description='Allow list as JSON: [{"tenant": "demo", "called": ["CONSILIUM"], "calling": ["CT1"], "addresses": ["10.1.0.0/16"]}].',
    )
    remotes: tuple[Remote, ...] = Field(
        default=(),
        description='Where peers listen, for reports of storage commitment, as JSON: [{"tenant": "demo", "title": "CT1", "host": "10.1.0.7", "port": 104}].',
    )
    private_sop_classes: tuple[str, ...] = Field(
        default=(), description='Vendors\' storage SOP classes that are taken, JSON list of UIDs; ["*"]: all.'
    )
    max_pdu_bytes: int = Field(default=1 << 20, ge=4096, le=1 << 24, description="Largest P-DATA-TF taken, bytes.")
    associations: int = Field(default=64, ge=1, le=1024, description="Associations at once.")
    associations_per_peer: int = Field(default=16, ge=1, le=1024, description="Associations of one address at once.")
    artim_s: float = Field(default=15, gt=0, description="Wait for a request, and for the peer to close at the end, s.")
    idle_s: float = Field(default=300, gt=0, description="An association without a message is aborted after that, s.")
    network_s: float = Field(default=60, gt=0, description="Longest silence in the middle of a message, s.")
    drain_s: float = Field(default=10, ge=0, description="At the end, messages begun are waited for that long, s.")

    @field_validator("remotes")
    @classmethod
    def _one_address_each(cls, given: tuple[Remote, ...]) -> tuple[Remote, ...]:
        titles = [(one.tenant, one.title) for one in given]
        if len(set(titles)) < len(titles):
            raise ValueError("an AE title of a tenant has one address")
        return given
