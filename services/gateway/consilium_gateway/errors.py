"""The gateway's errors, as leaves of the house's tree."""

from __future__ import annotations

from consilium_core.errors import Conflict, Denied, Exhausted, Gone, Invalid, NotFound, Unauthenticated, Unavailable


class SignInRefused(Unauthenticated):
    """Unknown user or wrong password: one answer for both."""

    code = "sign-in-refused"


class SessionEnded(Unauthenticated):
    """The refresh cookie is missing, used up, idle for too long or revoked."""

    code = "session-ended"


class HeaderMissing(Denied):
    """A cookie endpoint was called without the header that only our own client sends (CSRF)."""

    code = "requested-by-missing"
    mend = "caller"


class TooManyTries(Exhausted):
    """A rate limit of the door."""

    code = "too-many-tries"


class PasswordWrong(Denied):
    """The re-authentication of a signed-in user failed."""

    code = "password-wrong"
    mend = "caller"


class UserUnknown(NotFound):
    """No such user in the tenant."""

    code = "user-not-found"


class SiteUnknown(NotFound):
    """No such site in the tenant."""

    code = "site-not-found"


class SiteRevoked(Denied):
    """The site was revoked; an administrator gives a new enrolment code."""

    code = "site-revoked"


class SiteNotEnrolled(Conflict):
    """No agent has enrolled for the site yet: there is nobody to command."""

    code = "site-not-enrolled"
    mend = "admin"


class SiteSecretRefused(Unauthenticated):
    """The site's long-lived secret is not the one we know."""

    code = "site-secret-refused"


class CodeRefused(Denied):
    """The enrolment code is wrong."""

    code = "enrolment-code-refused"
    mend = "caller"


class CodeUsed(Gone):
    """The enrolment code was used by another agent, or has expired."""

    code = "enrolment-code-spent"


class SessionRequired(Conflict):
    """The agent must say hello (POST /site/v1/session) before it polls (SP-13)."""

    code = "session-required"


class CommandUnknown(NotFound):
    """No such command for this caller."""

    code = "command-not-found"


class CommandForeign(CommandUnknown):
    """The command is another site's: answered like an unknown one, and audited."""


class CommandClosed(Conflict):
    """The command has ended in another way; the agent drops it."""

    code = "command-closed"


class CommandExpired(Gone):
    """The command's deadline has passed; the agent drops it."""

    code = "command-expired"


class EventsDisordered(Invalid):
    """A batch of agent events is not in order of seq."""

    code = "events-disordered"


class UpstreamUnavailable(Unavailable):
    """The service behind the door does not answer."""

    code = "service-unavailable"


class ClientNotBuilt(Unavailable):
    """The web client's files are not there."""

    code = "client-not-built"
    mend = "operator"
