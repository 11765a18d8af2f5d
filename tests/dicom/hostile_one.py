"""Validate each file named on standard input in a child of its own, under limits of memory and CPU; print what it cost as JSON.

The parent has imported and warmed everything, so that a child's figures are what the file costs and not what importing does.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import sys
import time
from pathlib import Path

from consilium_dicom.validate import validate

ROOM_BYTES = 256 << 20


def judge(path: Path) -> dict[str, object]:
    """Return verdict, fatal codes, CPU seconds and growth of the resident memory; called in the child."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    room = pages * resource.getpagesize() + ROOM_BYTES + path.stat().st_size  # the file itself is mapped, not read
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
    began = time.process_time()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view = memoryview(mapped)
        run = validate(view)
        outcome = {"verdict": run.verdict, "codes": [one.code for one in run.fatal]}
        del run
        view.release()
    cpu_s = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) << 10
    return {**outcome, "cpu_s": cpu_s, "grown_bytes": grown}


def main() -> None:
    """Serve paths, one a line, until the end of the input."""
    validate(Path(sys.argv[1]).read_bytes())
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                print(json.dumps(judge(Path(line.strip()))), flush=True)
            except BaseException as problem:
                print(json.dumps({"verdict": f"{type(problem).__name__}: {problem}"}), flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            print(json.dumps({"verdict": f"killed by signal {os.WTERMSIG(status)}"}), flush=True)


if __name__ == "__main__":
    main()
