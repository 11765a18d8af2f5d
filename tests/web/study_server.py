"""A study in memory behind the addresses that the viewer reads, with the built web client beside it.

Frame n (from 0) of the deep series has the stored value 100 * (n + 1) everywhere and a bright quadrant top left, so that a
picture on the screen tells which frame it is and which way up it stands.
"""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

STUDY, DEEP, CLIP = "2.25.1", "2.25.11", "2.25.12"
PRIOR = "2.25.2"  # listed beside the study; nothing of it is served
ROWS, COLUMNS, SLICES, FRAMES = 96, 128, 5, 12
CSP = (
    "default-src 'self'; connect-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
USER = {"id": "u", "username": "specialist", "name": "Dr Test", "role": "specialist", "tenant": "t"}


def stored(number: int) -> np.ndarray[Any, Any]:
    """Return slice ``number`` as uint16 (rows, columns), 12 bits stored."""
    pixels = np.full((ROWS, COLUMNS), 100 * (number + 1), np.uint16)
    pixels[: ROWS // 2, : COLUMNS // 2] = 1000
    return pixels


def jpeg(level: int, corner: int = 255) -> bytes:
    """Return a flat picture of one grey level with a bright quadrant top left."""
    pixels = np.full((ROWS, COLUMNS), level, np.uint8)
    pixels[: ROWS // 2, : COLUMNS // 2] = corner
    out = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(out, "JPEG", quality=95)
    return out.getvalue()


def _tags(**tags: Any) -> dict[str, Any]:
    return {
        tag[1:]: {"vr": "UN", "Value": value if isinstance(value, list) else [value]} for tag, value in tags.items()
    }


def metadata(series: str) -> list[dict[str, Any]]:
    """Return the series' DICOM JSON."""
    common = {"_0020000D": STUDY, "_0020000E": series, "_00280010": ROWS, "_00280011": COLUMNS}
    if series == CLIP:
        return [
            _tags(
                **common, _00080018="2.25.120", _00080060="US", _00280002=3, _00280004="YBR_FULL_422", _00280100=8,
                _00280101=8, _00280008=FRAMES, _00181063=50, _00083002="1.2.840.10008.1.2.4.50", _00282110="01",
            )
        ]  # fmt: skip
    return [
        _tags(
            **common, _00080018=f"2.25.11{n}", _00080060="CT", _00200013=n + 1, _00280002=1, _00280004="MONOCHROME2",
            _00280100=16, _00280101=12, _00280103=0, _00281050=512, _00281051=1024, _00281052=0, _00281053=1,
            _00083002="1.2.840.10008.1.2.1",
        )
        for n in range(SLICES)
    ]  # fmt: skip


class StudyServer:
    """Runs until ``close``; ``seen`` counts the requests by kind, ``broken`` makes every frame answer 503."""

    def __init__(self, dist: Path) -> None:
        self.dist = dist
        self.seen: Counter[str] = Counter()
        self.broken = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name  # noqa: A002 - the base class's word
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="study-server", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = handler.path.partition("?")[0]
        status, kind, body = self._body(path)
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Content-Security-Policy", CSP)
        handler.end_headers()
        handler.wfile.write(body)

    def _body(self, path: str) -> tuple[int, str, bytes]:
        if path.startswith("/api/v1/session"):
            return _json({"access_token": "a.b.c", "expires_in_s": 900, "user": USER})
        if path == "/api/v1/imaging/worklist":
            return _json({"items": [_study(), _study(PRIOR, "20250301")], "next_cursor": None})
        if path.startswith("/api/"):
            return _json({"title": "Not here", "status": 404, "code": "not-found", "detail": "Not here"}, 404)
        if path == f"/dicomweb/studies/{STUDY}/series":
            return _json([_series(DEEP, "CT", 1), _series(CLIP, "US", 2)])
        if path.endswith("/metadata"):  # without the transfer syntax, as PS3.18 F.2 has it
            return _json([{k: v for k, v in one.items() if k != "00083002"} for one in metadata(path.split("/")[5])])
        if path.endswith("/instances"):
            return _json([{k: one[k] for k in ("00080018", "00083002")} for one in metadata(path.split("/")[5])])
        if path.startswith("/dicomweb/"):
            return self._frame(path)
        return self._file(path)

    def _frame(self, path: str) -> tuple[int, str, bytes]:
        parts = path.split("/")
        series, instance = parts[5], parts[7]
        self.seen["rendered" if path.endswith("/rendered") else parts[-2]] += 1
        if self.broken:
            return _json(
                {"status": 503, "code": "store-down", "title": "Unavailable", "detail": "The store rests."}, 503
            )
        number = int(instance[-1])
        if path.endswith(("/thumbnail", "/rendered")):
            return 200, "image/jpeg", jpeg(round(100 * (number + 1) / 4))
        wanted = [int(one) - 1 for one in parts[9].split(",")]
        if series == CLIP:
            return _parts("image/jpeg", [jpeg(20 * n, corner=255) for n in wanted])
        return _parts("application/octet-stream", [stored(number).tobytes()])

    def _file(self, path: str) -> tuple[int, str, bytes]:
        file = self.dist / path.lstrip("/")
        if not file.is_file():
            file = self.dist / "index.html"
        return 200, TYPES.get(file.suffix, "application/octet-stream"), file.read_bytes()


def _json(value: Any, status: int = 200) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(value).encode()


def _parts(kind: str, bodies: list[bytes]) -> tuple[int, str, bytes]:
    chunks = [f"\r\n--edge\r\nContent-Type: {kind}\r\n\r\n".encode() + body for body in bodies]
    return 200, f'multipart/related; type="{kind}"; boundary=edge', b"".join([*chunks, b"\r\n--edge--\r\n"])


def _series(uid: str, modality: str, number: int) -> dict[str, Any]:
    return _tags(_0020000E=uid, _00080060=modality, _00200011=number, _00201209=1)


def _study(uid: str = STUDY, date: str = "20260101") -> dict[str, Any]:
    name = {"alphabetic": "Zhang^San", "ideographic": "张^三"}
    return {
        "study_uid": uid, "patient_id": "P1", "patient_name": name, "study_date": date, "study_time": None,
        "description": "Test", "modalities": ["CT", "US"], "series": 2, "instances": 6, "accession_number": "A1",
    }  # fmt: skip
