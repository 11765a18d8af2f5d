"""The audit trail: durable before it returns, one whole chain per tenant, and a forger is found out."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from consilium_core.errors import Exhausted
from consilium_core.roles import Principal, Role
from consilium_platform.audit import AuditLog, AuditRecord, open_audit
from consilium_platform.platform import Platform
from consilium_platform.sql import open_database

VIEW = AuditRecord("demo", "u1", "specialist", "study.view", "success", subject="2.25.1", patient_id="P1")


async def forge(platform: Platform, statement: str) -> None:
    """Change the trail as somebody would who owns the database: first the guard, then the entry."""
    async with platform.database.write() as session:
        if platform.database.is_sqlite:
            await session.execute(text("DROP TRIGGER IF EXISTS audit_entry_no_update"))
            await session.execute(text("DROP TRIGGER IF EXISTS audit_entry_no_delete"))
        else:
            await session.execute(text("ALTER TABLE audit_entry DISABLE TRIGGER ALL"))
        await session.execute(text(statement))


async def test_an_entry_is_there_when_record_returns(any_platform: Platform) -> None:
    await any_platform.audit.record(VIEW)
    async with open_database(any_platform.settings.sql_url) as other:
        (entry,) = await AuditLog(other).search("demo")
    assert (entry["actor"], entry["action"], entry["patient_id"], entry["number"]) == ("u1", "study.view", "P1", 1)
    assert len(entry["hash"]) == 64


async def test_many_at_once_make_one_whole_chain_per_tenant(any_platform: Platform) -> None:
    records = [replace(VIEW, tenant=("demo", "other")[n % 2], subject=str(n)) for n in range(60)]
    await asyncio.gather(*(any_platform.audit.record(record) for record in records))
    for tenant in ("demo", "other"):
        chain = await any_platform.audit.verify(tenant, page=7)
        assert (chain.ok, chain.entries, chain.first_bad_number) == (True, 30, None)
    numbers = [entry["number"] for entry in await any_platform.audit.search("demo", limit=100)]
    assert numbers == list(range(30, 0, -1))


async def test_two_processes_write_one_chain(any_platform: Platform) -> None:
    async with open_database(any_platform.settings.sql_url) as database, open_audit(database) as other:
        trails = (any_platform.audit, other)
        await asyncio.gather(*(trails[n % 2].record(replace(VIEW, subject=str(n))) for n in range(20)))
    chain = await any_platform.audit.verify("demo")
    assert (chain.ok, chain.entries) == (True, 20)


@pytest.mark.parametrize("statement", ["UPDATE audit_entry SET actor = 'x'", "DELETE FROM audit_entry"])
async def test_the_database_itself_refuses_changes(any_platform: Platform, statement: str) -> None:
    await any_platform.audit.record(VIEW)
    with pytest.raises(DBAPIError, match="append-only"):
        async with any_platform.database.write() as session:
            await session.execute(text(statement))


async def test_sqlite_refuses_to_replace_an_entry(platform: Platform) -> None:
    await platform.audit.record(VIEW)
    with pytest.raises(DBAPIError, match="append-only"):
        async with platform.database.write() as session:
            await session.execute(text("REPLACE INTO audit_entry SELECT * FROM audit_entry"))


@pytest.mark.parametrize(
    "column", ["actor", "role", "action", "outcome", "subject", "patient_id", "detail", "previous", "hash"]
)
async def test_a_changed_column_is_found(platform: Platform, column: str) -> None:
    for _ in range(4):
        await platform.audit.record(VIEW)
    await forge(platform, f"UPDATE audit_entry SET {column} = 'forged' WHERE number = 3")
    chain = await platform.audit.verify("demo")
    assert (chain.ok, chain.first_bad_number) == (False, 3)


async def test_a_changed_time_and_a_removed_entry_are_found(any_platform: Platform) -> None:
    for _ in range(5):
        await any_platform.audit.record(VIEW)
    await forge(any_platform, "DELETE FROM audit_entry WHERE number = 2")
    assert (await any_platform.audit.verify("demo")).first_bad_number == 2
    await forge(any_platform, "UPDATE audit_entry SET time = '2020-01-01 00:00:00' WHERE number = 1")
    assert (await any_platform.audit.verify("demo")).first_bad_number == 1


async def test_a_trail_that_grows_while_it_is_verified_is_whole(any_platform: Platform) -> None:
    for _ in range(6):
        await any_platform.audit.record(VIEW)
    verifying = asyncio.create_task(any_platform.audit.verify("demo", page=1))
    while not verifying.done():
        await any_platform.audit.record(VIEW)
    chain = await verifying
    assert (chain.ok, chain.first_bad_number) == (True, None)


async def test_the_trail_is_searched_by_each_field_and_paged(any_platform: Platform) -> None:
    trail = any_platform.audit
    principal = Principal("user", "u2", "demo", Role.QC, "Reader")
    await trail.record(VIEW)
    await trail.act(principal, "report.view", "denied", subject="r1", patient_id="P2")
    await trail.record(replace(VIEW, tenant="other"))
    assert [e["actor"] for e in await trail.search("demo")] == ["u2", "u1"]
    for wanted in ({"actor": "u2"}, {"action": "report.view"}, {"patient_id": "P2"}, {"outcome": "denied"}):
        assert [e["actor"] for e in await trail.search("demo", **wanted)] == ["u2"], wanted  # type: ignore[arg-type]
    assert [e["number"] for e in await trail.search("demo", before=2)] == [1]
    assert len(await trail.search("demo", limit=1)) == 1


async def test_an_entry_that_can_not_be_written_fails_the_act_and_the_trail_goes_on(platform: Platform) -> None:
    with pytest.raises(DBAPIError):
        await platform.audit.record(replace(VIEW, actor=None))  # type: ignore[arg-type]
    await platform.audit.record(VIEW)
    assert (await platform.audit.verify("demo")).entries == 1


async def test_an_overloaded_trail_refuses_instead_of_growing(platform: Platform) -> None:
    trail = AuditLog(platform.database, bound=1)  # nobody writes: its task is not running
    first = asyncio.create_task(trail.record(VIEW))
    await asyncio.sleep(0)
    with pytest.raises(Exhausted):
        await trail.record(VIEW)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_record_that_does_not_fit_its_columns_is_clipped_and_the_chain_holds(any_platform: Platform) -> None:
    odd = AuditRecord("demo", "a\0" * 300, "r" * 99, "x" * 99, "denied", "s" * 999, "p\ud800" * 99, "d\0" * 9000)
    await any_platform.audit.record(odd)
    (entry,) = await any_platform.audit.search("demo")
    assert entry["actor"] == "a" * 128
    assert (len(entry["subject"]), len(entry["patient_id"]), len(entry["detail"])) == (256, 128, 8192)
    assert "\0" not in "".join(str(value) for value in entry.values())
    assert (await any_platform.audit.verify("demo")).ok


async def test_one_entry_that_cannot_be_written_fails_alone(any_platform: Platform) -> None:
    unfit = replace(VIEW, subject="unfit", time="yesterday")  # type: ignore[arg-type]
    records = [replace(VIEW, subject=str(n)) for n in range(20)]
    records.insert(7, unfit)
    results = await asyncio.gather(*(any_platform.audit.record(r) for r in records), return_exceptions=True)
    assert [n for n, result in enumerate(results) if result is not None] == [7]
    assert isinstance(results[7], AttributeError)
    chain = await any_platform.audit.verify("demo")
    assert (chain.ok, chain.entries) == (True, 20)
