"""The archive's care on a cluster: CronJobs of commands that exist, in the services' world, each of which can be switched off."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from consilium.__main__ import app
from consilium_ingest.settings import IngestSettings
from consilium_ingest.storage.settings import StorageSettings
from consilium_platform.settings import PlatformSettings

pytestmark = [pytest.mark.chart, pytest.mark.timeout(1200)]  # the first run builds Helm

CARE = ("scrub", "reconcile", "retain")
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def jobs(release: Any) -> dict[str, Any]:
    """Return the CronJobs by component."""
    return {job["metadata"]["labels"]["app.kubernetes.io/component"]: job for job in release.of("CronJob")}


def asked(release: Any, component: str) -> dict[str, Any]:
    """Return what the command line makes of a job's arguments; an unknown command or option is an error."""
    name, *options = release.container(component)["args"]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    parsed: dict[str, Any] = command.make_context(name, options).params
    return {"command": name, **parsed}


def bytes_of(quantity: str) -> int:
    """Return the bytes of ``9Gi``."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def test_each_command_of_the_care_has_its_job(usual: Any, full: Any) -> None:
    assert set(jobs(usual)) == set(CARE)
    assert set(jobs(full)) == {"reconcile", "retain"}  # tests/chart/full.yaml switches scrub off


def test_a_run_is_never_doubled_nor_endless_nor_repeated_to_hide_what_it_found(release: Any) -> None:
    for component, job in jobs(release).items():
        spec, run = job["spec"], job["spec"]["jobTemplate"]["spec"]
        assert spec["concurrencyPolicy"] == "Forbid", component
        assert 60 <= spec["startingDeadlineSeconds"] < 86_400
        assert spec["successfulJobsHistoryLimit"] >= 1
        assert spec["failedJobsHistoryLimit"] >= 3
        assert 0 < run["activeDeadlineSeconds"] < 86_400
        assert run["backoffLimit"] == 0
        assert run["template"]["spec"]["restartPolicy"] == "Never"
        (rule,) = run["podFailurePolicy"]["rules"]
        assert rule == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def test_schedules_and_limits_are_those_of_the_values(usual: Any, full: Any) -> None:
    own = {name: job["spec"] for name, job in jobs(usual).items()}
    assert {spec["timeZone"] for spec in own.values()} == {"Etc/UTC"}
    assert len({spec["schedule"] for spec in own.values()}) == len(CARE), "not all at once"
    switched = {name: job["spec"] for name, job in jobs(full).items()}
    assert {spec["timeZone"] for spec in switched.values()} == {"Asia/Shanghai"}
    assert {name: spec["schedule"] for name, spec in switched.items()} == {
        "reconcile": "@weekly",
        "retain": "5 2 * * 1-5",
    }
    assert switched["reconcile"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 3600
    assert full.container("retain")["resources"]["limits"]["memory"] == "1Gi"


def test_jobs_only_report_until_they_are_told_to_apply(usual: Any, full: Any) -> None:
    """Scrubbing only repairs; what removes or marks must be asked for."""
    scrub = asked(usual, "scrub")
    assert (scrub["command"], scrub["everything"], scrub["damaged"]) == ("scrub", False, False)
    for component in ("reconcile", "retain"):
        assert asked(usual, component)["command"] == component
        assert asked(usual, component)["apply"] is False
        assert asked(full, component)["command"] == component
        assert asked(full, component)["apply"] is True


@pytest.mark.parametrize("component", CARE)
def test_a_job_that_is_switched_off_leaves_nothing_behind(render: Any, component: str) -> None:
    done = render("--set", f"care.{component}.enabled=false")
    assert done.returncode == 0, done.stderr
    objects = [found for found in yaml.safe_load_all(done.stdout) if found]
    named = {(o["kind"], o["metadata"]["name"]) for o in objects if o["metadata"]["name"].endswith(CARE)}
    left = [one for one in CARE if one != component]
    assert named == {(k, f"consilium-{one}") for k in ("CronJob", "NetworkPolicy", "ServiceAccount") for one in left}


def test_jobs_work_on_what_the_services_store_and_by_their_rules(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def settings(component: str) -> tuple[PlatformSettings, StorageSettings]:
        with monkeypatch.context() as patch:
            for name, value in release.environment(component).items():
                patch.setenv(name, value)
            return PlatformSettings.load(), StorageSettings.load()

    platform, storage = settings("ingest")
    for component in jobs(release):
        own, rules = settings(component)
        assert own.sql_url == platform.sql_url
        assert own.s3_place == platform.s3_place
        assert (own.copy_store, own.copy_place) == (platform.copy_store, platform.copy_place)
        assert (own.log_format, own.log_level) == (platform.log_format, platform.log_level)
        assert rules == storage, "the rules of ingest are the rules of retention"


def test_rules_of_retention_that_the_values_give_reach_the_job(full: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in full.environment("retain").items():
        monkeypatch.setenv(name, value)
    assert [(rule.name, rule.days) for rule in StorageSettings.load().retention] == [("exam", 3650)]
    assert not [name for name in full.environment("retain") if "DICOM" in name or "DECODE" in name]


def test_jobs_reach_the_database_and_the_objects_and_nobody_reaches_them(release: Any) -> None:
    every = release.one("NetworkPolicy", "consilium-ingest")["spec"]["egress"][
        :4
    ]  # the rest leads to routing's destinations
    (redis,) = {str(p["port"]) for rule in every for p in rule["ports"]} & {"6379", "6380"}
    without = [rule for rule in every if [str(p["port"]) for p in rule["ports"]] != [redis]]
    assert len(without) == len(every) - 1
    for component, job in jobs(release).items():
        policy = release.one("NetworkPolicy", job["metadata"]["name"])["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in policy
        assert policy["egress"] == without
        assert release.selected(policy["podSelector"]["matchLabels"]) == [component]
        assert "ports" not in release.container(component)


def test_repairs_have_room_for_the_largest_objects(usual: Any) -> None:
    """Two originals are looked at at once, and each may pass through the folder as a whole."""
    pod, container = usual.pods()["scrub"]["spec"], usual.container("scrub")
    (mount,) = container["volumeMounts"]
    assert usual.environment("scrub")["CONSILIUM_PLATFORM_DATA_DIR"].startswith(mount["mountPath"] + "/")
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    room = bytes_of(volume["emptyDir"]["sizeLimit"])
    assert room >= 2 * IngestSettings().max_object_bytes
    assert bytes_of(container["resources"]["limits"]["ephemeral-storage"]) > room


@pytest.mark.parametrize("release_name", ["a" * 53, "consilium" + "a" * 44])
def test_names_of_jobs_are_short_enough_for_kubernetes(helm: str, repo: Path, release_name: str) -> None:
    """A CronJob's name has at most 52 characters, because the time of the run is added to it."""
    command = [helm, "template", release_name, "charts/consilium", "--kube-version", "1.34.0"]
    done = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True, timeout=60)
    names = [o["metadata"]["name"] for o in yaml.safe_load_all(done.stdout) if o and o["kind"] == "CronJob"]
    assert len(set(names)) == len(CARE)
    assert max(map(len, names)) <= 52


@pytest.mark.parametrize(
    "given",
    [
        "care.scrub.schedule=1 2 3",
        "care.scrub.schedule=TZ=Asia/Shanghai 1 2 * * *",
        "care.scrub.apply=true",
        "care.scrub.deadlineSeconds=0",
        "care.retain.apply=maybe",
        "care.timeZone=",
        "care.drill.enabled=true",
        "care.reconcile.resources.limits.memory=lots",
    ],
)
def test_the_schema_refuses_a_care_that_would_not_work(render: Any, given: str) -> None:
    done = render("--set", given)
    assert done.returncode != 0
    assert "schema" in done.stderr
