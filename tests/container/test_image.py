"""The one image: restricted, without build tools, and a whole release of it on real PostgreSQL, Redis and S3."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from redis import Redis

from consilium_platform.tokens import ensure_embedded_keys
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.platforms import RealServers
from consilium_testkit.servers import free_port, wait_for

pytestmark = [
    pytest.mark.container,
    pytest.mark.servers,
    pytest.mark.timeout(1200),
]  # the first run makes the base image
PASSWORD = "a-password-of-this-test"
CALLS = {
    "gateway": ("ingest", "imaging", "live", "consult"),
    "ingest": (),
    "imaging": ("consult",),
    "live": ("gateway",),
    "consult": ("live", "gateway"),
}


@dataclass
class ClusterRelease:
    """Five running containers and where they are."""

    containers: dict[str, str]
    urls: dict[str, str]
    options: dict[str, tuple[str, ...]]

    @property
    def door(self) -> str:
        """Return the gateway's public address."""
        return self.urls["gateway"]

    def ask(self, method: str, path: str, token: str = "", **more: Any) -> httpx2.Response:
        """Send a request through the door."""
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        return httpx2.request(method, self.door + path, headers=headers, timeout=30, trust_env=False, **more)


def options_of(service: str, ports: dict[str, int], keys: Path, common: dict[str, str]) -> tuple[str, ...]:
    """Return podman's options for a service: the chart's settings, with loopback addresses."""
    urls = {name: f"http://127.0.0.1:{ports['inner' if name == 'gateway' else name]}" for name in CALLS[service]}
    values = {**common, "CONSILIUM_PLATFORM_VERIFY_KEYS_FILE": "/etc/consilium/keys/verify.json"}
    files = ["verify.json"]
    if urls:
        values["CONSILIUM_PLATFORM_SERVICES"] = json.dumps(urls)
    if service == "gateway":
        values["CONSILIUM_PLATFORM_USER_KEY_FILE"] = "/etc/consilium/keys/users.json"
        values["CONSILIUM_GATEWAY_INTERNAL_PORT"] = str(ports["inner"])
        values["CONSILIUM_GATEWAY_INTERNAL_HOST"] = "127.0.0.1"
        files.append("users.json")
    elif urls:
        values["CONSILIUM_PLATFORM_SERVICE_KEY_FILE"] = "/etc/consilium/keys/services.json"
        files.append("services.json")
    if service == "ingest":
        values["CONSILIUM_PLATFORM_RECEIPT_KEY_FILE"] = "/etc/consilium/keys/receipts.json"
        files.append("receipts.json")
    mounts = [word for name in files for word in ("-v", f"{keys / name}:/etc/consilium/keys/{name}:ro")]
    return (*mounts, *(word for name, value in values.items() for word in ("-e", f"{name}={value}")))


async def empty_database(url: str, name: str) -> str:
    connection = await asyncpg.connect(f"{url.replace('+asyncpg', '')}/postgres")
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    finally:
        await connection.close()
    return f"{url}/{name}"


@pytest.fixture(scope="module")
def common(real_servers: RealServers) -> dict[str, str]:
    """Return the settings that all services share: a new database and bucket on the real servers."""
    with Redis.from_url(real_servers.redis_url) as client:
        client.flushall()
    return {
        "CONSILIUM_PLATFORM_DATABASE_URL": asyncio.run(empty_database(real_servers.postgres_url, "image_release")),
        "CONSILIUM_PLATFORM_REDIS_URL": real_servers.redis_url,
        "CONSILIUM_PLATFORM_BLOB_STORE": "s3",
        "CONSILIUM_PLATFORM_S3_ENDPOINT": real_servers.s3.endpoint,
        "CONSILIUM_PLATFORM_S3_BUCKET": "image-release",
        "CONSILIUM_PLATFORM_S3_ACCESS_KEY": real_servers.s3.access_key,
        "CONSILIUM_PLATFORM_S3_SECRET_KEY": real_servers.s3.secret_key,
    }


@pytest.fixture(scope="module")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the key files as the secret's mount shows them to user 10001."""
    folder = tmp_path_factory.mktemp("keys")
    ensure_embedded_keys(folder)
    for path in folder.iterdir():
        os.chown(path, 10001, 10001)
    return folder


