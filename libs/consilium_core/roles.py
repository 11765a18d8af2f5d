"""Who may do what: roles, permissions and the one table between them; deny by default."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from consilium_core.errors import Denied

PrincipalKind = Literal["user", "site", "service"]


class Role(StrEnum):
    """The roles of people, and of the two kinds of machine."""

    OPERATOR = "operator"
    SPECIALIST = "specialist"
    REVIEWER = "reviewer"
    TRAINEE = "trainee"
    REFERRER = "referrer"
    QC = "qc"
    ITSEC = "itsec"
    ADMIN = "admin"
    SITE = "site"
    SERVICE = "service"


class Permission(StrEnum):
    """One name for each thing an endpoint may ask for."""

    ROOM_LIST = "room.list"
    ROOM_VIEW = "room.view"
    ROOM_DRAW = "room.draw"
    ROOM_SPEAK = "room.speak"
    ROOM_HOST = "room.host"  # create, start and stop the stream, end
    ROOM_PUBLISH = "room.publish"  # WHIP
    ROOM_CAPTURE = "room.capture"
    STUDY_READ = "study.read"
    STUDY_STORE = "study.store"
    PATIENT_READ = "patient.read"
    PATIENT_WRITE = "patient.write"
    CONSULT_READ = "consult.read"
    CONSULT_REQUEST = "consult.request"
    CONSULT_ACCEPT = "consult.accept"
    REPORT_READ = "report.read"
    REPORT_DRAFT = "report.draft"
    REPORT_REVIEW = "report.review"
    REPORT_SIGN = "report.sign"
    QUARANTINE_READ = "quarantine.read"
    QUARANTINE_DECIDE = "quarantine.decide"  # propose and approve an identity, release, reject
    STORAGE_READ = "storage.read"
    HOLD_DECIDE = "hold.decide"  # place and release legal holds
    ROUTING_READ = "routing.read"
    ROUTING_EDIT = "routing.edit"  # make and change rules, try again
    RECEIPT_READ = "receipt.read"  # storage commitment: transactions, signed receipts, their printed pages
    SITE_READ = "site.read"
    SITE_MANAGE = "site.manage"
    SITE_WORK = "site.work"  # what an agent does for itself: poll, events, uploads
    AUDIT_READ = "audit.read"
    USER_READ = "user.read"
    EVENTS_READ = "events.read"
    INTERNAL = "internal"


_R = Role
_CLINICAL = frozenset({_R.OPERATOR, _R.SPECIALIST, _R.REVIEWER})
_PEOPLE = frozenset(r for r in Role if r not in (_R.SITE, _R.SERVICE))

PERMISSIONS: dict[Permission, frozenset[Role]] = {
    Permission.ROOM_LIST: _PEOPLE,
    Permission.ROOM_VIEW: _CLINICAL | {_R.TRAINEE, _R.QC, _R.ADMIN},
    Permission.ROOM_DRAW: _CLINICAL,
    Permission.ROOM_SPEAK: _CLINICAL | {_R.TRAINEE},
    Permission.ROOM_HOST: frozenset({_R.OPERATOR, _R.SPECIALIST, _R.ADMIN, _R.SERVICE}),
    Permission.ROOM_PUBLISH: frozenset({_R.SITE, _R.OPERATOR, _R.ADMIN}),
    Permission.ROOM_CAPTURE: frozenset({_R.OPERATOR, _R.SPECIALIST, _R.REVIEWER}),
    Permission.STUDY_READ: _CLINICAL | {_R.REFERRER, _R.QC, _R.ADMIN, _R.SERVICE},
    Permission.STUDY_STORE: frozenset({_R.SITE, _R.OPERATOR, _R.ADMIN, _R.SERVICE}),
    Permission.PATIENT_READ: _CLINICAL | {_R.REFERRER, _R.ADMIN},
    Permission.PATIENT_WRITE: frozenset({_R.OPERATOR, _R.REFERRER, _R.ADMIN}),
    Permission.CONSULT_READ: _CLINICAL | {_R.REFERRER, _R.ADMIN},
    Permission.CONSULT_REQUEST: frozenset({_R.OPERATOR, _R.REFERRER}),
    Permission.CONSULT_ACCEPT: frozenset({_R.SPECIALIST, _R.REVIEWER}),
    Permission.REPORT_READ: _CLINICAL | {_R.REFERRER, _R.QC, _R.ADMIN},
    Permission.REPORT_DRAFT: frozenset({_R.OPERATOR, _R.SPECIALIST}),
    Permission.REPORT_REVIEW: frozenset({_R.SPECIALIST, _R.REVIEWER}),
    Permission.REPORT_SIGN: frozenset({_R.REVIEWER}),
    Permission.QUARANTINE_READ: frozenset({_R.OPERATOR, _R.REVIEWER, _R.QC, _R.ADMIN}),
    Permission.QUARANTINE_DECIDE: frozenset({_R.OPERATOR, _R.QC, _R.ADMIN}),
    Permission.STORAGE_READ: frozenset({_R.QC, _R.ITSEC, _R.ADMIN}),
    Permission.HOLD_DECIDE: frozenset({_R.QC, _R.ADMIN}),
    Permission.ROUTING_READ: frozenset({_R.OPERATOR, _R.QC, _R.ITSEC, _R.ADMIN}),
    Permission.ROUTING_EDIT: frozenset({_R.ITSEC, _R.ADMIN}),
    Permission.RECEIPT_READ: frozenset({_R.OPERATOR, _R.QC, _R.ITSEC, _R.ADMIN}),
    Permission.SITE_READ: frozenset({_R.OPERATOR, _R.SPECIALIST, _R.ITSEC, _R.ADMIN}),
    Permission.SITE_MANAGE: frozenset({_R.ITSEC, _R.ADMIN}),
    Permission.SITE_WORK: frozenset({_R.SITE}),
    Permission.AUDIT_READ: frozenset({_R.ITSEC, _R.ADMIN}),
    Permission.USER_READ: frozenset({_R.ADMIN, _R.ITSEC}),
    Permission.EVENTS_READ: _PEOPLE,
    Permission.INTERNAL: frozenset({_R.SERVICE}),
}

# Who outranks whom when a report is signed: the signer must stand strictly above the author.
GRADE: dict[Role, int] = {_R.TRAINEE: 0, _R.REFERRER: 0, _R.OPERATOR: 1, _R.SPECIALIST: 2, _R.REVIEWER: 3}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: taken from a verified token, never from the request's body."""

    kind: PrincipalKind
    subject: str
    tenant: str
    role: Role
    name: str
    token_id: str = ""
    expires_at: float = 0.0

    def may(self, permission: Permission) -> bool:
        """Say whether this role holds the permission."""
        return self.role in PERMISSIONS[permission]

    def require(self, permission: Permission) -> None:
        """Raise Denied unless this role holds the permission."""
        if not self.may(permission):
            raise Denied(
                f"The role {self.role.value} may not do this ({permission.value}). An administrator assigns roles.",
                permission=permission.value,
                role=self.role.value,
            )
