"""The life of a consultation, as a table: what may follow what, and who may move it."""

from __future__ import annotations

from enum import StrEnum

from consilium_consult.errors import TransitionRefused
from consilium_core.roles import Permission


class ConsultationState(StrEnum):
    """States of a consultation (FHIR Task: requested, accepted, in-progress, in-progress, completed, cancelled, rejected)."""

    REQUESTED = "requested"
    ACCEPTED = "accepted"
    IN_SESSION = "in_session"
    REPORTING = "reporting"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Verb(StrEnum):
    """What people do to a consultation; COMPLETE is done by the report's signature alone."""

    ACCEPT = "accept"
    START = "start"
    FINISH = "finish"
    CANCEL = "cancel"
    REJECT = "reject"
    COMPLETE = "complete"


_S = ConsultationState
TRANSITIONS: dict[tuple[ConsultationState, Verb], ConsultationState] = {
    (_S.REQUESTED, Verb.ACCEPT): _S.ACCEPTED,
    (_S.REQUESTED, Verb.REJECT): _S.REJECTED,
    (_S.REQUESTED, Verb.CANCEL): _S.CANCELLED,
    (_S.ACCEPTED, Verb.START): _S.IN_SESSION,
    (_S.ACCEPTED, Verb.FINISH): _S.REPORTING,  # a consultation over stored images has no session
    (_S.ACCEPTED, Verb.CANCEL): _S.CANCELLED,
    (_S.IN_SESSION, Verb.START): _S.IN_SESSION,  # joining again
    (_S.IN_SESSION, Verb.FINISH): _S.REPORTING,
    (_S.REPORTING, Verb.FINISH): _S.REPORTING,
    (_S.REPORTING, Verb.COMPLETE): _S.COMPLETED,
}

PERMISSION: dict[Verb, Permission] = {
    Verb.ACCEPT: Permission.CONSULT_ACCEPT,
    Verb.REJECT: Permission.CONSULT_ACCEPT,
    Verb.START: Permission.ROOM_HOST,
    Verb.FINISH: Permission.REPORT_DRAFT,
    Verb.CANCEL: Permission.CONSULT_REQUEST,
}

NEEDS_REASON = frozenset({Verb.CANCEL, Verb.REJECT})


def next_state(state: ConsultationState, verb: Verb) -> ConsultationState:
    """Return the state after ``verb`` or raise TransitionRefused with what is possible."""
    following = TRANSITIONS.get((state, verb))
    if following is None:
        possible = sorted(v.value for s, v in TRANSITIONS if s is state and v is not Verb.COMPLETE)
        words = ", ".join(possible) if possible else "nothing more"
        raise TransitionRefused(
            f"A consultation that is {state.value.replace('_', ' ')} can't {verb.value}; possible: {words}.",
            state=state.value,
            verb=verb.value,
        )
    return following
