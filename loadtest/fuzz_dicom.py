"""Break DICOM files and protocol streams for a while and look at what the parsers say; one JSON line at the end.

``python loadtest/fuzz_dicom.py [--minutes N] [--workers N] [--seed N] [--data FOLDER]``: files of pydicom and of a folder of real ones are
broken, others are built. Exit status 1 when something crashed, hung, took too much memory or was wrongly accepted; each problem's
smallest case (a base file's name and edits, never the file) stands in ``.cache/fuzz``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from consilium_testkit.fuzz import fuzz
from consilium_testkit.fuzz_cases import keep

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Fuzz and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("CONSILIUM_TEST_DATA", ROOT.parent / "shared" / "data"))
    )
    asked = parser.parse_args()
    shared = asked.data if asked.data.is_dir() else None
    found = fuzz(asked.minutes * 60, workers=asked.workers, seed=asked.seed, shared=shared)
    for name, problem in found.problems.items():
        kept = keep(problem.case, name, ROOT / ".cache" / "fuzz")
        print(f"{name}\n  {kept}\n{problem.said}", file=sys.stderr)
    print(
        json.dumps(
            {
                "cases": found.cases,
                "verdicts": dict(found.verdicts),
                "problems": sorted(found.problems),
                "seed": asked.seed,
            }
        )
    )
    return 1 if found.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