@pytest.fixture(scope="module")
def cluster(podman: Any, image: str, common: dict[str, str], key_folder: Path) -> Iterator[ClusterRelease]:
    """Migrate, then run the five services as the chart does; yield when every one is ready."""
    migrated = podman.run(
        "migrate", options=("-e", f"CONSILIUM_PLATFORM_DATABASE_URL={common['CONSILIUM_PLATFORM_DATABASE_URL']}")
    )
    assert migrated.returncode == 0, migrated.stderr
    assert "The database is at" in migrated.stdout
    ports = {name: free_port() for name in (*CALLS, "inner")}
    release = ClusterRelease({}, {name: f"http://127.0.0.1:{ports[name]}" for name in CALLS}, {})
    with ExitStack() as stack:
        for name in CALLS:
            release.options[name] = options_of(name, ports, key_folder, common)
            command = ("serve", name, "--host", "127.0.0.1", "--port", str(ports[name]))
            running = podman.running(*command, options=release.options[name])
            release.containers[name] = stack.enter_context(running)
        for name, container in release.containers.items():
            podman.wait_until_served(container, f"{release.urls[name]}/readyz")
        yield release


def sign_in(podman: Any, cluster: ClusterRelease, username: str, role: str) -> str:
    """Make an account from inside the gateway's container and sign in through the door."""
    command = ("consilium", "user", username, "--role", role)
    podman("exec", "-i", cluster.containers["gateway"], *command, stdin=PASSWORD + "\n")
    answer = cluster.ask("POST", "/api/v1/session", json={"username": username, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def test_the_image_is_small_in_rights_and_has_no_build_tools(podman: Any, image: str) -> None:
    helped = podman.run("--help")
    assert helped.returncode == 0, helped.stderr
    assert "serve" in helped.stdout
    (facts,) = json.loads(podman("image", "inspect", image).stdout)
    config = facts["Config"]
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not [v for v in config["Env"] if "PIP" in v or "index" in v.lower()]
    looked = podman(
        "run", "--rm", *("--entrypoint", "/bin/sh"), image, "-c",
        "command -v gcc cc make git go; ls /opt/consilium/bin/pip* /opt/build /src ~root/.cache 2>/dev/null; "
        "find /etc/pip.conf -size +0 2>/dev/null; "  # the mount's place stays, empty
        "ls /usr/share/consilium/web/index.html /usr/share/consilium/fonts /usr/share/consilium/openapi.json",
    )  # fmt: skip
    assert looked.stdout.split() == [
        "/usr/share/consilium/openapi.json",
        "/usr/share/consilium/web/index.html",
        "/usr/share/consilium/fonts:",
        "NotoSansSC-Regular.ttf",
    ]


def test_a_misspelt_setting_ends_the_process_with_one_sentence(podman: Any, image: str) -> None:
    done = podman.run("serve", "imaging", options=("-e", "CONSILIUM_PLATFORM_DATABASE_URI=x"))
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "consilium: Unknown setting CONSILIUM_PLATFORM_DATABASE_URI: check the spelling or remove it."
    )


def test_every_service_is_alive_and_names_its_dependencies(cluster: ClusterRelease) -> None:
    for name, url in cluster.urls.items():
        assert httpx2.get(f"{url}/healthz", trust_env=False).json() == {"status": "ok", "service": name}
        ready = httpx2.get(f"{url}/readyz", trust_env=False).json()
        assert ready["dependencies"] == {"database": "ok", "objects": "ok", "events": "ok"}, name
        assert "consilium_http_requests_total" in httpx2.get(f"{url}/metrics", trust_env=False).text


def test_an_instance_stored_through_the_door_is_found_and_drawn(podman: Any, cluster: ClusterRelease) -> None:
    token = sign_in(podman, cluster, "store", "operator")
    instance = ct_instance(64)
    study, series, sop = uids_of(instance)
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + instance + b"\r\n--x--\r\n"
    kind = {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=x',
        "Accept": "application/dicom+json",
    }
    stored = cluster.ask("POST", "/dicomweb/studies", token, content=body, headers=kind)
    assert stored.status_code == 200, stored.text
    found = cluster.ask("GET", f"/dicomweb/studies?StudyInstanceUID={study}", token).json()
    assert [row["0020000D"]["Value"] for row in found] == [[study]]
    path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}/rendered"
    drawn = cluster.ask("GET", path, token, headers={"Accept": "image/png"})
    assert drawn.status_code == 200
    assert drawn.content.startswith(b"\x89PNG")


