"""Who is in a room, and in which colour the others see what they draw."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from consilium_core.roles import Role

# Told apart on grey ultrasound, also by people who see red and green alike (Okabe-Ito, black replaced).
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")


def pick_color(taken: Iterable[str]) -> str:
    """Return the first colour that fewest others have."""
    worn = list(taken)
    return min(COLORS, key=worn.count)


@dataclass(slots=True)
class Participant:
    """One person on one connection; ``audio`` and ``video`` say what the others can hear and see of them."""

    id: str
    user_id: str
    name: str
    role: Role
    color: str
    joined_at: datetime
    audio: bool = False
    video: bool = False
