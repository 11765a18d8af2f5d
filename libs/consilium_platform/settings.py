"""Settings: one frozen class per room, from environment variables with the room's prefix; unknown ones fail start-up.

``PlatformSettings`` chooses the world: the embedded one (SQLite, a folder, an in-process bus) or the cluster's
(PostgreSQL, S3, Redis). Every other room's settings class inherits ``RoomSettings``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from consilium_core.errors import Invalid


class SettingsInvalid(Invalid):
    """A setting is missing, unknown or out of range; the operator mends it."""

    code = "settings-invalid"
    mend = "operator"


class RoomSettings(BaseSettings):
    """Base of each room's settings: frozen, prefixed, and strict about unknown variables."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; overrides win. Raise SettingsInvalid in one sentence per problem."""
        prefix = str(cls.model_config.get("env_prefix", "")).upper()
        known = {f"{prefix}{name.upper()}" for name in cls.model_fields}
        others = cls.nested_prefixes()
        unknown = sorted(
            key
            for key in os.environ
            if key.upper().startswith(prefix) and key.upper() not in known and not key.upper().startswith(others)
        )
        if prefix and unknown:
            raise SettingsInvalid(f"Unknown setting {', '.join(unknown)}: check the spelling or remove it.")
        try:
            return cls(**overrides)
        except ValidationError as problem:
            words = "; ".join(f"{prefix}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in problem.errors())
            raise SettingsInvalid(f"Settings do not fit: {words}.") from problem

    @classmethod
    def nested_prefixes(cls) -> tuple[str, ...]:
        """Return longer prefixes that belong to other classes and are to be left alone."""
        return ()


class PlatformSettings(RoomSettings):
    """Which world the server rooms live in."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_PLATFORM_")

    data_dir: Path = Field(default=Path("data"), description="Folder of the embedded world: database, objects, keys.")
    database_url: SecretStr | None = Field(
        default=None, description="postgresql+asyncpg://... ; unset: SQLite in data_dir."
    )
    database_pool_size: int = Field(default=10, ge=1, le=200, description="Connections per process (PostgreSQL).")
    redis_url: SecretStr | None = Field(default=None, description="redis://... ; unset: the in-process event bus.")
    blob_store: Literal["folder", "s3"] = Field(default="folder", description="Where objects are kept.")
    s3_endpoint: str | None = Field(default=None, description="URL of the S3 endpoint; unset: the region's own.")
    s3_bucket: str = Field(default="consilium", description="Bucket of the originals and derivatives.")
    s3_region: str = Field(default="us-east-1", description="Region name that requests are signed for.")
    s3_access_key: SecretStr | None = Field(default=None, description="Access key; unset: the pod's own identity.")
    s3_secret_key: SecretStr | None = Field(default=None, description="Secret key.")
    verify_keys_file: Path | None = Field(
        default=None, description="JWK set that tokens are verified with; unset: data_dir/keys/verify.json."
    )
    user_key_file: Path | None = Field(
        default=None, description="Private JWK that signs users' and sites' tokens (gateway only)."
    )
    service_key_file: Path | None = Field(default=None, description="Private JWK that signs services' tokens.")
    services: dict[str, str] = Field(
        default_factory=dict,
        description='Base URLs of the other services as JSON, {"live": "http://live:8080"}.',
    )
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines are written.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")

    @property
    def sql_url(self) -> str:
        """Return the SQLAlchemy URL, embedded default included."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data_dir / 'consilium.db'}"
