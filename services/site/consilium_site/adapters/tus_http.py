"""Uploads by tus 1.0 with creation and checksum (https://tus.io/protocols/resumable-upload, SP-33 to SP-35)."""

from __future__ import annotations

import base64
import hashlib

from consilium_core.site_protocol import UploadStatus
from consilium_site.adapters.http_client import Http, problem_detail, refuse, reply
from consilium_site.domain.spool import Manifest
from consilium_site.errors import ChecksumMismatch, OffsetConflict, ServerUnavailable, UploadGone, UploadRejected

_TUS = {"tus-resumable": "1.0.0"}
_REJECTED = (400, 413, 415, 422)
_CHUNK_TIMEOUT_S = 60.0


def _metadata(pairs: dict[str, str]) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


class TusUploads:
    """``ports.Uploads`` over HTTP."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(self, manifest: Manifest, filename: str) -> str:
        """Create the upload; raises UploadRejected when this object is not wanted."""
        metadata = _metadata(
            {
                "filename": filename,
                "sha256": manifest.sha256,
                "kind": manifest.kind,
                "command_id": manifest.command_id,
                "room_id": manifest.room_id,
                "capture_id": manifest.capture_id,
            }
        )
        response = await self._http.send(
            "POST",
            "/site/v1/uploads",
            headers={**_TUS, "upload-length": str(manifest.size_bytes), "upload-metadata": metadata},
        )
        if response.status_code in _REJECTED:
            raise UploadRejected(problem_detail(response))
        if response.status_code != 201:
            raise refuse(response)
        return self._http.resolve(response.headers.get("location", ""), against="/site/v1/uploads/")

    async def offset(self, url: str) -> int:
        """Ask by HEAD; raises UploadGone on 404 and 410."""
        response = await self._http.send("HEAD", url, headers=_TUS)
        if response.status_code in (404, 410):
            raise UploadGone("The server no longer knows this upload.")
        if response.status_code not in (200, 204):
            raise refuse(response)
        return _offset(response.headers.get("upload-offset", ""))

    async def send(self, url: str, offset: int, chunk: bytes) -> int:
        """PATCH one chunk with its checksum."""
        checksum = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
        response = await self._http.send(
            "PATCH",
            url,
            content=chunk,
            headers={
                **_TUS,
                "content-type": "application/offset+octet-stream",
                "upload-offset": str(offset),
                "upload-checksum": f"sha256 {checksum}",
            },
            read_timeout_s=_CHUNK_TIMEOUT_S,
        )
        if response.status_code == 409:
            raise OffsetConflict("The server holds another offset.")
        if response.status_code == 460:
            raise ChecksumMismatch("A chunk arrived damaged.")
        if response.status_code in (404, 410):
            raise UploadGone("The server no longer knows this upload.")
        if response.status_code in _REJECTED:
            raise UploadRejected(problem_detail(response))
        if response.status_code not in (200, 204):
            raise refuse(response)
        return _offset(response.headers.get("upload-offset", ""))

    async def status(self, url: str) -> UploadStatus:
        """Ask what became of the upload; raises UploadGone on 404 and 410."""
        response = await self._http.send("GET", f"{url.rstrip('/')}/status")
        if response.status_code in (404, 410):
            raise UploadGone("The server no longer knows this upload.")
        if response.status_code != 200:
            raise refuse(response)
        return reply(UploadStatus, response)


def _offset(text: str) -> int:
    if not text.isdigit():
        raise ServerUnavailable("The server did not say how many bytes it holds.")
    return int(text)
