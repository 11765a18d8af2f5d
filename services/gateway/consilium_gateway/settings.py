"""The gateway's settings (``CONSILIUM_GATEWAY_*``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from consilium_platform.settings import RoomSettings


class GatewaySettings(RoomSettings):
    """How the door behaves; every duration is in seconds."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_GATEWAY_")

    user_token_ttl_s: float = Field(default=600, ge=30, le=900, description="Life of a user's access token.")
    site_token_ttl_s: float = Field(default=600, ge=30, le=900, description="Life of a site's access token.")
    session_idle_s: float = Field(default=43_200, ge=300, description="A browser session ends after this idle time.")
    code_ttl_s: float = Field(default=900, ge=60, le=86_400, description="Life of an enrolment code.")
    offline_after_s: float = Field(default=90, ge=10, description="A site is offline this long after its last poll.")
    lease_s: float = Field(default=60, ge=10, description="A running command's lease.")
    tick_s: float = Field(default=1.0, ge=0.05, le=30, description="Period of the deadline, lease and presence check.")
    poll_wait_max_s: float = Field(default=50, ge=1, le=50, description="Longest wait of one long poll.")
    max_json_bytes: int = Field(default=1 << 20, ge=1024, description="Largest body except uploads, bytes.")
    max_upload_bytes: int = Field(default=4 << 30, ge=1 << 20, description="Largest declared upload body, bytes.")
    max_streams_per_user: int = Field(default=16, ge=1, description="Event streams that one user may hold open.")
    trusted_proxy_hops: int = Field(
        default=0, ge=0, le=8, description="Proxies in front of the door whose X-Forwarded-For entries are believed."
    )
    secure_cookie: bool | None = Field(
        default=None, description="Mark the cookie Secure; unset: when the request came over HTTPS."
    )
    ice_servers: list[dict[str, Any]] = Field(
        default_factory=list, description='STUN and TURN servers for browsers as JSON, [{"urls": "turn:..."}].'
    )
    internal_host: str = Field(default="0.0.0.0", description="Address of the inner port.")  # noqa: S104 - a pod's own
    internal_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port where other processes reach /internal (cluster); unset: none."
    )
    openapi_file: Path | None = Field(
        default=None, description="Merged OpenAPI document to serve when the services are not in this process."
    )
    event_days: int = Field(default=30, ge=1, description="Days that agents' events are kept.")
