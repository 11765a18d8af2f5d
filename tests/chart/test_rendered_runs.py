"""What the chart renders is run: the jobs' arguments and variables on real servers, the DICOM door's variables in a process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from consilium_archive.stages import Received
from consilium_archive.writer import open_writer
from consilium_platform.platform import open_platform
from consilium_testkit.instances import ct_instance
from consilium_testkit.platforms import fresh_settings
from consilium_testkit.servers import free_port, need, wait_for

pytestmark = [pytest.mark.chart, pytest.mark.timeout(1200)]  # the first run builds Helm
CONSILIUM = (sys.executable, "-m", "consilium")


def bare(**given: str) -> dict[str, str]:
    """Return this process's environment without settings of ours, and what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    return {**kept, **given}


@pytest.mark.servers
async def test_the_jobs_come_to_a_good_end_as_they_are_rendered(
    usual: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """In their order of the day, on a store with one original; nothing is removed, because nothing is to be applied."""
    settings = await fresh_settings(request.getfixturevalue("real_servers"), tmp_path / "keys")
    async with (
        open_platform(settings, migrate=False) as platform,
        open_writer(platform.database, platform.blobs, platform.outbox) as writer,
    ):
        await writer.store(Received("demo", ct_instance(side=8)))
    assert settings.database_url is not None
    assert settings.s3_access_key is not None
    assert settings.s3_secret_key is not None
    of_this_test = {
        "CONSILIUM_PLATFORM_DATABASE_URL": settings.database_url.get_secret_value(),
        "CONSILIUM_PLATFORM_DATA_DIR": str(tmp_path / "job"),
        "CONSILIUM_PLATFORM_S3_ENDPOINT": str(settings.s3_endpoint),
        "CONSILIUM_PLATFORM_S3_BUCKET": settings.s3_bucket,
        "CONSILIUM_PLATFORM_S3_ACCESS_KEY": settings.s3_access_key.get_secret_value(),
        "CONSILIUM_PLATFORM_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
    }
    said = {}
    for component in ("scrub", "reconcile", "retain"):
        command = [*CONSILIUM, *usual.container(component)["args"]]
        environment = bare(**{**usual.environment(component), **of_this_test})
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{component}: {done.stdout}{done.stderr}"
        said[component] = done.stdout
    assert said["scrub"].startswith("1 originals and held objects, ")
    assert said["reconcile"].startswith("first: 1 rows, 1 objects: 0 missing")
    assert said["retain"] == "0 instances to remove (--apply does it), 0 studies held.\n"


@pytest.mark.system
def test_the_door_opens_by_the_rendered_variables_for_the_named_peer_alone_and_ends_in_time(
    render: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = render(
        '--set-json=ingest.dicom.peers=[{"tenant":"demo","called":["CONSILIUM"],"calling":["CT1"],"addresses":["127.0.0.1/32"]}]',
        '--set-json=network.dicom=[{"ipBlock":{"cidr":"10.1.0.0/16"}}]',
        "--set=ingest.dicom.enabled=true",
    )
    assert done.returncode == 0, done.stderr
    objects = [found for found in yaml.safe_load_all(done.stdout) if found]
    (ingest,) = [o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "consilium-ingest"]
    spec = ingest["spec"]["template"]["spec"]
    entries = spec["containers"][0]["env"]
    rendered = {e["name"]: e["value"] for e in entries if e["name"].startswith("CONSILIUM_INGEST_DICOM_")}
    port = free_port()
    environment = bare(
        **{**rendered, "CONSILIUM_INGEST_DICOM_PORT": str(port), "CONSILIUM_PLATFORM_DATA_DIR": str(tmp_path)}
    )
    subprocess.run([*CONSILIUM, "migrate"], env=environment, check=True, capture_output=True, timeout=60)

    def echoed(calling: str) -> bool:
        command = [need("echoscu", "dcmtk"), "-aec", "CONSILIUM", "-aet", calling, "127.0.0.1", str(port)]
        return subprocess.run(command, check=False, capture_output=True, timeout=30).returncode == 0

    serve = [*CONSILIUM, "serve", "ingest", "--host", "127.0.0.1", "--port", str(free_port())]
    with subprocess.Popen(serve, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: process.poll() is not None or echoed("CT1"), "an echo")
            assert process.poll() is None
            assert not echoed("CT2")
            process.terminate()
            process.wait(timeout=spec["terminationGracePeriodSeconds"])
        finally:
            process.kill()
    assert process.returncode == 0
