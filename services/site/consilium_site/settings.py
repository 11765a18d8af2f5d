"""The agent's settings: environment variables with the prefix ``CONSILIUM_SITE_``; unknown ones fail start-up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from consilium_site.errors import SettingsInvalid

_PREFIX = "CONSILIUM_SITE_"


class SiteSettings(BaseSettings):
    """Everything that can be chosen about one agent."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    server_url: str = Field(default="http://127.0.0.1:8080", description="address of the consilium server")
    state_dir: Path = Field(default=Path("data/site"), description="folder for identity, spool and agent.db; mode 0700")
    enrolment_code: SecretStr | None = Field(default=None, description="one-time code from the sites page; needed once")
    site_name: str = Field(default="site", description="what the agent calls itself in its description")
    source: str = Field(default="demo", description="capture source: a device index, a file path, a URL, or `demo`")
    source_name: str = Field(default="", description="the device's name in words; default: derived from the source")
    source_loop: bool = Field(default=True, description="play a file again when it ends")
    source_realtime: bool = Field(default=True, description="pace a file at its own frame rate")
    source_fps: float = Field(default=0.0, ge=0, le=240, description="frame rate, frames/s, when the source tells none")
    source_width: int = Field(default=0, ge=0, le=7680, description="columns asked of a device; 0: its own choice")
    source_height: int = Field(default=0, ge=0, le=4320, description="rows asked of a device; 0: its own choice")
    source_open_timeout_s: float = Field(default=10.0, gt=0, description="seconds to open or read a network source")
    allow_plain_http: bool = Field(
        default=False, description="let tokens travel without TLS to another machine (a closed test network only)"
    )
    ca_bundle: FilePath | None = Field(
        default=None, description="PEM file of the authorities that sign the server's certificate"
    )
    ring_seconds: float = Field(default=60.0, gt=0, le=300, description="seconds of full-quality frames kept in memory")
    ring_max_mib: int = Field(default=768, ge=16, description="MiB of memory for these frames")
    ring_raw_seconds: float = Field(
        default=2.0, ge=0, le=10, description="seconds also kept uncompressed (lossless stills)"
    )
    ring_raw_max_mib: int = Field(default=256, ge=0, description="MiB of memory for uncompressed frames")
    jpeg_quality: int = Field(default=95, ge=50, le=100, description="quality of the kept frames (JPEG baseline 4:2:2)")
    keyframe_interval_s: float = Field(default=2.0, gt=0, le=10, description="seconds between H.264 keyframes")
    spool_max_mib: int = Field(default=204_800, ge=64, description="MiB of spool; when full, captures are refused")
    request_timeout_s: float = Field(default=10.0, gt=0, description="seconds for one ordinary request")
    reconnect_max_s: float = Field(
        default=3.0, gt=0, le=30, description="longest back-off of a lost publication, seconds"
    )
    use_proxy_env: bool = Field(default=True, description="obey HTTP_PROXY, HTTPS_PROXY, NO_PROXY")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")

    @model_validator(mode="after")
    def _server_address(self) -> Self:
        parts = urlsplit(self.server_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ValueError("server_url is the server's origin, for example https://consult.example.org")
        local = parts.hostname in ("localhost", "::1") or parts.hostname.startswith("127.")
        if parts.scheme == "http" and not local and not self.allow_plain_http:
            raise ValueError("server_url must be https:// for a server on another machine")
        return self

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; overrides win. Raise SettingsInvalid in one sentence per problem."""
        known = {_PREFIX + name.upper() for name in cls.model_fields}
        unknown = sorted(key for key in os.environ if key.upper().startswith(_PREFIX) and key.upper() not in known)
        if unknown:
            raise SettingsInvalid(f"Unknown setting {', '.join(unknown)}: check the spelling or remove it.")
        try:
            return cls(**overrides)
        except ValidationError as error:
            words = "; ".join(f"{_PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
            raise SettingsInvalid(f"Settings do not fit: {words}.") from error


def settings_table() -> str:
    """Return the README's table of settings (Markdown); a test holds the README to it."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in SiteSettings.model_fields.items():
        default = (
            ""
            if field.default is None
            else str(field.default).lower()
            if isinstance(field.default, bool)
            else str(field.default)
        )
        rows.append(f"| `{_PREFIX}{name.upper()}` | {f'`{default}`' if default else ''} | {field.description} |")
    return "\n".join(rows) + "\n"
