"""A capture's life: requested -> stored | failed; what arrives late after a failure is stored all the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from consilium_core.frame_ref import FrameRef

CaptureKind = Literal["still", "clip"]


class CaptureState(StrEnum):
    """Where a capture stands."""

    REQUESTED = "requested"
    STORED = "stored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Capture:
    """One still or clip that somebody asked for; ``settled`` says that its command needs no more following."""

    id: str
    room_id: str
    tenant: str
    kind: CaptureKind
    state: CaptureState
    seconds: float
    frame: FrameRef | None
    requested_at: datetime
    requested_by: str
    deadline: datetime
    command_id: str = ""
    settled: bool = False
    study_uid: str = ""
    sop_instance_uid: str = ""
    reason: str = ""

    def sent(self, command_id: str) -> Capture:
        """The gateway took the command."""
        return replace(self, command_id=command_id)

    def spooled(self, study_uid: str, sop_instance_uid: str) -> Capture:
        """The site has the object durably; it becomes stored when the archive says so."""
        if self.state is CaptureState.STORED:
            return replace(self, settled=True)
        return replace(self, settled=True, study_uid=study_uid, sop_instance_uid=sop_instance_uid)

    def stored(self, study_uid: str, sop_instance_uid: str) -> Capture:
        """The archive holds it and it can be read."""
        return replace(
            self, state=CaptureState.STORED, settled=True, study_uid=study_uid,
            sop_instance_uid=sop_instance_uid, reason="",
        )  # fmt: skip

    def given_up(self, reason: str) -> Capture:
        """The site will not send it: it fails unless its end is known already."""
        return self.failed(reason) if self.state is CaptureState.REQUESTED else self

    def failed(self, reason: str) -> Capture:
        """It will not come, and why; a stored capture stays stored."""
        if self.state is CaptureState.STORED:
            return self
        return replace(self, state=CaptureState.FAILED, settled=True, reason=reason[:400])
