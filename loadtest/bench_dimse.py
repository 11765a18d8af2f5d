"""Measure C-STORE: Debian's Orthanc and consilium in turn on the same instances, one JSON line per figure.

Both servers are processes of their own whose CPU time is read from the kernel; the sender is dcmtk's storescu, one process per association, with
Nagle off at both ends. Each round measures every server, so that a noisy minute hits all of them; the last line of each
kind is the ratio of the medians. ``python loadtest/bench_dimse.py [--instances N] [--rounds N] [--associations 1 4] [--no-orthanc]``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from archive_peers import Target, consilium, fill_page_cache, orthanc, orthanc_there
from archive_work import large_study
from consilium_testkit import servers


@dataclass(frozen=True)
class Peer:
    """A measured server and its DIMSE port."""

    target: Target
    port: int


def figure(name: str, **values: float | int | str) -> None:
    """Print one JSON line."""
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
    print(json.dumps({"figure": name, **rounded}), flush=True)


@contextmanager
def ours(folder: Path) -> Iterator[Peer]:
    """Serve a fresh embedded archive with its DIMSE door open."""
    port = servers.free_port()
    with consilium(folder, {"CONSILIUM_INGEST_DICOM_PORT": str(port)}) as target:
        yield Peer(target, port)


@contextmanager
def theirs(folder: Path) -> Iterator[Peer]:
    """Run Orthanc."""
    with orthanc(folder) as target:
        yield Peer(target, json.loads((folder / "orthanc.json").read_text())["DicomPort"])


def written(folder: Path, instances: int, parts: int) -> list[Path]:
    """Write a fresh study of CT images of 512 KiB into ``parts`` folders; return them."""
    _, files = large_study(instances)
    folders = [folder / str(number) for number in range(parts)]
    for one in folders:
        one.mkdir(parents=True)
    for number, data in enumerate(files):
        (folders[number % parts] / f"{number:05d}.dcm").write_bytes(data)
    return folders


def send(peer: Peer, folders: list[Path], *, no_delay: bool = True) -> tuple[float, float]:
    """Send each folder by an association of its own, all at once; return (instances/s, the server's CPU-ms per instance)."""
    count = sum(len(list(one.iterdir())) for one in folders)
    env = {**os.environ, "TCP_NODELAY": "1" if no_delay else "0"}
    cpu, started = peer.target.cpu_ms(), time.perf_counter()
    command = ["storescu", "-xe", "+sd", "-aec", "BENCH", "127.0.0.1", str(peer.port)]
    senders = [
        subprocess.Popen([*command, str(one)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for one in folders
    ]
    for sender in senders:
        said, _ = sender.communicate(timeout=600)
        if sender.returncode:
            raise RuntimeError(f"storescu to {peer.target.name} failed: {said[-500:]!r}")
    wall = time.perf_counter() - started
    return count / wall, (peer.target.cpu_ms() - cpu) / count


def measure(
    peers: dict[str, Peer], folder: Path, instances: int, associations: int, rounds: int, *, no_delay: bool
) -> None:
    """Run the rounds; print each figure, the medians and our ratio to Orthanc."""
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    kind = {"associations": associations, "sender_nagle": "off" if no_delay else "on"}
    for number in range(rounds):
        folders = written(folder / f"{associations}-{no_delay}-{number}", instances, associations)
        order = list(peers.items())
        for name, peer in order if number % 2 == 0 else order[::-1]:
            rates[name].append(send(peer, folders, no_delay=no_delay))
            rate, cpu = rates[name][-1]
            figure("cstore", server=name, instances=instances, instances_per_s=rate, cpu_ms_per_instance=cpu, **kind)
    middle = {name: [statistics.median(column) for column in zip(*found, strict=True)] for name, found in rates.items()}
    if "orthanc" in middle:
        (mine, my_cpu), (other, other_cpu) = middle["consilium"], middle["orthanc"]
        figure("cstore_ratio", instances_per_s=mine / other, cpu_ms_per_instance=my_cpu / other_cpu, **kind)


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=600, help="per run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--no-orthanc", action="store_true", help="measure consilium alone")
    parser.add_argument("--fill-cache", action="store_true", help="first fill the page cache (bench_archive.py)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-dimse-") as name, ExitStack() as stack:
        folder = Path(name)
        if asked.fill_cache:
            fill_page_cache(folder)
        peers = {"consilium": stack.enter_context(ours(folder / "consilium"))}
        if not asked.no_orthanc and orthanc_there():
            peers["orthanc"] = stack.enter_context(theirs(folder / "orthanc"))
        for peer in peers.values():
            send(peer, written(folder / f"warm-{peer.port}", 20, 1))
        for associations in asked.associations:
            measure(peers, folder / "files", asked.instances, associations, asked.rounds, no_delay=True)
        measure(peers, folder / "files", min(asked.instances, 60), 1, 1, no_delay=False)


if __name__ == "__main__":
    main()
