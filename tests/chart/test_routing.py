"""Routing on a cluster: nothing leaves unless destinations are named, then to their networks and ports alone, tokens as files of a secret."""

from __future__ import annotations

from typing import Any

import pytest

from consilium_ingest.routing.settings import RoutingSettings, StowDestination

pytestmark = [pytest.mark.chart, pytest.mark.timeout(1200)]  # the first run builds Helm


def ways_out(release: Any) -> set[int]:
    rules = release.one("NetworkPolicy", "consilium-ingest")["spec"]["egress"]
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_without_a_destination_nothing_leaves_and_no_secret_is_mounted(usual: Any) -> None:
    assert [name for name in usual.environment("ingest") if "_ROUTING_" in name] == []
    assert "routing" not in str(usual.container("ingest")["volumeMounts"])
    assert ways_out(usual) == {53, 5432, 6379, 443}


def test_destinations_load_and_are_reached_on_their_ports_alone_with_tokens_from_the_mounted_secret(
    full: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in full.environment("ingest").items():
        monkeypatch.setenv(name, value)
    upper, store = RoutingSettings.load().all_destinations()
    assert isinstance(upper, StowDestination)
    assert (store.name, store.workers) == ("ct-store", 2)
    (mounted,) = [one for one in full.container("ingest")["volumeMounts"] if one["name"] == "routing"]
    assert str(upper.token_file).startswith(mounted["mountPath"])
    assert mounted["readOnly"] is True
    assert ways_out(full) == {53, 6432, 6380, 9000, 443, 104, 11112}
    rules = full.one("NetworkPolicy", "consilium-ingest")["spec"]["egress"]
    (ports,) = [rule["ports"] for rule in rules if rule["to"] == [{"ipBlock": {"cidr": "10.7.0.0/24"}}]]
    assert [port["port"] for port in ports] == [104, 11112]


@pytest.mark.parametrize(
    "wrong",
    [
        '[{"kind":"stow","tenant":"demo","name":"a","url":"http://pacs.example.org"}]',
        '[{"kind":"stow","tenant":"demo","name":"a","url":"https://pacs.example.org","token":"secret"}]',
        '[{"kind":"dimse","tenant":"demo","name":"a","host":"pacs.example.org","port":104}]',
    ],
)
def test_what_would_not_start_or_holds_a_token_is_refused(render: Any, wrong: str) -> None:
    opened = '--set-json=network.routing=[{"to":[{"ipBlock":{"cidr":"203.0.113.0/24"}}],"ports":[443]}]'
    assert render(opened, f"--set-json=ingest.routing.destinations={wrong}").returncode != 0


def test_a_destination_that_no_policy_lets_out_to_is_refused(render: Any) -> None:
    one = '[{"kind":"stow","tenant":"demo","name":"a","url":"https://pacs.example.org"}]'
    assert render(f"--set-json=ingest.routing.destinations={one}").returncode != 0
