"""Settings of the live service, from ``CONSILIUM_LIVE_*``; the table in README.md is made from here."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from consilium_live.ports import MediaSettings
from consilium_platform.settings import RoomSettings


class LiveSettings(RoomSettings):
    """Where media flows, and where the limits are."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_LIVE_")

    udp_host: str = Field(default="127.0.0.1", description="Address that the media socket binds to.")
    udp_port: int = Field(default=0, ge=0, le=65535, description="UDP port of all media; 0 takes a free one.")
    udp_advertised: list[str] = Field(
        default_factory=list, description='IP addresses in answers as JSON, ["203.0.113.7"]; empty: udp_host.'
    )
    stun_urls: list[str] = Field(default_factory=list, description='STUN servers for clients as JSON, ["stun:h:3478"].')
    turn_urls: list[str] = Field(
        default_factory=list, description='TURN servers for clients as JSON, ["turn:h:3478?transport=udp"].'
    )
    turn_secret: SecretStr | None = Field(
        default=None, description="Shared secret of coturn (static-auth-secret); unset: TURN is not offered."
    )
    turn_ttl_s: int = Field(default=3600, ge=60, le=86_400, description="Life of a TURN credential, seconds.")
    cors_origins: list[str] = Field(
        default_factory=lambda: ["*"],
        description='Origins whose pages may use WHIP and WHEP as JSON, ["https://h"]; "*": any, a token is needed all the same.',
    )
    max_participants: int = Field(default=64, ge=1, le=500, description="People in one room at once.")
    max_viewers: int = Field(default=200, ge=0, le=2000, description="WHEP viewers of one room at once.")
    max_seats_per_person: int = Field(
        default=8, ge=1, le=100, description="Connections of one person to rooms at once."
    )
    max_sessions_per_person: int = Field(
        default=32, ge=1, le=1000, description="WHIP and WHEP sessions of one person (not of a site) at once."
    )
    reserved_sessions: int = Field(
        default=64, ge=0, le=512, description="Of the 1024 media sessions, how many only sites may take."
    )
    hello_timeout_s: float = Field(default=5.0, gt=0, le=60, description="Time to say hello (RS-01), seconds.")
    silence_limit_s: float = Field(
        default=30.0,
        ge=5,
        le=300,
        description="A client that pings and then is silent so long is gone (RS-04), seconds.",
    )
    stream_deadline_s: float = Field(default=60.0, gt=0, le=600, description="Deadline of stream commands, seconds.")
    capture_deadline_s: float = Field(default=120.0, gt=0, le=3600, description="Deadline of a capture, seconds.")
    second_encode_wait_s: float = Field(
        default=8.0, ge=0, le=30, description="How long a WHEP viewer without H.264 waits for VP8, seconds."
    )

    def media(self) -> MediaSettings:
        """Return the media plane's own settings."""
        return MediaSettings(
            host=self.udp_host, port=self.udp_port, advertised=tuple(self.udp_advertised),
            reserved_sessions=self.reserved_sessions,
        )  # fmt: skip