def test_services_reach_each_other_and_the_web_client_is_served(podman: Any, cluster: ClusterRelease) -> None:
    token = sign_in(podman, cluster, "host", "admin")
    site = cluster.ask("POST", "/api/v1/sites", token, json={"name": "Test Hospital"}).json()
    room = cluster.ask("POST", "/api/v1/rooms", token, json={"title": "Echo", "site_id": site["id"], "modality": "US"})
    assert room.status_code in (200, 201), room.text
    described = {"name": "t", "version": "1", "boot_id": "b"}
    body: dict[str, Any] = {"code": site["enrolment_code"], "nonce": "n" * 16, "agent": described}
    agent = cluster.ask("POST", "/site/v1/enroll", json=body).json()["access_token"]
    hello = {"agent": described, "devices": [], "sent_at": datetime.now(UTC).isoformat()}
    assert cluster.ask("POST", "/site/v1/session", agent, json=hello).status_code == 200
    # live commands the site through the gateway's inner port; the site finds the command at the door
    started = cluster.ask("POST", f"/api/v1/rooms/{room.json()['id']}/stream", token, json={"action": "start"})
    assert started.status_code < 300, started.text
    orders = cluster.ask("GET", "/site/v1/commands?wait=10&cursor=0", agent)
    assert orders.status_code == 200, orders.text
    assert [order["args"]["type"] for order in orders.json()["commands"]] == ["stream.publish"]
    assert cluster.ask("GET", "/api/v1/consultations", token).status_code == 200
    assert "<html" in cluster.ask("GET", "/").text
    assert "/api/v1/rooms" in cluster.ask("GET", "/api/openapi.json").json()["paths"]
    assert cluster.ask("GET", "/internal/v1/sites/commands/x", token).status_code == 404


def test_a_hospitals_agent_from_the_same_image_goes_live_and_stores_a_still(
    podman: Any, cluster: ClusterRelease
) -> None:
    """The whole way between processes: order, WHIP, packets, capture, upload, archive."""
    token = sign_in(podman, cluster, "chief", "admin")
    site = cluster.ask("POST", "/api/v1/sites", token, json={"name": "Live Hospital"}).json()
    body = {"title": "Echo", "site_id": site["id"], "modality": "US"}
    room = cluster.ask("POST", "/api/v1/rooms", token, json=body).json()["id"]
    agent = ("site", "run", "--server", cluster.door, "--code", site["enrolment_code"], "--state-dir", "/tmp/site")
    with podman.running(*agent, options=("-e", "CONSILIUM_SITE_SOURCE=demo")) as hospital:

        def online() -> bool:
            sites = cluster.ask("GET", "/api/v1/sites", token).json()["items"]
            return any(one["id"] == site["id"] and one["online"] for one in sites)

        def live() -> bool:
            return bool(cluster.ask("GET", f"/api/v1/rooms/{room}", token).json()["live"])

        def captures() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = cluster.ask("GET", f"/api/v1/rooms/{room}", operator).json()["captures"]
            return found

        try:
            wait_for(online, "the agent online", 60)
            started = cluster.ask("POST", f"/api/v1/rooms/{room}/stream", token, json={"action": "start"})
            assert started.status_code < 300, started.text
            wait_for(live, "the room live", 60)
            operator = sign_in(podman, cluster, "marker", "operator")
            marked = cluster.ask("POST", f"/api/v1/rooms/{room}/captures", operator, json={"kind": "still"})
            assert marked.status_code == 202, marked.text
            wait_for(lambda: captures()[0]["state"] != "requested", "the still stored", 60)
        except TimeoutError as problem:
            pytest.fail(f"{problem}:\n{podman.logs(hospital)}\n{podman.logs(cluster.containers['live'])}")
        (still,) = captures()
        assert still["state"] == "stored", still
        found = cluster.ask("GET", f"/dicomweb/studies/{still['study_uid']}/instances", operator).json()
        assert still["sop_instance_uid"] in [row["00080018"]["Value"][0] for row in found]
        podman("stop", "-t", "10", hospital)
        assert podman.state(hospital) == "exited 0", podman.logs(hospital)


def test_sigterm_while_starting_ends_the_process_cleanly(podman: Any, cluster: ClusterRelease) -> None:
    """A dependency that never answers keeps the start waiting; process 1 would ignore the signal by default."""
    options = (*cluster.options["consult"], "-e", "CONSILIUM_PLATFORM_S3_ENDPOINT=http://192.0.2.1:9")
    with podman.running("serve", "consult", "--host", "127.0.0.1", "--port", str(free_port()), options=options) as one:
        podman("stop", "-t", "10", one)
        status, code = podman.state(one).split()
        assert (status, code) in {("exited", "0"), ("exited", "1")}, podman.logs(one)


def test_sigterm_ends_every_service_within_ten_seconds(podman: Any, cluster: ClusterRelease) -> None:
    """Last: podman kills after ten seconds, and a killed process does not end with 0."""
    for name, container in cluster.containers.items():
        podman("stop", "-t", "10", container)
        assert podman.state(container) == "exited 0", f"{name}:\n{podman.logs(container)}"
        assert "Traceback" not in podman.logs(container)
