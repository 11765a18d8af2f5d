"""The operator's small commands: migrate, user, token, openapi, verify-audit, doctor."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
from getpass import getpass, getuser
from pathlib import Path
from typing import Any

from consilium.compose import Embedded, open_everything
from consilium.state import data_folder
from consilium_core.clock import SystemClock
from consilium_core.errors import Invalid
from consilium_core.roles import Role
from consilium_platform.audit import AuditLog, AuditRecord, open_audit
from consilium_platform.http.app import readiness
from consilium_platform.migrate import head_revision, upgrade
from consilium_platform.platform import open_platform
from consilium_platform.settings import PlatformSettings
from consilium_platform.sql import Database, open_database
from consilium_platform.telemetry import set_up_logging
from consilium_platform.tokens import load_signer

MIN_PASSWORD = 8


def parse_ttl(text: str) -> float:
    """Return seconds of ``30s``, ``10m`` or ``600``; at most 15 minutes."""
    match = re.fullmatch(r"(\d+)\s*([sm]?)", text.strip())
    seconds = int(match[1]) * (60 if match[2] == "m" else 1) if match else 0
    if not 0 < seconds <= 900:
        raise Invalid(f"A token lives between 1s and 15m, not {text}.")
    return float(seconds)


def run_migrations(revision: str) -> None:
    """Bring the database of the environment's settings to ``revision``."""
    settings = PlatformSettings.load()
    asyncio.run(upgrade(settings.sql_url, revision))
    sys.stdout.write(f"The database is at {head_revision() if revision == 'head' else revision}.\n")


def print_token(user: str, ttl: str, data: Path | None) -> None:
    """Print a bearer token for a user of the embedded default."""
    seconds = parse_ttl(ttl)
    folder = data_folder(data)

    async def work() -> str:
        from consilium_gateway.flow.users import issue_token

        settings = PlatformSettings.load(data_dir=folder)
        async with open_database(settings.sql_url) as database:
            signer = load_signer(folder / "keys" / "users.json", SystemClock())
            issued = await issue_token(database, signer, user, seconds)
            await _leave_trace(database, user, "token.issue", f"for {seconds:.0f} s")
            return issued

    sys.stdout.write(asyncio.run(work()) + "\n")


def save_user(username: str, role: str, name: str, tenant: str, data: Path | None) -> None:
    """Make the account or bring it to this role and name, with the password that standard input gives."""
    if role not in {known.value for known in Role}:
        raise Invalid(f"There is no role {role}.")
    password = getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if len(password) < MIN_PASSWORD:
        raise Invalid(f"A password has at least {MIN_PASSWORD} characters; give it on standard input.")

    async def work() -> bool:
        from consilium_gateway.flow.users import ensure_user

        settings = PlatformSettings.load()
        if settings.database_url is None:
            settings = PlatformSettings.load(data_dir=data_folder(data))
        async with open_database(settings.sql_url) as database:
            _user, made = await ensure_user(
                database, username=username, name=name, role=Role(role), password=password, tenant=tenant
            )
            await _leave_trace(database, username, "user.save", f"{'new' if made else 'known'}, role {role}")
            return made

    made = asyncio.run(work())
    sys.stdout.write(f"{username} is {'a new' if made else 'now'} {role} of {tenant}.\n")


async def _leave_trace(database: Database, username: str, action: str, detail: str) -> None:
    """Record what the command line did to an account: the actor is the operating system's user, who had the key file or the database."""
    from consilium_gateway.flow.users import find_user

    known = await find_user(database, username=username)
    if known is None:
        return
    async with open_audit(database) as audit:
        who = f"command line of {system_user()}"
        await audit.record(
            AuditRecord(known[0].tenant, who, "command-line", action, "success", subject=known[0].id, detail=detail)
        )


def system_user() -> str:
    """Return the operating system's user, whom the trail names as the command line's."""
    try:
        return getuser()
    except (OSError, KeyError, ImportError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def print_openapi() -> None:
    """Print the merged OpenAPI document of all services, opened in a folder that is thrown away."""
    set_up_logging("console", "error")

    async def work() -> dict[str, Any]:
        from consilium_gateway.api.about import merged_openapi

        with tempfile.TemporaryDirectory() as folder:
            async with (
                open_platform(PlatformSettings(data_dir=Path(folder))) as platform,
                open_everything(platform, Embedded("127.0.0.1", 0), None) as door,
            ):
                return merged_openapi({"gateway": door.gateway, **door.gateway.state.upstreams})

    sys.stdout.write(json.dumps(asyncio.run(work()), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def verify_audit(tenant: str, data: Path | None) -> int:
    """Walk the audit chain; return 1 when it is broken."""

    async def work() -> int:
        settings = PlatformSettings.load()
        if settings.database_url is None:
            settings = PlatformSettings.load(data_dir=data_folder(data))
        async with open_database(settings.sql_url) as database:
            state = await AuditLog(database).verify(tenant)
        if state.ok:
            sys.stdout.write(f"The chain of {state.entries} entries is whole.\n")
            return 0
        sys.stdout.write(f"The chain is broken at entry {state.first_bad_number} of {state.entries}.\n")
        return 1

    return asyncio.run(work())


def doctor(data: Path | None) -> int:
    """Ask every dependency; return 1 when one does not answer."""

    async def work() -> int:
        settings = PlatformSettings.load()
        if settings.database_url is None:
            settings = PlatformSettings.load(data_dir=data_folder(data))
        async with open_platform(settings, migrate=False) as platform:
            answers = await readiness(platform.dependencies)
        for name, answer in answers.items():
            sys.stdout.write(f"{name:<10} {answer}\n")
        return 0 if set(answers.values()) == {"ok"} else 1

    return asyncio.run(work())
