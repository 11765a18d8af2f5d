"""Platform fixtures: the embedded world in a temporary folder, and the contract pair that also runs on real servers.

``platform`` is embedded. ``any_platform`` runs a test twice: embedded, and (marker ``servers``) on PostgreSQL, S3 and Redis, with a
fresh database and bucket each time. Migrations run once per test run: each test gets a copy of the migrated database.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis import Redis

from consilium_core.roles import Role
from consilium_platform.migrate import upgrade
from consilium_platform.platform import Platform, open_platform
from consilium_platform.settings import PlatformSettings
from consilium_platform.tokens import Claims
from consilium_testkit import servers

TENANT = "demo"
TEMPLATE = "consilium_template"
_number = itertools.count(1)


@dataclass(frozen=True, slots=True)
class RealServers:
    """Where the run's real servers are."""

    postgres_url: str
    redis_url: str
    s3: servers.S3Server


@pytest.fixture(scope="session")
def real_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServers]:
    """Start PostgreSQL, Redis and S3 once per run."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        postgres_url = stack.enter_context(servers.postgres(folder / "postgres"))
        _apart(lambda: _postgres_template(postgres_url))
        yield RealServers(
            postgres_url,
            stack.enter_context(servers.redis(folder / "redis")),
            stack.enter_context(servers.s3(folder / "s3")),
        )


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file at the newest revision, made once per run; tests get copies."""
    path = tmp_path_factory.mktemp("migrated") / "consilium.db"
    _apart(lambda: upgrade(f"sqlite+aiosqlite:///{path}"))
    return path


def _apart(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run in a thread with a loop of its own: a session's fixture may be asked for while a test's loop runs."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(work())).result()


async def _postgres_template(url: str) -> None:
    async with asyncio.timeout(60):
        while not await _accepts(url):  # noqa: ASYNC110 - a condition of another process
            await asyncio.sleep(0.05)
    await _create_database(url, TEMPLATE, "template0")
    await upgrade(f"{url}/{TEMPLATE}")


async def _accepts(url: str) -> bool:
    try:
        await (await asyncpg.connect(f"{url.replace('+asyncpg', '')}/postgres")).close()
    except asyncpg.CannotConnectNowError:  # it listens before it has finished starting
        return False
    return True


async def _create_database(url: str, name: str, template: str) -> None:
    connection = await asyncpg.connect(f"{url.replace('+asyncpg', '')}/postgres")
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        await connection.close()


def with_copy(settings: PlatformSettings, migrated_file: Path) -> PlatformSettings:
    """Put a copy of the migrated database into the settings' empty data folder."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(migrated_file, settings.data_dir / "consilium.db")
    return settings


async def fresh_settings(real: RealServers, data_dir: Path) -> PlatformSettings:
    """Return settings for a new database and bucket on the real servers; Redis is emptied."""
    name = f"consilium_{next(_number)}"
    await _create_database(real.postgres_url, name, TEMPLATE)
    with Redis.from_url(real.redis_url) as client:
        await asyncio.to_thread(client.flushall)
    return PlatformSettings.load(
        data_dir=data_dir,
        database_url=SecretStr(f"{real.postgres_url}/{name}"),
        redis_url=SecretStr(real.redis_url),
        blob_store="s3",
        s3_endpoint=real.s3.endpoint,
        s3_bucket=name.replace("_", "-"),
        s3_access_key=SecretStr(real.s3.access_key),
        s3_secret_key=SecretStr(real.s3.secret_key),
    )


@pytest_asyncio.fixture
async def platform(tmp_path: Path, migrated_file: Path) -> AsyncIterator[Platform]:
    """Yield an embedded platform in a folder of the test."""
    settings = with_copy(PlatformSettings.load(data_dir=tmp_path / "data"), migrated_file)
    async with open_platform(settings, migrate=False) as opened:
        yield opened


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def world(request: pytest.FixtureRequest) -> str:
    """Name the world a contract test runs in."""
    return str(request.param)


@pytest_asyncio.fixture
async def any_platform(
    request: pytest.FixtureRequest, world: str, tmp_path: Path, migrated_file: Path
) -> AsyncIterator[Platform]:
    """Yield the platform of the parametrised world, migrated to head."""
    if world == "embedded":
        settings = with_copy(PlatformSettings.load(data_dir=tmp_path / "data"), migrated_file)
    else:
        settings = await fresh_settings(request.getfixturevalue("real_servers"), tmp_path / "data")
    async with open_platform(settings, migrate=False) as opened:
        yield opened


def token(
    platform: Platform, role: Role, *, subject: str | None = None, tenant: str = TENANT, ttl_s: float = 600
) -> str:
    """Return a bearer token: for a person, a site (role SITE: subject is the site's id) or a service."""
    if role is Role.SERVICE:
        assert platform.services.signer is not None
        return platform.services.signer.sign(Claims("service", subject or "service:test", tenant, role, "test"), ttl_s)
    assert platform.user_signer is not None
    kind = "site" if role is Role.SITE else "user"
    return platform.user_signer.sign(Claims(kind, subject or role.value, tenant, role, role.value.title()), ttl_s)  # type: ignore[arg-type]


def bearer(platform: Platform, role: Role, *, subject: str | None = None, tenant: str = TENANT) -> dict[str, str]:
    """Return the Authorization header of such a token."""
    return {"Authorization": f"Bearer {token(platform, role, subject=subject, tenant=tenant)}"}
