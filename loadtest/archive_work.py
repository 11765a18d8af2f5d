"""The work that ``bench_archive`` gives each archive: store a large study and many small ones, list, read, look.

Every function measures one kind of work on one target and returns its figures; requests are made before the clock starts.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from archive_peers import Client, Target
from consilium_core.ids import new_uid
from consilium_testkit.instances import ct_instance, multipart, uids_of

Figures = dict[str, float]
OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


@dataclass(frozen=True)
class Study:
    """One study of one series that a target holds."""

    study: str
    series: str
    instances: tuple[str, ...]

    def instance(self, number: int) -> str:
        """Return the path of one instance, counted round and round."""
        sop = self.instances[number % len(self.instances)]
        return f"/studies/{self.study}/series/{self.series}/instances/{sop}"


def _like(old: str) -> str:
    """Return a fresh UID of the same length, so that a template can be patched in place."""
    return new_uid()[: len(old)].ljust(len(old), "1")


def large_study(instances: int) -> tuple[Study, list[bytes]]:
    """Return a study of CT images of 512 KiB and their files, made from one template."""
    template = ct_instance(side=512)
    study, series, sop = uids_of(template)
    names = Study(_like(study), _like(series), tuple(_like(sop) for _ in range(instances)))
    patched = template.replace(study.encode(), names.study.encode()).replace(series.encode(), names.series.encode())
    return names, [patched.replace(sop.encode(), one.encode()) for one in names.instances]


def small_studies(count: int) -> Iterator[bytes]:
    """Yield ``count`` files, each a study of its own with one small image."""
    for n in range(count):
        day = f"20{10 + n % 15:02d}{1 + n % 12:02d}{1 + n % 28:02d}"
        yield ct_instance(
            side=8, PatientID=f"F{n:05d}", PatientName=f"Family{n}^Given", StudyDate=day, AccessionNumber=f"ACC{n}",
            Modality=("CT", "MR", "US")[n % 3],
        )  # fmt: skip


def store(target: Target, files: list[bytes], *, per_request: int, senders: int) -> Figures:
    """Send the files by STOW-RS; return instances/s and the server's CPU-ms per instance."""
    bodies = [multipart(files[at : at + per_request]) for at in range(0, len(files), per_request)]
    todo = list(reversed(bodies))
    failures: list[BaseException] = []
    clients = [target.client() for _ in range(senders)]

    def send(client: Client) -> None:
        try:
            while todo:
                body, media = todo.pop()
                client.ask("POST", "/studies", body, Content_Type=media, Accept="application/dicom+json")
        except (RuntimeError, OSError, IndexError) as problem:
            failures.append(problem)

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    cpu, started = target.cpu_ms(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    cpu = target.cpu_ms() - cpu
    for client in clients:
        client.close()
    if failures:
        raise failures[0]
    return {"instances_per_s": len(files) / wall, "cpu_ms": cpu / len(files), "wall_s": wall}


def timed(target: Target, calls: int, call: Callable[[Client, int], bytes]) -> Figures:
    """Run ``call`` one after the other; return p50 and p95 in ms and the server's CPU-ms per call."""
    client = target.client()
    for n in range(3):
        call(client, calls + n)
    times: list[float] = []
    size, cpu = 0, target.cpu_ms()
    for n in range(calls):
        started = time.perf_counter()
        size = len(call(client, n))
        times.append((time.perf_counter() - started) * 1000)
    cpu = (target.cpu_ms() - cpu) / calls
    client.close()
    times.sort()
    return {
        "p50_ms": statistics.median(times), "p95_ms": times[min(calls - 1, int(calls * 0.95))], "cpu_ms": cpu,
        "bytes": size,
    }  # fmt: skip


def queries(target: Target, calls: int) -> dict[str, Figures]:
    """Ask for pages of 100 at each level and for one patient."""
    pages = {
        f"qido_{level}": timed(target, calls, lambda c, _, level=level: c.get(f"/{level}?limit=100"))
        for level in ("studies", "series", "instances")
    }
    patient = timed(target, calls, lambda c, n: c.get(f"/studies?PatientID=F{n:05d}"))
    return {**pages, "qido_patient": patient}


def retrieval(target: Target, study: Study, calls: int) -> dict[str, Figures]:
    """Read the large study's metadata, frames and pictures."""
    series = f"/studies/{study.study}/series/{study.series}"
    return {
        "metadata": timed(target, max(3, calls // 10), lambda c, _: c.get(f"{series}/metadata")),
        "frame": timed(target, calls, lambda c, n: c.get(f"{study.instance(n)}/frames/1", OCTETS)),
        "rendered": timed(target, calls, lambda c, n: c.get(f"{study.instance(n * 7)}/rendered", "image/jpeg")),
    }
