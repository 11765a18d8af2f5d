"""Send a study of 4 GB through the archive and read it back, and print the server's private memory at its peak, one JSON line per step.

Half of the study comes as one STOW-RS request without a length, half by four senders at once; then one object of 1.9 GB by STOW-RS and another
by C-STORE. The same is read: the whole study as one multipart body, metadata, single frames. Private memory is what the kernel can't take
back (RssAnon), sampled every 20 ms. ``python loadtest/bench_memory.py [--gb N] [--servers] [--folder DIR]`` needs three times as much disk.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from archive_peers import Target, consilium, real_world
from archive_work import OCTETS, Study, large_study, store
from consilium_core.ids import new_uid
from consilium_testkit import servers
from consilium_testkit.instances import ct_instance, uids_of

_MIB = 1 << 20
_FRAME_BYTES = 512 << 10
_BOUNDARY = b"bench-memory"
_READ_BYTES = 1 << 20


class Memory:
    """The private memory of a process: now, and at its peak since ``start``."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.peak_mib = 0.0
        self._running = True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def now_mib(self) -> float:
        """Return it in MiB."""
        line = next(line for line in self._status.read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) / 1024

    def start(self) -> None:
        """Forget the peak."""
        self.peak_mib = self.now_mib()

    def _watch(self) -> None:
        while self._running:
            self.peak_mib = max(self.peak_mib, self.now_mib())
            time.sleep(0.02)

    def close(self) -> None:
        """Stop looking."""
        self._running = False
        self._thread.join()


@contextmanager
def step(memory: Memory, name: str, size_bytes: int) -> Iterator[None]:
    """Print how fast the work inside was, and how much memory it needed."""
    memory.start()
    before, started = memory.now_mib(), time.perf_counter()
    yield
    wall = time.perf_counter() - started
    figures = {
        "before_mib": round(before), "peak_mib": round(memory.peak_mib), "after_mib": round(memory.now_mib()),
        "mb": round(size_bytes / 1e6), "mb_per_s": round(size_bytes / 1e6 / wall, 1),
    }  # fmt: skip
    print(json.dumps({"figure": "memory", "step": name, **figures}), flush=True)


def _connection(target: Target) -> http.client.HTTPConnection:
    parts = urlsplit(target.url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=600)


def _stow(target: Target, chunks: Iterator[bytes]) -> None:
    """Send one request whose length is not known before."""
    connection = _connection(target)
    media = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY.decode()}'
    headers = {**target.headers, "Content-Type": media, "Accept": "application/dicom+json"}
    connection.request("POST", f"{target.root}/studies", chunks, headers, encode_chunked=True)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"STOW answered {answer.status}: {said[:300]!r}")
    connection.close()


def _parts(files: Iterator[Iterator[bytes]]) -> Iterator[bytes]:
    for file in files:
        yield b"--" + _BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
        yield from file
        yield b"\r\n"
    yield b"--" + _BOUNDARY + b"--\r\n"


def _read(target: Target, path: str, accept: str) -> int:
    """Read an answer and drop it; return its length."""
    connection = _connection(target)
    connection.request("GET", f"{target.root}{path}", headers={**target.headers, "Accept": accept})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {answer.read()[:300]!r}")
    size = 0
    while data := answer.read(_READ_BYTES):
        size += len(data)
    connection.close()
    return size


def _template() -> tuple[bytes, Study]:
    data = ct_instance(side=512)
    study, series, sop = uids_of(data)
    return data, Study(study, series, (sop,))


def _instances(template: bytes, study: Study, count: int) -> Iterator[Iterator[bytes]]:
    """Yield ``count`` files of one study without ever having two of them."""
    old = study.instances[0]
    for _ in range(count):
        yield iter([template.replace(old.encode(), new_uid()[: len(old)].ljust(len(old), "1").encode())])


