"""Alert rules, the TURN server's settings and the runbooks speak of things that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from consilium_testkit.servers import need

pytestmark = pytest.mark.chart
# Made by prometheus_client itself or by Prometheus, and by kube-state-metrics (its documentation's stable names).
_ELSEWHERE = {
    "up", "process_start_time_seconds", "process_resident_memory_bytes",
    "kube_cronjob_created", "kube_cronjob_status_last_successful_time", "kube_job_failed", "kube_job_status_start_time",
}  # fmt: skip


@pytest.fixture(scope="module")
def alerts(repo: Path) -> list[dict[str, Any]]:
    """Return all alert rules."""
    groups = yaml.safe_load((repo / "infra/alerts/rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metric_names(repo: Path) -> set[str]:
    """Return the names of the time series that the code's metrics make."""
    made: set[str] = set()
    for path in [*(repo / "services").rglob("*.py"), *(repo / "libs").rglob("*.py")]:
        for kind, name in re.findall(r"(Counter|Gauge|Histogram)\(\s*\"(consilium_\w+)\"", path.read_text()):
            made |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"} if kind == "Histogram" else {name}
    return made


def test_every_alert_reads_metrics_that_the_code_has(alerts: list[dict[str, Any]], repo: Path) -> None:
    known = metric_names(repo)
    assert "consilium_http_requests_total" in known
    for rule in alerts:
        named = set(re.findall(r"\b(?:consilium|process|kube)_\w+|\bup\b", re.sub(r'"[^"]*"', "", rule["expr"])))
        assert named, rule["alert"]
        assert named <= known | _ELSEWHERE, rule["alert"]


def test_every_alert_has_a_first_command_and_a_page(alerts: list[dict[str, Any]], repo: Path) -> None:
    for rule in alerts:
        notes = rule["annotations"]
        assert re.match(r"(kubectl|consilium|curl) ", notes["first_command"])
        page, anchor = notes["runbook"].split("#")
        headings = re.findall(r"^## (\w+)$", (repo / page).read_text(), re.MULTILINE)
        assert anchor in {heading.lower() for heading in headings}
        assert rule["alert"] in headings


def test_promtool_accepts_the_rules(repo: Path) -> None:
    need("promtool", "prometheus")
    subprocess.run(["promtool", "check", "rules", repo / "infra/alerts/rules.yml"], check=True, capture_output=True)


def test_alerts_about_the_care_fire_when_they_should(repo: Path) -> None:
    need("promtool", "prometheus")
    command = ["promtool", "test", "rules", repo / "tests/chart/care_alerts.yaml"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_about_the_care_know_exactly_the_charts_jobs(alerts: list[dict[str, Any]], usual: Any) -> None:
    names = {job["metadata"]["name"] for job in usual.of("CronJob")}
    others = {workload["metadata"]["name"] for workload in usual.of("Deployment", "Job")}
    of_care = [rule for rule in alerts if "kube_" in rule["expr"]]
    assert of_care
    for rule in of_care:
        for label, pattern in re.findall(r'(cronjob|job_name)=~"([^"]+)"', rule["expr"]):
            run = "-29700077" if label == "job_name" else ""  # as Kubernetes names the jobs of a CronJob
            assert [name for name in names if not re.fullmatch(pattern, name + run)] == [], rule["alert"]
            assert [name for name in others if re.fullmatch(pattern, name + run)] == [], rule["alert"]


def test_the_turn_server_relays_to_named_addresses_only(repo: Path) -> None:
    lines = [line.split("#")[0].strip() for line in (repo / "infra/coturn/turnserver.conf").read_text().splitlines()]
    assert "denied-peer-ip=0.0.0.0-255.255.255.255" in lines
    assert any(line.startswith("allowed-peer-ip=") for line in lines)
    assert "use-auth-secret" in lines
    assert not [line for line in lines if line.startswith(("static-auth-secret", "user="))]


def test_the_runbooks_name_only_commands_and_files_that_exist(repo: Path) -> None:
    from typer.main import get_command

    from consilium.__main__ import app

    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    for page in [*(repo / "docs/runbooks").glob("*.md"), repo / "infra/local/README.md"]:
        text = page.read_text()
        said = re.findall(r"`consilium (\w[\w-]*)|-- consilium (\w[\w-]*)|^consilium (\w[\w-]*)", text, re.MULTILINE)
        for word in {one for group in said for one in group if one}:
            assert word in commands, f"{page.name}: consilium {word}"
        for path in re.findall(r"\b((?:charts|infra|docs|tests)/[\w./-]+\w)", text):
            assert (repo / path).exists(), f"{page.name}: {path}"
