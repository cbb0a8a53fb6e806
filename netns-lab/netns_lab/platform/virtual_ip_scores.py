"""Who should hold a virtual IP next: points for what is measured, each with its reason. Pure.

A candidate that does not report cannot be told to hold, and one that nobody reaches would serve nobody:
neither is chosen, whatever else speaks for it, unless there is no other. Of equals the operator's
order decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from netns_lab.platform.peer_status import SILENT_AFTER_SECONDS
from netns_lab.platform.virtual_ip_sight import Holding, Reach

REPORTING: Final = 40
CONNECTED: Final = 30
FRESH: Final = 10
"""Points for a handshake just now; none for one that is as old as they get."""
NEAR: Final = 10
"""Points for no round trip at all; half of them for `NEAR_US`."""
NEAR_US: Final = 20_000
HUB: Final = 5
FAULTY: Final = -30
"""A node that should have had the address before, and had it not."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One that may hold. `place` among the holders, 0: the primary."""

    peer_id: str
    name: str
    place: int
    is_hub: bool
    reporting: bool
    reach: Reach
    holding: Holding | None


@dataclass(frozen=True, slots=True)
class Score:
    """`points` is the sum of the reasons; `eligible`: it reports and can be reached."""

    candidate: Candidate
    points: int
    eligible: bool
    reasons: tuple[str, ...]

    def describe(self) -> dict[str, object]:
        """As actions answer it."""
        return {
            "peer_id": self.candidate.peer_id,
            "name": self.candidate.name,
            "score": self.points,
            "eligible": self.eligible,
            "reasons": list(self.reasons),
        }


def score(candidate: Candidate, now: float) -> Score:
    """The points of one candidate. `now` in seconds since the epoch."""
    reached = candidate.reach
    parts: list[tuple[int, str]] = []
    if candidate.reporting:
        parts.append((REPORTING, "reports"))
    else:
        parts.append((0, "does not report"))
    parts.append((CONNECTED if reached.reachable else 0, reached.sentence))
    if reached.last_handshake_at is None:
        parts.append((0, "no handshake is known"))
    else:
        age = max(now - reached.last_handshake_at, 0.0)
        points = round(FRESH * max(1 - age / SILENT_AFTER_SECONDS, 0.0))
        parts.append((points, f"handshake {age:.0f} s ago"))
    if reached.rtt_us is None:
        parts.append((0, "round trip not measured"))
    else:
        points = round(NEAR * NEAR_US / (NEAR_US + reached.rtt_us))
        parts.append((points, f"round trip {reached.rtt_us / 1000:.1f} ms"))
    parts.append((HUB, "hub") if candidate.is_hub else (0, "spoke"))
    if candidate.holding is Holding.ABSENT:
        parts.append((FAULTY, "reports that it lacks the address it should have"))
    return Score(
        candidate=candidate,
        points=sum(points for points, _ in parts),
        eligible=candidate.reporting and bool(reached.reachable),
        reasons=tuple(f"{points:+d} {reason}" for points, reason in parts),
    )


def rank(candidates: Sequence[Candidate], now: float) -> tuple[Score, ...]:
    """All candidates, the best first."""
    scores = (score(each, now) for each in candidates)
    return tuple(
        sorted(scores, key=lambda each: (not each.eligible, -each.points, each.candidate.place))
    )
