"""``make bench``: every benchmark in turn, one JSON line per figure on standard output.

make bench [ARGS="--only forward,archive,dimse,latency,captures"]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run the chosen benchmarks as processes of their own; return the first failure's status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--only", default="forward,archive,dimse,latency,captures", help="which benchmarks, separated by commas"
    )
    chosen = parser.parse_args().only.split(",")
    janus = ["--janus"] if shutil.which("janus") else []
    runs = {
        "forward": ["bench_forward.py", "--viewers", "1", "5", "20", *janus],
        "archive": ["bench_archive.py", "--parts", "embedded", "--instances", "200", "--studies", "1000"],
        "dimse": ["bench_dimse.py", "--instances", "200", "--rounds", "1"],
        "latency": ["bench_latency.py", "--chromium", "--ingest"],
        "captures": ["bench_captures.py"],
    }
    for name in chosen:
        script, *arguments = runs[name]
        status = subprocess.run([sys.executable, str(HERE / script), *arguments], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
