"""When to try again and how long to wait: full-jitter back-off and the adaptive long poll (SP-21, SP-22). Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

POLL_STEPS_S = (25.0, 12.0, 10.0)
POLL_GROWTH_S = 5.0
EARLY_BEFORE_SHRINK = 3


@dataclass
class Backoff:
    """Random times between 0 and ``first_s``, doubled each time up to ``max_s`` seconds.

    ``chance`` returns a number in [0, 1); tests give their own.
    """

    first_s: float = 1.0
    max_s: float = 60.0
    chance: Callable[[], float] = random.random
    _ceiling_s: float = field(default=0.0, init=False)

    def next_delay_s(self, at_least_s: float = 0.0) -> float:
        """Return the next waiting time; ``at_least_s`` is the server's ``Retry-After``."""
        self._ceiling_s = min(self.max_s, self._ceiling_s * 2 if self._ceiling_s else self.first_s)
        return max(at_least_s, self.chance() * self._ceiling_s)

    def reset(self) -> None:
        """Begin again at ``first_s`` after a success."""
        self._ceiling_s = 0.0


@dataclass
class PollWait:
    """How long the next long poll may last, learned from middle boxes that cut it."""

    max_s: float = 50.0
    wait_s: float = field(default=0.0, init=False)
    _early: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Start at the longest wait."""
        self.wait_s = self.max_s

    @property
    def cuts(self) -> int:
        """Return how many polls in a row were cut early."""
        return self._early

    def was_cut(self) -> None:
        """Note a poll that ended before its time without an answer."""
        self._early += 1
        if self._early >= EARLY_BEFORE_SHRINK:
            self._early = 0
            self.wait_s = next((s for s in POLL_STEPS_S if s < self.wait_s), POLL_STEPS_S[-1])

    def answered(self) -> None:
        """Note a poll that brought commands."""
        self._early = 0

    def lasted(self) -> None:
        """Note a poll that waited its full time."""
        self._early = 0
        self.wait_s = min(self.max_s, self.wait_s + POLL_GROWTH_S)
