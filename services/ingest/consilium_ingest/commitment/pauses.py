"""How long is waited between attempts to decide or to report, and when it is enough, pure. Only attempts count, not the time that no process ran."""

from __future__ import annotations

NO_ADDRESS = "no-address"  # settings are read at the start only: asking often helps nobody
_FIRST_S, _LONGEST_S, _NO_ADDRESS_S = 5.0, 900.0, 3600.0


def pause_s(attempts: int, problem: str = "") -> float:
    """Return how long to wait after so many attempts: 5 s, doubled each time, at most 15 min; an hour where there is no address."""
    if problem == NO_ADDRESS:
        return _NO_ADDRESS_S
    return float(min(_FIRST_S * 2 ** min(max(attempts - 1, 0), 16), _LONGEST_S))


def most_attempts(give_up_s: float, problem: str = "") -> int:
    """Return how many attempts there are until their pauses come to ``give_up_s``; at least one."""
    attempts, paused_s = 1, 0.0
    while (paused_s := paused_s + pause_s(attempts, problem)) < give_up_s:
        attempts += 1
    return attempts
