"""The desk of routing: rules with versions, dry runs, and what survives kill -9 beside a destination that hangs."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import update

from consilium_archive.tables import instance
from consilium_core.clock import SystemClock
from consilium_core.roles import Role
from consilium_ingest.routing import dry_run
from consilium_platform.platform import Platform
from consilium_platform.tokens import Claims, ensure_embedded_keys, load_signer
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.servers import free_port

from .peers import BASE, opened, rule, scp, settings, stored, to_scp

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")


async def test_rules_are_changed_by_who_has_looked_at_them_and_each_change_is_in_the_trail(
    any_platform: Platform,
) -> None:
    async with opened(any_platform, settings(to_scp(free_port()))) as (client, _):
        made = await rule(client, "upper", conditions={"modalities": ["US"]}, enabled=False)
        place = f"{BASE}/rules/{made['id']}"
        body = {"name": "all", "destination": "upper", "priority": "background", "version": 1}
        changed = (await client.put(place, json=body)).json()
        assert (changed["version"], changed["priority"], changed["conditions"]["modalities"]) == (2, "background", [])
        assert changed["since"] > made["since"], "it was switched on now"
        assert (await client.get(place)).json() == changed
        stale = await client.put(place, json=body)
        assert (stale.status_code, stale.json()["code"]) == (409, "routing-rule-moved")
        assert (await client.delete(f"{place}?version=1")).status_code == 409
        lost = await client.put(place, json=body | {"destination": "nowhere", "version": 2})
        assert (lost.status_code, lost.json()["code"]) == (400, "routing-destination-unknown")
        crossed = {"slice_thickness_at_least_mm": 2, "slice_thickness_at_most_mm": 1}
        assert (await client.put(place, json=body | {"conditions": crossed})).status_code == 422
        kept = (await client.put(place, json=body | {"version": 2, "name": "still on"})).json()
        assert kept["since"] == changed["since"], "what it was on for, it stays on for"
        assert (await client.delete(f"{place}?version=3")).status_code == 204
        assert (await client.get(place)).status_code == 404
        assert (await client.get(f"{BASE}/rules")).json() == {"items": [], "next_cursor": None}
    trail = await any_platform.audit.search("demo", actor="admin")
    acts = [(one["action"], one["subject"]) for one in reversed(trail) if one["action"].startswith("routing.rule")]
    assert acts == [(f"routing.rule-{act}", made["id"]) for act in ("add", "change", "change", "remove")]


async def test_a_dry_run_counts_the_last_days_and_says_how_long_and_how_dear(
    any_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "_PAGE", 2)
    thin = [ct_instance(side=16, SliceThickness="0.5") for _ in range(4)]
    old, thick = ct_instance(side=16, SliceThickness="0.5"), ct_instance(side=16, SliceThickness="5")
    async with opened(any_platform, settings(to_scp(free_port(), price_per_gb=2.0))) as (client, _):
        await stored(client, old, *thin, thick)
        for file, days in ((old, 9), (thin[0], 3)):
            await _received(any_platform, uids_of(file)[2], days)
        asked: dict[str, Any] = {
            "rule": {"name": "thin slices", "destination": "upper", "enabled": False},
            "bytes_per_s": 1000,
        }
        asked["rule"]["conditions"] = {"slice_thickness_at_most_mm": 1, "modalities": ["CT"], "origins": ["stow"]}
        found = (await client.post(f"{BASE}/rules/dry-run", json=asked)).json()
        size = sum(map(len, thin))
        assert (found["studies"], found["instances"], found["bytes"], found["complete"]) == (4, 4, size, True)
        assert (found["bandwidth"], found["seconds"], found["currency"]) == ("stated", size / 1000, "CNY")
        assert found["cost"] == pytest.approx(size / 1e9 * 2.0)
        then = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
        assert {day["date"]: day["instances"] for day in found["days"] if day["instances"]}[then] == 1
        assert len(found["days"]) == 8
        del asked["bytes_per_s"]
        month = (await client.post(f"{BASE}/rules/dry-run", json=asked | {"days": 31})).json()
        assert (month["instances"], month["bandwidth"], month["seconds"]) == (5, "unknown", None)
        monkeypatch.setattr(dry_run, "MOST_WITH_METADATA", 2)
        cut = (await client.post(f"{BASE}/rules/dry-run", json=asked)).json()
        assert (cut["complete"], cut["looked_at"]) == (False, 2)
        assert (await client.get(f"{BASE}/rules")).json()["items"] == [], "nothing was saved"


async def _received(platform: Platform, uid: str, days_ago: int) -> None:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    earlier = update(instance).where(instance.c.sop_instance_uid == uid).values(received_at=at)
    await platform.database.transact(lambda session: session.execute(earlier))


@asynccontextmanager
async def running(folder: Path, *destinations: dict[str, Any]) -> AsyncIterator[httpx2.AsyncClient]:
    """Run both rooms as a process of their own; kill it with SIGKILL at the end."""
    routing = {"DESTINATIONS": json.dumps(destinations), "POLL_S": "0.05", "CONNECT_S": "60"}
    environment = {f"CONSILIUM_INGEST_ROUTING_{name}": value for name, value in routing.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consilium_testkit.archive_rooms", str(folder), stdout=PIPE,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().strip()
        ensure_embedded_keys(folder / "keys")
        signer = load_signer(folder / "keys" / "users.json", SystemClock())
        token = signer.sign(Claims("user", "admin", "demo", Role.ADMIN, "Admin"))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=url, timeout=30, headers=headers) as client:
            yield client
    finally:
        process.kill()
        await process.wait()


@pytest.mark.system
async def test_a_kill_while_one_destination_hangs_loses_no_job_and_repeats_none_that_was_confirmed(
    tmp_path: Path,
) -> None:
    files = [ct_instance(side=16) for _ in range(3)]
    uids = sorted(uids_of(file)[2] for file in files)
    called = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        called.set()
        await reader.read()
        writer.close()

    hanging = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = hanging.sockets[0].getsockname()[1]
    with scp() as good:
        destinations = to_scp(port, "hanging"), to_scp(good.port, "good")
        async with running(tmp_path, *destinations) as client:
            for name in ("hanging", "good"):
                await rule(client, name)
            await stored(client, *files)
            async with asyncio.timeout(60):
                await called.wait()
                while sorted(good.uids) != uids:
                    await asyncio.sleep(0.02)
                while True:  # confirmed and written
                    study = (await client.get(f"{BASE}/destinations")).json()["items"]
                    if study[0]["sent_instances"] == 3:
                        break
        hanging.close()
        await hanging.wait_closed()
        with scp(port=port) as back:
            async with running(tmp_path, *destinations), asyncio.timeout(60):
                while sorted(back.uids) != uids:
                    await asyncio.sleep(0.02)
        assert sorted(good.uids) == uids
