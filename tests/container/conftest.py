"""Podman on a bare machine: a base image of our own, the product's image, and the containers of one release.

Nothing comes from a container registry: the base is Debian by debootstrap, kept as a tarball in ``.cache/container``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from consilium_testkit.servers import need, wait_for

BASE = "localhost/debian:bookworm"
IMAGE = "localhost/consilium:test"
ENGINE = """[containers]
default_ulimits=["nofile=20000:20000","nproc=32768:32768"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""
# What a pod under the restricted profile has, in podman's words.
RESTRICTED = (
    "--read-only", "--tmpfs", "/tmp:rw,mode=1777,size=256m", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--user", "10001:10001", "--network", "host",
)  # fmt: skip


@dataclass
class Podman:
    """The container engine with this run's configuration."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, *arguments: str | Path, stdin: str = "", check: bool = True, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run podman; on failure show what it said."""
        done = subprocess.run(
            ["podman", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=timeout_s,
            env={**os.environ, **self.environment},
        )
        if check and done.returncode:
            pytest.fail(
                f"podman {' '.join(map(str, arguments[:3]))} ended with {done.returncode}:\n{done.stderr[-4000:]}"
            )
        return done

    def run(self, *command: str, options: tuple[str, ...] = (), stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of the image to its end, restricted."""
        return self("run", "--rm", "-i", *RESTRICTED, *options, IMAGE, *command, stdin=stdin, check=False)

    @contextmanager
    def running(self, *command: str, options: tuple[str, ...] = ()) -> Iterator[str]:
        """Keep a container of the image running, restricted; yield its id and remove it at the end."""
        container = self("run", "-d", *RESTRICTED, *options, IMAGE, *command).stdout.strip()
        try:
            yield container
        finally:
            self("rm", "-f", "-t", "0", container, check=False)

    def state(self, container: str) -> str:
        """Return ``status exit-code`` of a container."""
        return self("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", container).stdout.strip()

    def logs(self, container: str) -> str:
        """Return what the container has written."""
        done = self("logs", "--tail", "60", container, check=False)
        return done.stdout + done.stderr

    def wait_until_served(self, container: str, url: str) -> None:
        """Wait for a 200 at ``url``; fail with the container's words when it has ended."""

        def served() -> bool:
            if not self.state(container).startswith("running"):
                pytest.fail(f"the container has ended ({self.state(container)}):\n{self.logs(container)}")
            try:
                return httpx2.get(url, timeout=5, trust_env=False).status_code == 200
            except httpx2.HTTPError:
                return False

        try:
            wait_for(served, f"200 at {url}", 120)
        except TimeoutError as problem:
            pytest.fail(f"{problem}:\n{self.logs(container)}")


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """Return the engine, or skip (outside CI) naming what is missing."""
    for program in ("podman", "buildah", "runc", "debootstrap"):
        need(program, program)
    if os.geteuid() != 0:
        pytest.skip("the containers of this suite are run by root")
    folder = tmp_path_factory.mktemp("podman")
    (folder / "containers.conf").write_text(ENGINE)
    return Podman(folder, {"CONTAINERS_CONF": str(folder / "containers.conf")})


@pytest.fixture(scope="session")
def base(podman: Podman, repo: Path) -> str:
    """Return the name of the base image; made by debootstrap once, then kept."""
    if podman("image", "exists", BASE, check=False).returncode == 0:
        return BASE
    tarball = repo / ".cache" / "container" / "bookworm.tar"
    if not tarball.exists():
        tarball.parent.mkdir(parents=True, exist_ok=True)
        root, unfinished = podman.folder / "base", tarball.with_suffix(".part")
        packages = "--include=ca-certificates,python3,python3-venv"
        subprocess.run(
            ["debootstrap", "--variant=minbase", packages, "bookworm", root], check=True, capture_output=True
        )
        left_out = [f"--exclude=./{name}" for name in ("dev", "proc", "sys")]
        subprocess.run(["tar", "-C", root, *left_out, "-cf", unfinished, "."], check=True)
        unfinished.replace(tarball)
        shutil.rmtree(root)
    podman("import", tarball, BASE)
    return BASE


@pytest.fixture(scope="session")
def image(podman: Podman, base: str, repo: Path) -> str:
    """Build the image once per run (unchanged layers are kept); the builder's pip configuration is mounted, never copied."""
    for needed, made_by in (("web/dist/index.html", "make web"), (".cache/fonts/NotoSansSC-Regular.ttf", "make run")):
        if not (repo / needed).exists():
            words = f"{needed} is not there: {made_by}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(words)
    builders_own = [file for file in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf") if Path(file).exists()]
    volumes = [word for file in builders_own for word in ("-v", f"{file}:{file}:ro")]
    podman(
        "build", "--layers", "--network", "host", "--build-arg", f"BASE={base}", *volumes,
        "--ignorefile", repo / "infra/Containerfile.containerignore", "-f", repo / "infra/Containerfile", "-t", IMAGE, repo,
        timeout_s=900,
    )  # fmt: skip
    return IMAGE
