"""Measure the archive against Debian's Orthanc in one run; one JSON line per figure, then one per ratio.

The same work goes to each peer in turn: a study of 512 KiB CT images by STOW-RS (ten and one per request), small studies, pages of 100
by QIDO-RS, metadata, frames and rendered pictures. Then the same on PostgreSQL and S3, and pages over a large index on both
databases. ``python loadtest/bench_archive.py [--parts orthanc,embedded,servers,index,dimse] [--studies N] [--instances N]``
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from archive_peers import Target, consilium, fill_page_cache, orthanc, orthanc_there, real_world
from archive_work import Figures, Study, large_study, queries, retrieval, small_studies, store
from bench_index import bench_index

Measured = dict[str, Figures]
# figure -> (name of the value, whether more is better, the goal against Orthanc)
GOALS: dict[str, tuple[str, bool, float]] = {
    "stow_10": ("instances_per_s", True, 2.0),
    "stow_1": ("instances_per_s", True, 2.0),
    "stow_10_by_4": ("instances_per_s", True, 2.0),
    "stow_small": ("instances_per_s", True, 2.0),
    "qido_studies": ("p50_ms", False, 20.0),
    "qido_series": ("p50_ms", False, 20.0),
    "qido_instances": ("p50_ms", False, 20.0),
    "qido_patient": ("p50_ms", False, 1.0),
    "metadata": ("p50_ms", False, 20.0),
    "frame": ("p50_ms", False, 3.0),
    "rendered": ("p50_ms", False, 3.0),
}


def line(figure: str, **values: float | int | str | bool) -> None:
    """Print one JSON line."""
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
    print(json.dumps({"figure": figure, **rounded}), flush=True)


def measure(target: Target, asked: argparse.Namespace) -> Measured:
    """Do all the work on one target and print its figures."""
    found: Measured = {}

    def keep(name: str, figures: Figures) -> None:
        found[name] = figures
        line(name, peer=target.name, **figures)

    _warm(target)
    study = _store_large(target, asked.instances, keep)
    small = list(small_studies(asked.studies))
    keep("stow_small", store(target, small, per_request=10, senders=1))
    del small
    for name, figures in (queries(target, asked.calls) | retrieval(target, study, asked.calls)).items():
        keep(name, figures)
    return found


def _warm(target: Target) -> None:
    """Let the server load what it loads with the first request of a kind."""
    study, files = large_study(4)
    store(target, files, per_request=2, senders=1)
    client = target.client()
    client.get("/studies?limit=1")
    client.get(f"{study.instance(0)}/rendered", "image/jpeg")
    client.close()


def _store_large(target: Target, instances: int, keep: object) -> Study:
    """Store three studies of the same size, each in its own way; return the first."""
    assert callable(keep)
    first: Study | None = None
    for name, per_request, senders in (("stow_10", 10, 1), ("stow_1", 1, 1), ("stow_10_by_4", 10, 4)):
        study, files = large_study(instances)
        keep(name, store(target, files, per_request=per_request, senders=senders))
        first = first or study
    assert first is not None
    return first


def ratios(ours: Measured, theirs: Measured, peer: str) -> None:
    """Print how we stand against Orthanc: how many times faster, and our share of its CPU."""
    for name, (value, more_is_better, goal) in GOALS.items():
        if name not in ours or name not in theirs:
            continue
        mine, other = ours[name][value], theirs[name][value]
        faster = mine / other if more_is_better else other / mine
        share = ours[name]["cpu_ms"] / max(theirs[name]["cpu_ms"], 0.001)
        met = faster >= goal and (share <= 0.5 or not name.startswith("stow"))
        line("ratio", of=name, peer=peer, times_faster=faster, cpu_share=share, goal=goal, met=met)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-archive-") as name:
        Path(name).chmod(0o711)  # PostgreSQL runs as its own user below it
        yield Path(name)


def main() -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--parts", default="orthanc,embedded,servers,index,dimse", help="what to run, by commas")
    parser.add_argument("--instances", type=int, default=600, help="images of the large study")
    parser.add_argument("--studies", type=int, default=3000, help="small studies")
    parser.add_argument("--calls", type=int, default=60, help="requests per reading figure")
    parser.add_argument("--index", type=int, default=100_000, help="studies of the large index")
    parser.add_argument(
        "--fill-cache",
        action="store_true",
        help="first fill the page cache, as on a machine that has been running for long",
    )
    asked = parser.parse_args()
    parts = asked.parts.split(",")
    theirs: Measured = {}
    with ExitStack() as stack:
        root = stack.enter_context(_folder())
        if asked.fill_cache:
            fill_page_cache(root)
        if "orthanc" in parts:
            if not orthanc_there():
                print("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb", file=sys.stderr)
                return 3
            with orthanc(root / "orthanc") as target:
                theirs = measure(target, asked)
        if "embedded" in parts:
            with consilium(root / "embedded") as target:
                ratios(measure(target, asked), theirs, target.name)
        if "index" in parts:
            bench_index(root / "index", asked.index, asked.calls)
        if {"servers", "index"} & set(parts) and "servers" in parts:
            with real_world(root / "real") as env:
                with consilium(root / "servers", env) as target:
                    ratios(measure(target, asked), theirs, target.name)
                if "index" in parts:
                    bench_index(root / "index-servers", asked.index, asked.calls, env)
    dimse = Path(__file__).with_name("bench_dimse.py")
    if "dimse" in parts and dimse.exists():
        return subprocess.run([sys.executable, str(dimse)], check=False).returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
