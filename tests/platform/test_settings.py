"""Settings: strict about what they do not know, silent about secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from consilium_platform.settings import PlatformSettings, RoomSettings, SettingsInvalid


class Room(RoomSettings):
    """A room's settings."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="CONSILIUM_ROOM_")
    port: int = 1

    @classmethod
    def nested_prefixes(cls) -> tuple[str, ...]:
        """Leave another class's variables alone."""
        return ("CONSILIUM_ROOM_INNER_",)


def test_defaults_are_the_embedded_world() -> None:
    settings = PlatformSettings.load(data_dir=Path("/somewhere"))
    assert settings.sql_url == "sqlite+aiosqlite:////somewhere/consilium.db"
    assert (settings.redis_url, settings.blob_store) == (None, "folder")


def test_the_environment_is_read_and_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_ROOM_PORT", "7")
    assert Room.load().port == 7
    assert Room.load(port=9).port == 9


def test_a_misspelt_variable_fails_start_up_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_ROOM_PRT", "7")
    monkeypatch.setenv("CONSILIUM_ROOM_INNER_X", "7")
    monkeypatch.setenv("CONSILIUM_OTHER_X", "7")
    with pytest.raises(SettingsInvalid, match=r"^Unknown setting CONSILIUM_ROOM_PRT:"):
        Room.load()


def test_a_value_that_does_not_fit_names_the_variable_and_not_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_PLATFORM_DATABASE_POOL_SIZE", "many")
    monkeypatch.setenv("CONSILIUM_PLATFORM_S3_SECRET_KEY", "canary-secret")
    with pytest.raises(SettingsInvalid, match="CONSILIUM_PLATFORM_DATABASE_POOL_SIZE") as refusal:
        PlatformSettings.load()
    assert "canary-secret" not in str(refusal.value)


def test_settings_are_frozen_and_do_not_show_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_PLATFORM_DATABASE_URL", "postgresql+asyncpg://u:canary-secret@db/x")
    settings = PlatformSettings.load()
    assert "canary-secret" not in repr(settings)
    assert "canary-secret" in settings.sql_url
    with pytest.raises(ValidationError):
        settings.s3_bucket = "other"