def _large_object(frames: int) -> tuple[Iterator[bytes], Study, int]:
    """Return a multi-frame CT object in pieces, whose it is, and its length."""
    frame = bytes(range(256)) * (_FRAME_BYTES // 256)
    short = ct_instance(
        side=512, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=str(frames), PixelData=frame
    )
    head = short[: -len(frame) - 4] + (frames * _FRAME_BYTES).to_bytes(4, "little")
    study, series, sop = uids_of(short)

    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(frames):
            yield frame

    return pieces(), Study(study, series, (sop,)), len(head) + frames * _FRAME_BYTES


def measure(target: Target, folder: Path, total_bytes: int, dicom_port: int) -> None:
    """Do everything on one target."""
    template, study = _template()
    half, frames = total_bytes // 2 // len(template), min(total_bytes * 19 // 40, 1900 * 10**6) // _FRAME_BYTES
    memory = Memory(target.pids[0])
    try:
        with step(memory, "STOW-RS, 2 instances", 2 * len(template)):
            _stow(target, _parts(_instances(template, study, 2)))
        with step(memory, f"STOW-RS, {half} instances in one request", half * len(template)):
            _stow(target, _parts(_instances(template, study, half)))
        with step(memory, f"STOW-RS, {half} instances, 10 per request, 4 senders", half * len(template)):
            for at in range(0, half, 400):  # the sender's memory is bounded too
                store(target, large_study(min(400, half - at))[1], per_request=10, senders=4)
        pieces, large, size = _large_object(frames)
        with step(memory, f"STOW-RS, one object of {frames} frames", size):
            _stow(target, _parts(iter([pieces])))
        pieces, sent, size = _large_object(frames)
        file = folder / "large.dcm"
        with file.open("wb") as out:
            out.writelines(pieces)
        with step(memory, f"C-STORE, one object of {frames} frames", size):
            _storescu(file, dicom_port)
        file.unlink()
        base = f"/studies/{study.study}"
        with step(memory, "metadata of the study", half * len(template)):
            _read(target, f"{base}/metadata", "application/dicom+json")
        with step(memory, "WADO-RS, the study", half * len(template)):
            _read(target, base, 'multipart/related; type="application/dicom"; transfer-syntax=*')
        with step(memory, "WADO-RS, the study in JPEG-LS", half * len(template)):
            _read(target, base, 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.80')
        for name, one in (("stored by STOW-RS", large), ("stored by C-STORE", sent)):
            with step(memory, f"WADO-RS, the large object {name}", size):
                _read(target, one.instance(0), 'multipart/related; type="application/dicom"; transfer-syntax=*')
        with step(memory, "60 frames of the large object", 60 * _FRAME_BYTES):
            for number in range(60):
                _read(target, f"{large.instance(0)}/frames/{1 + number * frames // 60}", OCTETS)
        with step(memory, "60 pictures of the large object", 60 * _FRAME_BYTES):
            for number in range(60):
                _read(target, f"{large.instance(0)}/frames/{1 + number * frames // 60}/rendered", "image/jpeg")
    finally:
        memory.close()


def _storescu(file: Path, port: int) -> None:
    command = ["storescu", "-xe", "--max-send-pdu", "131072", "-aec", "BENCH", "127.0.0.1", str(port), str(file)]
    subprocess.run(command, env={**os.environ, "TCP_NODELAY": "1"}, check=True, timeout=900)


def main() -> None:
    """Measure one world."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gb", type=float, default=4.0, help="size of the study, GB")
    parser.add_argument("--servers", action="store_true", help="on PostgreSQL, Redis and S3 instead of embedded")
    parser.add_argument("--folder", type=Path, default=None, help="where the archive may lie; it is emptied afterwards")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-memory-", dir=asked.folder)))
        folder.chmod(0o711)  # PostgreSQL runs as its own user below it
        port = servers.free_port()
        env = stack.enter_context(real_world(folder / "real", int(2 * asked.gb) + 3)) if asked.servers else {}
        env = {**env, "CONSILIUM_INGEST_DICOM_PORT": str(port)}
        measure(stack.enter_context(consilium(folder / "archive", env)), folder, int(asked.gb * 1e9), port)


if __name__ == "__main__":
    main()
