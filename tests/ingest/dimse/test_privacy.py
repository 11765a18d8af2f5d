"""What the DIMSE door says to operators: who and how many, never whose (house rules; PS3.15 A.5 has the words)."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from consilium_ingest.dimse.server import DimseServer
from consilium_testkit.instances import CT, ct_instance, uids_of
from consilium_testkit.light_scu import associated, data_set_of

CONTEXTS = [(CT, ["1.2.840.10008.1.2.1"])]


def counted(name: str, **labels: str) -> float:
    """Return a metric's value so far."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_logs_and_metrics_tell_of_associations_and_not_of_patients(server: DimseServer) -> None:
    file, cut = ct_instance(side=32, PatientID="PID-4711"), ct_instance(side=32)[:-100]
    before = {status: counted("consilium_dimse_stores_total", status=status) for status in ("0000", "A900")}
    with capture_logs() as logs:
        async with associated(server.port, CONTEXTS, calling="CT-7") as scu:
            for one in (file, cut):
                sop_class, sop, _, data_set = data_set_of(one)
                await scu.store(1, sop_class, sop, data_set)
            scu.send(b"\x09\0\0\0\0\x04abcd")
            await scu.receive()
        async with asyncio.timeout(20):
            while server.open:
                await asyncio.sleep(0.005)
    ours = [entry for entry in logs if str(entry["event"]).startswith("dimse_")]
    assert [entry["event"] for entry in ours] == [
        "dimse_association_opened", "dimse_protocol_violation", "dimse_association_ended",
    ]  # fmt: skip
    assert (ours[-1]["stored"], ours[-1]["refused"], ours[-1]["end"]) == (1, 1, "violated")
    said = repr(logs) + generate_latest().decode()
    for word in ("Wang", "王", "PID-4711", "19600203", *uids_of(file)):
        assert word not in said
    after = {status: counted("consilium_dimse_stores_total", status=status) for status in ("0000", "A900")}
    assert after == {status: count + 1 for status, count in before.items()}
    assert "CT-7" not in generate_latest().decode()
