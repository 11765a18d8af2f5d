"""The hot folder: bounded, least recently used leaves first, never other bytes than its names say, whoever shares or dies."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consilium_platform.blobs_hot import HotFolder

SIZE = 1000
BOUND = 10 * SIZE


class Wall:
    """A clock of the wall that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


def key_of(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"originals/demo/{digest[:2]}/{digest}.dcm"


def filled(folder: HotFolder, data: bytes) -> str | None:
    filling = folder.begin(key_of(data), len(data), hashlib.sha256(data).hexdigest())
    if filling is None:
        return None
    filling.write(data[:100])
    filling.write(data[100:])
    assert filling.finish()
    return key_of(data)


def bytes_in(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and path.name != ".used")


def objects(count: int) -> list[bytes]:
    return [bytes([n]) * SIZE for n in range(count)]


def test_what_was_used_longest_ago_leaves_and_the_bound_holds_at_every_step(tmp_path: Path) -> None:
    wall, large = Wall(), bytes(SIZE)
    folder = HotFolder(tmp_path, BOUND, wall)
    kept = []
    for data in objects(10):
        wall.now += 100
        kept.append(filled(folder, data))
    wall.now += 100
    assert folder.read(str(kept[0]), SIZE, 10, 5) == bytes([0]) * 5  # used now
    for data in objects(12)[10:]:
        wall.now += 100
        assert filled(folder, data)
        assert bytes_in(tmp_path) <= BOUND
    held = [folder.holds(str(key), SIZE) for key in kept]
    assert (held[0], held[1:3], all(held[4:])) == (True, [False, False], True)
    assert folder.begin(key_of(large), BOUND // 8 + 1, "x") is None, "one object does not drive the others out"


def test_what_nobody_used_for_the_age_leaves_at_the_sweep(tmp_path: Path) -> None:
    wall = Wall()
    folder = HotFolder(tmp_path, BOUND, wall)
    old, used = (str(filled(folder, data)) for data in objects(2))
    wall.now += 3000
    assert folder.read(used, SIZE, 0, SIZE) is not None
    wall.now += 3000
    assert folder.sweep(5000) == (1, 1, SIZE)
    assert (folder.holds(old, SIZE), folder.holds(used, SIZE)) == (False, True)


@pytest.mark.parametrize("wrong", ["other bytes", "short", "long"])
def test_what_is_not_what_it_is_called_is_never_here(tmp_path: Path, wrong: str) -> None:
    folder, data = HotFolder(tmp_path, BOUND), b"a" * SIZE
    came = {"other bytes": b"b" * SIZE, "short": data[:-1], "long": data + b"a"}[wrong]
    filling = folder.begin(key_of(data), SIZE, hashlib.sha256(data).hexdigest())
    assert filling is not None
    filling.write(came)
    assert not filling.finish()
    assert (folder.read(key_of(data), SIZE, 0, SIZE), bytes_in(tmp_path)) == (None, 0)
    assert folder.sweep(1e9) == (0, 0, 0)


def test_a_file_that_was_cut_short_is_not_served_and_makes_way(tmp_path: Path) -> None:
    folder, data = HotFolder(tmp_path, BOUND), b"a" * SIZE
    key = str(filled(folder, data))
    os.truncate(tmp_path / "objects" / key, SIZE - 1)
    assert folder.read(key, SIZE, 0, 10) is None
    assert not (tmp_path / "objects" / key).exists()
    assert filled(folder, data) == key


_ENDLESS = """
import hashlib, sys
from pathlib import Path
from consilium_platform.blobs_hot import HotFolder
folder, n = HotFolder(Path(sys.argv[1]), 100_000), 0
while True:
    n += 1
    data = (sys.argv[2] + str(n)).encode().ljust(5000, b".")
    digest = hashlib.sha256(data).hexdigest()
    filling = folder.begin(f"originals/demo/{digest[:2]}/{digest}.dcm", 5000, digest)
    if filling is not None:
        filling.write(data)
        assert filling.finish()
    if n == 60:
        print("full", flush=True)
"""


def test_processes_that_share_it_and_are_killed_leave_whole_objects_within_the_bound(tmp_path: Path) -> None:
    makers = [
        subprocess.Popen([sys.executable, "-c", _ENDLESS, str(tmp_path), name], stdout=subprocess.PIPE)
        for name in ("one", "two", "three")
    ]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"full\n"
    for maker in makers:
        maker.send_signal(signal.SIGKILL)
        maker.communicate()
    assert bytes_in(tmp_path) <= 100_000
    folder = HotFolder(tmp_path, 100_000)
    _, count, held = folder.sweep(1e9)
    assert held == 5000 * count > 50_000
    for path in (tmp_path / "objects").rglob("*.dcm"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    wall = Wall()
    later = HotFolder(tmp_path, 100_000, lambda: wall.now * 2)  # long after: what nobody fills in any more has gone
    later.sweep(1e12)
    assert list((tmp_path / ".incoming").iterdir()) == []
    assert int.from_bytes((tmp_path / ".used").read_bytes(), "big") == held
