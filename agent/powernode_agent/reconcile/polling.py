"""How often WireGuard is read: it sends no events, so handshakes and removed peers are found by asking.

Three paces. Idle: often enough that a peer somebody deleted is back within a second, unless the device
is so large that reading it would cost a noticeable share of a core. Awaiting a handshake: a little more
often, so that `connected` shows at once. During a rotation: every few milliseconds, because the time
between the other end's first handshake with its new key and our moving its allowed IPs is the
interruption (field notes: 12 to 23 ms at 5 ms).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ROTATION: Final = 0.005
ROTATION_LASTS: Final = 60.0
"""Seconds of fast reading for one rotation; a platform that never switches must not cost for ever."""
AWAITING: Final = 0.2
AWAITING_LASTS: Final = 15.0
"""Seconds after a change in which handshakes are expected; then a peer that is off is just off."""
BUDGET: Final = 0.02
"""Share of a core that idle reading may take: the interval grows with the measured cost."""
LONGEST: Final = 5.0


def next_rotation_read(cost: float) -> float:
    """Seconds until handshakes are asked for again; `cost` is what asking took the last time.

    At most half of the time goes into asking, however large the device is.
    """
    return max(ROTATION, cost)


@dataclass(frozen=True, slots=True)
class Pace:
    """What is known when the next read is planned. `cost` is the last read's, in seconds."""

    cost: float
    interval: float
    awaiting_since: float | None


def next_read(pace: Pace, now: float) -> float:
    """Seconds until the next read of WireGuard."""
    idle = min(LONGEST, max(pace.interval, pace.cost / BUDGET))
    if pace.awaiting_since is not None and now - pace.awaiting_since < AWAITING_LASTS:
        return min(idle, max(AWAITING, pace.cost * 10))
    return idle
