"""One fuzzing process, under a limit of memory; whoever started it watches its CPU time and its end.

``python -m consilium_testkit.fuzz_worker SEED CURRENT [SHARED]``: the case at work stands in the file CURRENT, its number and the
CPU time at its beginning in front; each problem, minimised, is a line of JSON on standard output; so is a count every 50 cases.
"""

from __future__ import annotations

import faulthandler
import json
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from consilium_testkit.fuzz_built import built_files
from consilium_testkit.fuzz_cases import Bases, Case, Cases, minimised
from consilium_testkit.fuzz_checks import check
from consilium_testkit.instances import ct_instance

ROOM_BYTES = 256 << 20
_BATCH = 50
_TO_CONFIRM = 3


def where(problem: BaseException) -> str:
    """Return what tells one problem from another: its type, the line of ours that raised it, and what it says without numbers."""
    ours = [frame for frame in traceback.extract_tb(problem.__traceback__) if "/consilium_" in frame.filename]
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    words = re.sub(r"[\d. -]+", " ", str(problem))[:60]
    return f"{type(problem).__name__} at {place}: {words}"


def outcome(data: bytes, folder: Path) -> tuple[str, str]:
    """Return (what is wrong or "", all that can be said of it); chance comes from the bytes, so that it can be repeated."""
    try:
        return "", check(data, random.Random(zlib.crc32(data)), folder)
    except Exception as problem:
        return where(problem), "".join(traceback.format_exception(problem))[-3000:]


class Worker:
    """Runs cases until it is ended."""

    def __init__(self, number: int, current: Path, bases: Bases, folder: Path) -> None:
        self._cases = Cases(bases, random.Random(number))
        self._number = number
        self._bases = bases
        self._current = current
        self._folder = folder
        self._known: set[str] = set()
        self._verdicts: dict[str, int] = {}
        self._done = 0

    def run_case(self, case: Case) -> str:
        """Run one case, its bytes on record; return what is wrong or ""."""
        self._done += 1
        begun = {"number": self._done, "cpu_s": time.process_time(), **case.to_json()}
        self._current.write_text(json.dumps(begun))
        wrong, said = outcome(case.data(self._bases), self._folder)
        self._verdicts[said if not wrong else "problem"] = self._verdicts.get(said if not wrong else "problem", 0) + 1
        return wrong

    def report(self, case: Case, wrong: str) -> None:
        """Print a problem that comes again each time, once, minimised."""
        if wrong in self._known or any(self.run_case(case) != wrong for _ in range(_TO_CONFIRM - 1)):
            return
        self._known.add(wrong)
        small = minimised(case, lambda one: self.run_case(one) == wrong)
        _, said = outcome(small.data(self._bases), self._folder)
        print(json.dumps({"problem": wrong, "case": small.to_json(), "said": said}), flush=True)

    def mutate(self) -> None:
        """Run one batch of broken files."""
        for _ in range(_BATCH):
            case = self._cases.draw()
            if wrong := self.run_case(case):
                self.report(case, wrong)

    def build(self, batch: int) -> None:
        """Run one batch of hypothesis' files."""
        found: list[tuple[Case, str]] = []

        def run(data: bytes) -> None:
            case = Case("", ((0, 0, data),))
            wrong = self.run_case(case)
            if wrong and wrong not in self._known:
                found.append((case, wrong))
                raise AssertionError(wrong)

        calm = settings(
            max_examples=_BATCH, database=None, deadline=None, suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink), report_multiple_bugs=False,
        )  # fmt: skip
        searched: Callable[[], None] = seed(self._number * 100_000 + batch)(calm(given(built_files())(run)))
        try:
            searched()
        except AssertionError:
            self.report(*found[-1])

    def count(self) -> None:
        """Print how far it is."""
        print(json.dumps({"done": self._done, "verdicts": self._verdicts}), flush=True)


def main() -> None:
    """Work until ended."""
    faulthandler.enable()
    warnings.simplefilter("ignore")  # pydicom's, of broken files
    shared = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        worker = Worker(int(sys.argv[1]), Path(sys.argv[2]), Bases(shared), Path(name))
        for _ in range(3):  # codecs load and start their threads
            outcome(ct_instance(side=64), Path(name))
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        room = pages * resource.getpagesize() + ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        batch = 0
        while True:
            batch += 1
            worker.mutate() if batch % 4 else worker.build(batch)
            worker.count()


if __name__ == "__main__":
    main()
