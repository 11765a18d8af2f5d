"""The DICOM door on a cluster: shut unless it is asked for, then open for the named peers, on one port, and drained at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from consilium.http_server import HttpServer
from consilium_ingest.dimse import server
from consilium_ingest.dimse.settings import DimseSettings, PeerRule

pytestmark = [pytest.mark.chart, pytest.mark.timeout(1200)]  # the first run builds Helm

OPEN = (
    '--set-json=ingest.dicom.peers=[{"tenant":"demo","calling":["CT1"],"addresses":["10.1.0.0/16"]}]',
    '--set-json=network.dicom=[{"ipBlock":{"cidr":"10.1.0.0/16"}}]',
    "--set=ingest.dicom.enabled=true",
)


def opened(render: Any, *more: str) -> list[dict[str, Any]]:
    """Return the objects of a release whose door is open."""
    done = render(*OPEN, *more)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def ingress_of(release: Any) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = release.one("NetworkPolicy", "consilium-ingest")["spec"]["ingress"]
    return rules


def egress_of(release: Any) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = release.one("NetworkPolicy", "consilium-ingest")["spec"]["egress"]
    return rules


def test_without_being_asked_for_there_is_no_door(usual: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [port["name"] for port in usual.container("ingest")["ports"]] == ["http"]
    assert [name for name in usual.environment("ingest") if "_DICOM_" in name] == []
    assert [s for s in usual.of("Service") if "dicom" in str(s)] == []
    assert {port["port"] for rule in ingress_of(usual) for port in rule["ports"]} == {"http"}
    for name, value in usual.environment("ingest").items():
        monkeypatch.setenv(name, value)
    assert DimseSettings.load().port is None


def test_the_service_leads_to_the_port_that_the_program_listens_on(full: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in full.environment("ingest").items():
        monkeypatch.setenv(name, value)
    settings = DimseSettings.load()
    (listening,) = [p for p in full.container("ingest")["ports"] if p["name"] == "dicom"]
    assert (settings.host, settings.port) == ("0.0.0.0", listening["containerPort"])
    assert listening["containerPort"] > 1023, "a user that is not root opens no lower one"
    service = full.one("Service", "consilium-ingest-dicom")
    assert full.selected(service["spec"]["selector"]) == ["ingest"]
    assert service["spec"]["ports"] == [{"name": "dicom", "port": 104, "targetPort": "dicom", "protocol": "TCP"}]


def test_the_allow_list_is_the_one_of_the_values(full: Any, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in full.environment("ingest").items():
        monkeypatch.setenv(name, value)
    given = yaml.safe_load((repo / "tests/chart/full.yaml").read_text())["ingest"]["dicom"]["peers"]
    rules = DimseSettings.load().peers
    assert rules == tuple(PeerRule(**peer) for peer in given)
    assert rules[0].fits_titles("CONSILIUM", "CT1") == (True, True)
    assert rules[0].fits_titles("OTHER", "CT9") == (False, False)
    assert rules[1].fits_address("10.9.8.7")
    assert not rules[1].fits_address("127.0.0.1"), "the rule for one machine is gone"


def test_a_load_balancer_lets_named_networks_in_and_keeps_their_addresses(full: Any, render: Any) -> None:
    service = full.one("Service", "consilium-ingest-dicom")
    assert service["metadata"]["annotations"] == {"example.org/pool": "modalities"}
    spec = service["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert spec["loadBalancerSourceRanges"] == ["10.1.0.0/16", "10.9.8.0/24"]
    inside = one(opened(render), "Service", "consilium-ingest-dicom")
    assert "annotations" not in inside["metadata"]
    assert inside["spec"]["type"] == "ClusterIP"
    assert not {"loadBalancerSourceRanges", "externalTrafficPolicy"} & set(inside["spec"])
    assert inside["spec"]["ports"][0]["port"] == 11112


def test_only_the_named_peers_reach_the_door_and_nothing_else_of_us(full: Any, repo: Path) -> None:
    given = yaml.safe_load((repo / "tests/chart/full.yaml").read_text())["network"]["dicom"]
    door = {"from": given, "ports": [{"protocol": "TCP", "port": "dicom"}]}
    assert [rule for rule in ingress_of(full) if "dicom" in str(rule["ports"])] == [door]
    for policy in full.of("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            if rule != door:
                assert not [peer for peer in rule["from"] if peer in given], policy["metadata"]["name"]
                assert "dicom" not in str(rule["ports"])


def test_reports_of_storage_commitment_reach_the_named_peers_alone(
    full: Any, usual: Any, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = yaml.safe_load((repo / "tests/chart/full.yaml").read_text())
    for name, value in full.environment("ingest").items():
        monkeypatch.setenv(name, value)
    assert [one.model_dump() for one in DimseSettings.load().remotes] == values["ingest"]["dicom"]["remotes"]
    way = {
        "to": values["network"]["dicom"],
        "ports": [{"protocol": "TCP", "port": 104}, {"protocol": "TCP", "port": 11112}],
    }
    assert way in egress_of(full)
    assert len(egress_of(full)) == len(egress_of(usual)) + 1 + len(values["network"]["routing"])


@pytest.mark.parametrize("drain", [0, 10, 45])
def test_a_pod_lives_long_enough_to_answer_the_messages_it_has_begun(
    render: Any, monkeypatch: pytest.MonkeyPatch, drain: int
) -> None:
    pod = one(opened(render, f"--set=ingest.dicom.drainSeconds={drain}"), "Deployment", "consilium-ingest")
    spec = pod["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    env = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    monkeypatch.setenv("CONSILIUM_INGEST_DICOM_DRAIN_S", env["CONSILIUM_INGEST_DICOM_DRAIN_S"])
    drained = DimseSettings.load().drain_s
    assert drained == drain

    async def nothing(*_: Any) -> None: ...

    requests = HttpServer(nothing, nothing).config.timeout_graceful_shutdown
    assert requests is not None
    stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= stop + requests + drained + server._LAST_WORDS_S + 10


def test_without_the_door_a_pod_ends_as_the_others_do(usual: Any) -> None:
    ends = {d["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] for d in usual.of("Deployment")}
    assert ends == {30}


@pytest.mark.parametrize(
    "given",
    [
        "--set-json=ingest.dicom.peers=[]",
        "--set-json=network.dicom=[]",
        "--set=ingest.dicom.type=LoadBalancer",  # and no loadBalancerSourceRanges
        "--set=ingest.dicom.type=NodePort",
        "--set=ingest.dicom.port=0",
        "--set=ingest.dicom.drainSeconds=-1",
        "--set-json=network.dicom=[{}]",
        '--set-json=ingest.dicom.peers=[{"tenant":"demo","addresses":["10.1.0.0/16"]}]',
        '--set-json=ingest.dicom.peers=[{"tenant":"demo","calling":["CT1"],"addresses":["ct1.hospital"]}]',
        '--set-json=ingest.dicom.peers=[{"tenant":"demo","calling":["SEVENTEEN_LETTERS"],"addresses":["10.1.0.0/16"]}]',
        '--set-json=ingest.dicom.peers=[{"tenant":"demo","callling":["CT1"],"calling":["CT1"],"addresses":["::/0"]}]',
        '--set-json=ingest.env={"CONSILIUM_INGEST_DICOM_PORT":"104"}',
        '--set-json=ingest.env={"CONSILIUM_INGEST_DICOM_PEERS":"[]"}',
        '--set-json=ingest.env={"CONSILIUM_INGEST_DICOM_HOST":"::"}',
        '--set-json=ingest.env={"CONSILIUM_INGEST_DICOM_DRAIN_S":"500"}',
    ],
)
def test_the_schema_refuses_a_door_that_would_not_work_or_is_open_to_all(render: Any, given: str) -> None:
    done = render(*OPEN, given)
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_the_doors_other_settings_are_still_given_as_variables(render: Any) -> None:
    given = '--set-json=ingest.env={"CONSILIUM_INGEST_DICOM_IDLE_S":"60"}'
    (container,) = one(opened(render, given), "Deployment", "consilium-ingest")["spec"]["template"]["spec"][
        "containers"
    ]
    assert {"name": "CONSILIUM_INGEST_DICOM_IDLE_S", "value": "60"} in container["env"]
