"""Which candidates this node keeps away from: grace before a peer is avoided, hold-down before it is
trusted again. Pure; `decide` is its only user.

Standing belongs to a peer and not to a path, so that all paths that prefer a dead hub leave it
together and come back together.

WireGuard checks sources: two nodes that use different hubs drop each other's packets. Moving alone is
therefore right only when the whole hub is dead, in which case everyone moves, or when the platform is
away. The waits below are there to tell a dead hub from this node's own bad line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from powernode_agent.model.status import Liveness, LivenessReading
from powernode_agent.model.values import PeerId

LOCAL_GRACE: Final = 0.5
"""Seconds a peer has to be dead before this node leaves it. Two hubs behind our own broken line are
found dead up to 0.5 s apart (one rest interval of the prober), and must not cause a move between them.
With 1.6 s to find it dead, and the writes, a move takes less than the 3 s that it may."""

PLATFORM_GRACE: Final = 0.8
"""The same while the platform is connected: it hears every node's report and moves the network as one
if it can; a node that gets no word in time moves alone, still within the 3 s."""

SETTLED: Final = 2.0
"""Seconds another candidate has to be alive before a peer is left for it. When our own line comes
back, the hubs come back some tenths of a second apart, and the first to answer is no better."""

HOLD_DOWN: Final = 5.0
"""Seconds an avoided peer has to be alive without a break before it is trusted again; doubles with
each flap. Each move costs a moment of disagreement between nodes, so a peer that comes and goes is
not worth its place in the order."""

MAX_HOLD_DOWN: Final = 60.0

QUIET: Final = 300.0
"""Seconds of good standing after which earlier flaps are forgotten."""

UNMEASURED_RETURN: Final = 10.0
"""Seconds without a reading after which an avoided peer is trusted again: not measured is not dead.
Longer than a restarted prober needs to condemn a peer that never answers (6 s and its misses)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this node avoids a peer. `since` and `unmeasured_since` by `decide`'s clock."""

    avoided: bool
    since: float
    flaps: int = 0
    evidence: str = ""
    """Why it is avoided: "dead for 0.5 s". Fixed when it happened, so that reports do not churn."""
    unmeasured_since: float | None = None

    @property
    def hold_down(self) -> float:
        """Seconds it has to be alive before it is trusted again."""
        return min(HOLD_DOWN * 2.0 ** min(self.flaps, 8), MAX_HOLD_DOWN)


def next_standing(
    standing: Standing | None,
    reading: LivenessReading | None,
    others: Mapping[PeerId, LivenessReading | None],
    now: float,
    grace: float,
) -> tuple[Standing | None, float | None]:
    """One peer's standing at `now`, and when it may change although nothing else does.

    `others` are the candidates that could carry its paths instead. None as a standing: nothing to
    remember.
    """
    if standing is not None and standing.avoided:
        return _avoided(standing, reading, now)
    if standing is not None and now - standing.since >= QUIET:
        standing = None
    if reading is None or reading.state is not Liveness.DEAD:
        return standing, None
    begin = reading.since if standing is None else max(reading.since, standing.since)
    settled = min(
        (
            other.since + SETTLED
            for other in others.values()
            if other is not None and other.state is Liveness.ALIVE
        ),
        default=None,
    )
    if settled is None:
        return standing, None
    due = max(begin + grace, settled)
    if now < due:
        return standing, due
    flaps = 0 if standing is None else standing.flaps + 1
    return Standing(True, now, flaps, f"dead for {now - reading.since:.1f} s"), None


def _avoided(
    standing: Standing, reading: LivenessReading | None, now: float
) -> tuple[Standing, float | None]:
    if reading is None:
        since = now if standing.unmeasured_since is None else standing.unmeasured_since
        if now - since >= UNMEASURED_RETURN:
            return Standing(False, now, standing.flaps), None
        return (
            Standing(True, standing.since, standing.flaps, standing.evidence, since),
            since + UNMEASURED_RETURN,
        )
    if standing.unmeasured_since is not None:
        standing = Standing(True, standing.since, standing.flaps, standing.evidence)
    if reading.state is Liveness.DEAD:
        return standing, None
    due = reading.since + standing.hold_down
    if now >= due:
        return Standing(False, now, standing.flaps), None
    return standing, due
