"""The web client's files: right types, hashed assets for ever, ``index.html`` for the client's own routes, gzip kept in memory.

Files are read in threads and remembered until their size or time changes; the memory is bounded.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import mimetypes
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Receive, Scope, Send

CSP = (
    "default-src 'self'; connect-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
)
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(self), display-capture=(self), geolocation=()"),
)
_HASHED = re.compile(r"[.-][A-Za-z0-9_-]{8,}\.[a-z0-9]+$")  # Vite: name-<hash>.js under assets/
_TEXT = re.compile(r"^(text/|application/(javascript|json|manifest\+json|wasm|xml)|image/svg)")
_TYPES = {
    ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8", ".json": "application/json", ".svg": "image/svg+xml", ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json", ".woff2": "font/woff2", ".ico": "image/x-icon", ".map": "application/json",
}  # fmt: skip
_REMEMBERED_BYTES = 64 << 20
_NOT_BUILT = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>consilium</title>
<h1>The web client is not built</h1><p>The server runs, but its web client is missing.
Run <code>make web</code> (or <code>make run</code>) and load this page again.</p>
<p lang="zh-CN">\xe7\xbd\x91\xe9\xa1\xb5\xe5\xae\xa2\xe6\x88\xb7\xe7\xab\xaf\xe5\xb0\x9a\xe6\x9c\xaa\xe6\x9e\x84\xe5\xbb\xba\xe3\x80\x82</p>"""


@dataclass(frozen=True, slots=True)
class _File:
    stamp: tuple[int, int]
    content_type: str
    body: bytes
    packed: bytes | None
    etag: bytes


class WebFiles:
    """ASGI app over one folder; ``root`` None or without ``index.html`` answers a page that says how to build it."""

    def __init__(self, root: Path | None) -> None:
        self._root = root.resolve() if root is not None else None
        self._files: OrderedDict[Path, _File] = OrderedDict()
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(scope, send, 405, [(b"allow", b"GET, HEAD")], b"")
            return
        path: str = scope["path"]
        found = await asyncio.to_thread(self._find, path)
        if found is None:
            if "." in path.rsplit("/", 1)[-1]:
                await _answer(scope, send, 404, [(b"content-type", b"text/plain")], b"There is no such file.\n")
                return
            headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
            await _answer(scope, send, 503, headers, _NOT_BUILT)
            return
        await self._send(scope, send, found, immutable=path.startswith("/assets/") and bool(_HASHED.search(path)))

    async def _send(self, scope: Scope, send: Send, file: _File, *, immutable: bool) -> None:
        asked = {name: value for name, value in scope["headers"] if name in (b"accept-encoding", b"if-none-match")}
        cache = b"public, max-age=31536000, immutable" if immutable else b"no-cache"
        headers = [(b"cache-control", cache), (b"etag", file.etag), (b"vary", b"Accept-Encoding")]
        if asked.get(b"if-none-match") == file.etag:
            await _answer(scope, send, 304, headers, None)
            return
        headers.append((b"content-type", file.content_type.encode()))
        if file.packed is not None and b"gzip" in asked.get(b"accept-encoding", b""):
            await _answer(scope, send, 200, [*headers, (b"content-encoding", b"gzip")], file.packed)
            return
        await _answer(scope, send, 200, headers, file.body)

    def _find(self, path: str) -> _File | None:
        """Return the file of a path, or ``index.html`` for a path of the client's own router; runs in a thread."""
        if self._root is None or "\0" in path:
            return None
        wanted = (self._root / path.lstrip("/")).resolve()
        if not wanted.is_relative_to(self._root) or not wanted.is_file():
            if any(letter.isalpha() for letter in Path(path).suffix):  # a missing file; a UID's dots are no extension
                return None
            wanted = self._root / "index.html"
        try:
            return self._read(wanted)
        except FileNotFoundError:
            return None

    def _read(self, path: Path) -> _File:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._files.get(path)
        if known is not None and known.stamp == stamp:
            return known
        body = path.read_bytes()
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        packed: bytes | None = None
        if _TEXT.match(kind) and len(body) > 1024:
            beside = path.with_name(path.name + ".gz")
            packed = beside.read_bytes() if beside.is_file() else gzip.compress(body, 6, mtime=0)
        etag = b'"' + hashlib.sha256(body).hexdigest()[:20].encode() + b'"'
        file = _File(stamp, kind, body, packed, etag)
        if len(body) <= _REMEMBERED_BYTES // 4:
            with self._lock:
                self._files[path] = file
                held = sum(len(f.body) + len(f.packed or b"") for f in self._files.values())
                while held > _REMEMBERED_BYTES:
                    _, old = self._files.popitem(last=False)
                    held -= len(old.body) + len(old.packed or b"")
        return file


async def _answer(
    scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes | None
) -> None:
    all_headers = [*headers, *SECURITY_HEADERS]
    if body is not None:
        all_headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": b"" if body is None or scope["method"] == "HEAD" else body})
