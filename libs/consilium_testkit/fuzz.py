"""Fuzzing for a while in processes that may die: problems are collected, a process that hangs or crashes is one.

``fuzz`` owns its workers and their files. A worker that spends ``HANG_CPU_S`` of CPU time on one case hangs; it is ended, and the case
it was at is the reproducer. A new one takes its place, with other chance.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from consilium_testkit.fuzz_cases import Case

HANG_CPU_S = 30.0


@dataclass(slots=True)
class Problem:
    """One thing that is wrong: a short name, the smallest case, and what was said."""

    name: str
    case: Case
    said: str


@dataclass(slots=True)
class Found:
    """What a run did and found."""

    cases: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    problems: dict[str, Problem] = field(default_factory=dict)

    def add(self, name: str, case: dict[str, Any], said: str) -> None:
        """Keep a problem, the first time."""
        self.problems.setdefault(name, Problem(name, Case.from_json(case), said))


class _Watched:
    """One worker."""

    def __init__(self, seed: int, folder: Path, shared: Path | None) -> None:
        self._current = folder / f"{seed}.json"
        self._errors = folder / f"{seed}.err"
        self.done = 0
        self.verdicts: dict[str, int] = {}
        command = [sys.executable, "-m", "consilium_testkit.fuzz_worker", str(seed), str(self._current)]
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, *([str(shared)] if shared else [])], stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
            )  # fmt: skip

    @property
    def lines(self) -> IO[bytes]:
        """Return its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout

    def take(self, line: bytes, found: Found) -> None:
        """Take one line that it printed."""
        told = json.loads(line)
        if "problem" in told:
            found.add(told["problem"], told["case"], told["said"])
        else:
            self.done, self.verdicts = told["done"], told["verdicts"]

    def hangs(self) -> bool:
        """Tell whether its present case has used up its CPU time."""
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            begun = json.loads(self._current.read_text())
            times = psutil.Process(self.process.pid).cpu_times()
            return bool(times.user + times.system - begun["cpu_s"] > HANG_CPU_S)
        return False

    def stop(self, found: Found) -> None:
        """End it in the middle of its work: the time is over; one that had ended by itself is a problem all the same."""
        if self.process.poll() is not None:
            self.end(found, "")
            return
        self.process.kill()
        self.process.wait()
        self.lines.close()
        found.cases += self.done
        found.verdicts.update(self.verdicts)

    def end(self, found: Found, why: str) -> None:
        """End it; with ``why`` (or if it ended by itself) its present case is a problem."""
        crashed = self.process.poll()
        self.process.kill()
        self.process.wait()
        self.lines.close()
        found.cases += self.done
        found.verdicts.update(self.verdicts)
        if why or crashed is not None:
            said = self._errors.read_text(errors="replace")[-3000:]
            try:
                case = json.loads(self._current.read_text())
            except (OSError, ValueError):
                raise RuntimeError(f"a fuzzing process ended ({crashed}) before its first case: {said}") from None
            found.add(why or f"the process ended with {crashed}", case, said)


def fuzz(seconds: float, *, workers: int, seed: int, shared: Path | None) -> Found:
    """Fuzz for ``seconds`` and return what was found; ``shared`` is a folder of more files to break."""
    found, end, next_seed = Found(), time.monotonic() + seconds, seed
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, selectors.DefaultSelector() as selector:
        running: list[_Watched] = []
        try:
            while time.monotonic() < end:
                while len(running) < workers:
                    running.append(_Watched(next_seed, Path(name), shared))
                    selector.register(running[-1].lines, selectors.EVENT_READ, running[-1])
                    next_seed += 1
                gone: dict[int, str] = {}
                for key, _ in selector.select(timeout=0.5):
                    if line := key.data.lines.readline():
                        key.data.take(line, found)
                    else:
                        key.data.process.wait()
                        gone[id(key.data)] = ""
                for one in running:
                    if one.hangs():
                        gone[id(one)] = f"more than {HANG_CPU_S:.0f} s of CPU for one case"
                for one in [one for one in running if id(one) in gone]:
                    selector.unregister(one.lines)
                    running.remove(one)
                    one.end(found, gone[id(one)])
        finally:
            for one in running:
                selector.unregister(one.lines)
                one.stop(found)
    return found
