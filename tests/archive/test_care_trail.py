"""What scrubbing and reconciliation did stands in the trail of every tenant that has anything in the store (on both worlds)."""

from __future__ import annotations

import pytest

from consilium_archive.care_trail import CareEntry, audited_care
from consilium_archive.stages import Received
from consilium_archive.writer import ArchiveWriter
from consilium_core.errors import Unavailable
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance


async def test_each_tenant_has_an_entry_of_the_run_in_the_name_of_who_called_it(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    for tenant in ("demo", "north"):
        await writer.store(Received(tenant, ct_instance(side=8)))
    entry = CareEntry("command line of op", "storage.scrub", "everything", lambda: "2 originals")
    async with audited_care(any_platform.database, entry):
        pass
    for tenant in ("demo", "north"):
        [written] = await any_platform.audit.search(tenant, action="storage.scrub")
        assert (written["actor"], written["role"], written["outcome"]) == (entry.actor, "command-line", "success")
        assert (written["subject"], written["detail"]) == ("everything", "2 originals (all tenants)")
        assert (await any_platform.audit.verify(tenant)).ok


async def test_a_run_that_broke_off_is_a_failure_that_says_how_far_it_had_come(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    await writer.store(Received("demo", ct_instance(side=8)))
    entry = CareEntry("command line of op", "storage.reconcile", "safe age 24h", lambda: "1 missing")
    with pytest.raises(Unavailable):
        async with audited_care(any_platform.database, entry):
            raise Unavailable("The store does not answer.")
    [written] = await any_platform.audit.search("demo", action="storage.reconcile")
    assert (written["outcome"], written["detail"]) == ("failure", "broke off (unavailable): 1 missing (all tenants)")


async def test_an_empty_archive_leaves_nothing(any_platform: Platform) -> None:
    async with audited_care(any_platform.database, CareEntry("op", "storage.scrub", "everything")):
        pass
    assert await any_platform.audit.search("demo") == []
