"""The chart as Helm renders it: with its own values, and with every option switched."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]
SERVICES = ("gateway", "ingest", "imaging", "live", "consult")
SECRET_VALUES = {
    "CONSILIUM_PLATFORM_DATABASE_URL": "postgresql+asyncpg://u@h/d",
    "CONSILIUM_PLATFORM_REDIS_URL": "redis://h",
}


@dataclass(frozen=True)
class Release:
    """The objects of one rendering."""

    objects: tuple[Object, ...]

    def of(self, *kinds: str) -> list[Object]:
        """Return the objects of these kinds."""
        return [found for found in self.objects if found["kind"] in kinds]

    def one(self, kind: str, name: str) -> Object:
        """Return the only object of this kind with this name."""
        (found,) = [o for o in self.of(kind) if o["metadata"]["name"] == name]
        return found

    def pods(self) -> dict[str, Object]:
        """Return the pod template of each workload by component."""
        templates = [workload["spec"]["template"] for workload in self.of("Deployment", "Job")]
        templates += [workload["spec"]["jobTemplate"]["spec"]["template"] for workload in self.of("CronJob")]
        return {t["metadata"]["labels"]["app.kubernetes.io/component"]: t for t in templates}

    def container(self, component: str) -> Any:
        """Return the only container of a workload's pod."""
        (found,) = self.pods()[component]["spec"]["containers"]
        return found

    def environment(self, component: str) -> dict[str, str]:
        """Return what the process will find; secrets and fields get a stand-in."""
        values: dict[str, str] = {}
        for entry in self.container(component)["env"]:
            value = entry.get("value", SECRET_VALUES.get(entry["name"], "192.0.2.7"))
            for name, known in values.items():
                value = value.replace(f"$({name})", known)
            assert entry["name"] not in values, "a variable is given twice"
            values[entry["name"]] = value
        return values

    def selected(self, labels: dict[str, str]) -> list[str]:
        """Return the components whose pods these labels select."""
        return [name for name, pod in self.pods().items() if labels.items() <= pod["metadata"]["labels"].items()]


@pytest.fixture(scope="session")
def helm(repo: Path) -> str:
    """Return the pinned Helm, built on first use; without Go skip, as ``make check`` does."""
    done = subprocess.run([repo / "infra/make/chart.sh", "--helm-only"], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"Helm could not be built:\n{done.stderr[-2000:]}")
    said = done.stdout.splitlines()[-1]
    if not Path(said).is_file():
        pytest.skip(said)
    return said


@pytest.fixture(scope="session")
def render(helm: str, repo: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a call of ``helm template`` with further arguments."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [helm, "template", "consilium", "charts/consilium", "-n", "consilium", "--kube-version", "1.34.0"]
        return subprocess.run([*command, *arguments], cwd=repo, check=False, capture_output=True, text=True, timeout=60)

    return call


def load(done: subprocess.CompletedProcess[str]) -> Release:
    """Return the objects that Helm has printed."""
    assert done.returncode == 0, done.stderr
    return Release(tuple(found for found in yaml.safe_load_all(done.stdout) if found))


@pytest.fixture(scope="session")
def usual(render: Callable[..., subprocess.CompletedProcess[str]]) -> Release:
    """Return the chart with its own values."""
    return load(render())


@pytest.fixture(scope="session")
def full(render: Callable[..., subprocess.CompletedProcess[str]]) -> Release:
    """Return the chart with every option switched."""
    return load(render("-f", "tests/chart/full.yaml"))


@pytest.fixture(params=["usual", "full"])
def release(request: pytest.FixtureRequest) -> Release:
    """Return both renderings, one after the other."""
    found: Release = request.getfixturevalue(request.param)
    return found
