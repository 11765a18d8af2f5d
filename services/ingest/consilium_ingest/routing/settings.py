"""Settings of routing, from ``CONSILIUM_INGEST_ROUTING_*``; without a destination nothing runs.

Destinations stand here and nowhere else: no user of the API can point the server at an address. A token is never a setting: its file is
named, and read anew for each request.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from consilium_ingest.routing.breaker import BreakerRule
from consilium_platform.settings import RoomSettings, SettingsInvalid

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Destination(BaseModel):
    """What both kinds say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str = Field(min_length=1, max_length=64)
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    workers: int = Field(default=1, ge=1, le=16)
    price_per_gb: float | None = Field(default=None, ge=0)


class StowDestination(_Destination):
    """A DICOMweb server: ``url`` is its service root (``.../dicomweb``), over TLS unless it is this machine."""

    kind: Literal["stow"]
    url: str = Field(max_length=512)
    token_file: Path | None = None
    ca_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _https(cls, given: str) -> str:
        parts = urlsplit(given)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        if not safe or not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("an https URL without credentials, query and fragment (http only to this machine)")
        return given.rstrip("/")

    @property
    def verb(self) -> str:
        """Return how it is sent, for the audit trail."""
        return "STOW-RS"


class DimseDestination(_Destination):
    """A C-STORE SCP. AE titles are compared whole and by case (PS3.8 9.3.2)."""

    kind: Literal["dimse"]
    host: str = Field(min_length=1, max_length=255)
    port: int = Field(ge=1, le=65535)
    called: str
    calling: str = "CONSILIUM"

    @field_validator("called", "calling")
    @classmethod
    def _title(cls, given: str) -> str:
        one = given.strip(" ")
        if not 1 <= len(one) <= 16 or not all(" " <= letter <= "~" and letter != "\\" for letter in one):
            raise ValueError(f"{given!r} is no AE title: 1 to 16 characters of ASCII")
        return one

    @property
    def verb(self) -> str:
        """Return how it is sent, for the audit trail."""
        return "C-STORE"


Destination = Annotated[StowDestination | DimseDestination, Field(discriminator="kind")]
_LIST: TypeAdapter[tuple[StowDestination | DimseDestination, ...]] = TypeAdapter(tuple[Destination, ...])


class RoutingSettings(RoomSettings):
    """Where instances may be sent, how many at once, and how long is waited."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_INGEST_ROUTING_")

    destinations: tuple[Destination, ...] = Field(
        default=(),
        description='Destinations as JSON: [{"tenant": "demo", "name": "upper", "kind": "dimse", "host": "10.1.2.3", "port": 104, "called": "UPPER"}].',
    )
    destinations_file: Path | None = Field(default=None, description="A file with that JSON list, beside the others.")
    currency: str = Field(default="CNY", min_length=3, max_length=3, description="Of the destinations' price_per_gb.")
    batch_instances: int = Field(default=32, ge=1, le=100, description="Instances of one request or association.")
    batch_bytes: int = Field(
        default=64 << 20, ge=1 << 20, description="A request ends behind so many bytes; a larger instance goes alone."
    )
    poll_s: float = Field(default=2.0, gt=0, description="How often jobs that are due are looked for, s.")
    connect_s: float = Field(default=5.0, gt=0, description="Wait for a connection or an association, s.")
    answer_s: float = Field(default=120.0, gt=0, description="Longest silence of a destination, s.")
    least_bytes_per_s: int = Field(
        default=64 << 10, ge=1 << 10, description="A request that is slower than that in all is broken off, bytes/s."
    )
    attempts: int = Field(default=10, ge=1, description="A refused instance is given up after so many attempts.")
    give_up_h: float = Field(default=168.0, gt=0, description="What waits for longer than that is given up, h.")
    breaker_failures: int = Field(default=3, ge=1, description="So many failures in a row shut a destination.")
    breaker_first_s: float = Field(default=15.0, gt=0, description="It is shut for that long first, then doubled, s.")
    breaker_longest_s: float = Field(default=600.0, gt=0, description="It is shut for that long at most, s.")
    keep_days: int = Field(default=90, ge=8, description="Jobs that are done are kept for that long, days.")

    @property
    def breaker(self) -> BreakerRule:
        """Return when a destination is left alone."""
        return BreakerRule(self.breaker_failures, self.breaker_first_s, self.breaker_longest_s)

    def lease_s(self, size_bytes: int) -> float:
        """Return how long a request of so many bytes may take in all, seconds."""
        return self.connect_s + self.answer_s + size_bytes / self.least_bytes_per_s

    def all_destinations(self) -> tuple[StowDestination | DimseDestination, ...]:
        """Return the destinations of both places; reads the file. Raise SettingsInvalid."""
        try:
            written = self.destinations_file.read_bytes() if self.destinations_file is not None else b"[]"
            found = (*self.destinations, *_LIST.validate_python(json.loads(written)))
        except (OSError, ValueError, ValidationError) as problem:
            raise SettingsInvalid(
                f"CONSILIUM_INGEST_ROUTING_DESTINATIONS_FILE does not hold destinations: {type(problem).__name__}."
            ) from problem
        names = [(one.tenant, one.name) for one in found]
        if len(set(names)) < len(names):
            raise SettingsInvalid("Two destinations of CONSILIUM_INGEST_ROUTING_ have one name in one tenant.")
        return found

    @model_validator(mode="after")
    def _longest_behind_first(self) -> Self:
        if self.breaker_longest_s < self.breaker_first_s:
            raise ValueError("breaker_longest_s is less than breaker_first_s")
        return self
