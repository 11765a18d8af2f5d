"""Settings: one frozen class per room, from environment variables with the room's prefix; unknown ones fail start-up.

``PlatformSettings`` chooses the world: the embedded one (SQLite, a folder, an in-process bus) or the cluster's
(PostgreSQL, S3, Redis). Every other room's settings class inherits ``RoomSettings``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class S3Place:
    """One bucket and how it is to stand; days 0: not asked for."""

    endpoint: str | None
    bucket: str
    region: str
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    versioning: bool = False
    object_lock_days: int = 0
    object_lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
    uploads_days: int = 30
    quarantine_days: int = 0
    cold_class: str = ""
    cold_days: int = 1095
    restore_days: int = 7
    restore_tier: Literal["Expedited", "Standard", "Bulk"] = "Standard"


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
    s3_versioning: bool = Field(default=False, description="The bucket keeps old versions (set up and checked).")
    s3_object_lock_days: int = Field(
        default=0, ge=0, description="Nobody removes an object for that long, days; 0: no object lock."
    )
    s3_object_lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = Field(
        default="GOVERNANCE", description="Whether a privileged account may still remove a locked object."
    )
    s3_uploads_days: int = Field(
        default=30, ge=0, description="The bucket expires uploads/ after that, days; 0: never."
    )
    s3_quarantine_days: int = Field(
        default=0, ge=0, description="The buckets of both places expire quarantine/ after that, days; 0: never."
    )
    s3_cold_class: str = Field(
        default="",
        pattern=r"^[A-Z_]{0,32}$",
        description="Storage class that old originals go to, for example GLACIER; empty: they stay warm.",
    )
    s3_cold_days: int = Field(
        default=1095, ge=1, description="Originals go to the cold class that long after they were stored, days."
    )
    s3_restore_days: int = Field(default=7, ge=1, description="How long a restored original can be read, days.")
    s3_restore_tier: Literal["Expedited", "Standard", "Bulk"] = Field(
        default="Standard", description="How fast, and how dearly, archived originals are restored."
    )
    copy_store: Literal["none", "folder", "s3"] = Field(default="none", description="Where second copies are kept.")
    copy_dir: Path | None = Field(default=None, description="Folder of the second copies; unset: data_dir/copies.")
    copy_s3_endpoint: str | None = Field(default=None, description="URL of the copies' S3 endpoint.")
    copy_s3_bucket: str = Field(default="consilium-copy", description="Bucket of the second copies.")
    copy_s3_region: str = Field(default="us-east-1", description="Region name of the copies' bucket.")
    copy_s3_access_key: SecretStr | None = Field(default=None, description="Access key of the copies' bucket.")
    copy_s3_secret_key: SecretStr | None = Field(default=None, description="Secret key of the copies' bucket.")
    copy_s3_versioning: bool = Field(default=False, description="The copies' bucket keeps old versions.")
    copy_s3_object_lock_days: int = Field(default=0, ge=0, description="Object lock of the copies' bucket, days.")
    verify_keys_file: Path | None = Field(
        default=None, description="JWK set that tokens are verified with; unset: data_dir/keys/verify.json."
    )
    user_key_file: Path | None = Field(
        default=None, description="Private JWK that signs users' and sites' tokens (gateway only)."
    )
    service_key_file: Path | None = Field(default=None, description="Private JWK that signs services' tokens.")
    receipt_key_file: Path | None = Field(
        default=None, description="Private JWK that signs storage receipts (ingest only)."
    )
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

    @property
    def s3_place(self) -> S3Place:
        """Return the bucket of the originals."""
        return S3Place(
            self.s3_endpoint, self.s3_bucket, self.s3_region, self.s3_access_key, self.s3_secret_key, self.s3_versioning,
            self.s3_object_lock_days, self.s3_object_lock_mode, self.s3_uploads_days, self.s3_quarantine_days,
            self.s3_cold_class, self.s3_cold_days, self.s3_restore_days, self.s3_restore_tier,
        )  # fmt: skip

    @property
    def copy_place(self) -> S3Place:
        """Return the bucket of the second copies: originals and held objects lie there."""
        return S3Place(
            self.copy_s3_endpoint, self.copy_s3_bucket, self.copy_s3_region, self.copy_s3_access_key,
            self.copy_s3_secret_key, self.copy_s3_versioning, self.copy_s3_object_lock_days, self.s3_object_lock_mode,
            uploads_days=0, quarantine_days=self.s3_quarantine_days,
            restore_days=self.s3_restore_days, restore_tier=self.s3_restore_tier,
        )  # fmt: skip

    @property
    def copy_folder(self) -> Path:
        """Return the folder of the second copies."""
        return self.copy_dir or self.data_dir / "copies"
