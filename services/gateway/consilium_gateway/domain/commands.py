"""The life of a command to a site as a table; an illegal step raises CommandClosed (product's section 4.6, thinly).

queued -> offered (in a poll's answer) -> running (accepted) -> succeeded | failed | cancelled; before that: refused, expired, cancelled.
"""

from __future__ import annotations

from consilium_core.site_protocol import CommandState, CommandType
from consilium_gateway.errors import CommandClosed, CommandExpired

S = CommandState
TRANSITIONS: dict[CommandState, frozenset[CommandState]] = {
    S.QUEUED: frozenset({S.OFFERED, S.EXPIRED, S.CANCELLED}),
    S.OFFERED: frozenset({S.RUNNING, S.REFUSED, S.EXPIRED, S.CANCELLED}),
    S.RUNNING: frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.REFUSED: frozenset(),
    S.EXPIRED: frozenset(),
    S.CANCELLED: frozenset(),
}
FINAL = frozenset(state for state, after in TRANSITIONS.items() if not after)
OPEN = frozenset(S) - FINAL
# A lost lease ends these: they touch the world once and are never tried again by somebody else (SP-28).
LEASED = frozenset(
    {
        CommandType.STREAM_PUBLISH,
        CommandType.STREAM_STOP,
        CommandType.STREAM_KEYFRAME,
        CommandType.CAPTURE_MARK,
        CommandType.CAPTURE_CLIP,
        CommandType.AGENT_DIAGNOSE,
    }
)


def check_step(now: CommandState, then: CommandState) -> None:
    """Raise CommandClosed or CommandExpired unless the table allows the step."""
    if then in TRANSITIONS[now]:
        return
    if now is S.EXPIRED:
        raise CommandExpired("The command's deadline has passed.", state=now.value)
    raise CommandClosed(f"The command is {now.value} and can't become {then.value}.", state=now.value)


def can_step(now: CommandState, then: CommandState) -> bool:
    """Say whether the table allows the step."""
    return then in TRANSITIONS[now]
