"""A flood of bad tokens fills no audit trail: a bound for each address, and a count of the rest."""

from __future__ import annotations

from consilium_core.clock import FakeClock
from consilium_platform.audit import AuditRecord
from consilium_platform.http.refusals import Refusals
from consilium_platform.platform import Platform

BAD = AuditRecord("demo", "unknown", "", "token.refused", "denied", subject="GET /x", detail="invalid")


async def test_refusals_of_an_address_are_written_singly_up_to_a_bound_and_then_counted(platform: Platform) -> None:
    clock = FakeClock()
    refusals = Refusals(platform.audit, clock)
    for _ in range(100):
        await refusals.record("192.0.2.1", BAD)
    await refusals.record("192.0.2.2", BAD)
    written = await platform.audit.search("demo", action="token.refused", limit=500)
    assert len(written) == 30 + 1 + 1
    assert "more than 30 refusals of 192.0.2.1" in written[1]["detail"]
    clock.advance(60)
    await refusals.record("192.0.2.1", BAD)
    last, summary = await platform.audit.search("demo", action="token.refused", limit=2)
    assert last["detail"] == "invalid"
    assert summary["detail"] == "70 refusals of 192.0.2.1 were counted, not written"
