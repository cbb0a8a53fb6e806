"""The choreography of a planned move of a virtual IP: states and what each one waits for. Pure.

Release first and hold after would leave nobody with the address for a tenth of a second and more. So
the new holder has it before the old one lets go:

    raising    the new holder is told to hold, with a preference above the old one's; waits until it
               reports that it does. Traffic still goes to the old one, except where BGP prefers the new
    moving     traffic is led to the new holder, and both hold; waits until every node that reports has
               applied its path, and for as long as a route takes to get about. A hub of an iBGP network
               is told to yield: others go where it leads them, and to BGP its own route is the best,
               whatever they prefer. There the new holder gets the old one's preference before, and not
               a better one, or others would leave the hub before it yields
    done       the old holder is told to let go
    undone     the new holder did not come to hold: it is told to let go, and all is as before
    promoting  the old holder is silent or away, so there is nothing to wait for: it is told to let go,
               traffic is led to the new one at once, and what is waited for is the news that it holds
    stalled    as promoting, but that news does not come. There is nobody to give the address back to;
               it ends when the new holder reports, or the old one is back
    failed     its target was detached from the network

A node that does not report counts as away, but not in the first moments after a restart of the
platform, when nobody has come back yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

SETTLE_SECONDS: Final = 0.3
"""For how long both hold: three times what a new route took to reach a remote FIB, as measured."""
HOLD_DEADLINE_SECONDS: Final = 10.0
"""After which a new holder that does not report holding has failed."""
APPLY_DEADLINE_SECONDS: Final = 5.0
"""After which nodes that are late with their paths are no longer waited for."""
AWAY_GRACE_SECONDS: Final = 2.0
"""How long an old holder without a report stream is waited for."""
NAMED: Final = 5
"""How many late nodes a sentence names."""


class MoveState(Enum):
    """Where a move stands. It goes away with its virtual IP."""

    RAISING = "raising"
    MOVING = "moving"
    PROMOTING = "promoting"
    STALLED = "stalled"
    DONE = "done"
    UNDONE = "undone"
    FAILED = "failed"


BLOCKING: Final = frozenset({MoveState.RAISING, MoveState.MOVING, MoveState.PROMOTING})
"""States in which no other move of the virtual IP may begin."""
IN_PROGRESS: Final = BLOCKING | {MoveState.STALLED}
"""States that are not the end."""


class Target(Enum):
    """What is known of the new holder. WAITING: it has not said yet, or has no report stream."""

    HOLDS = "holds"
    WAITING = "waiting"
    HOLDS_NOT = "holds not"
    DETACHED = "detached"


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a step depends on. `in_state_for` in seconds, counted anew when the platform restarts;
    `old_away` why the old holder counts as gone, empty: it does not; `late` the names of nodes that
    report and have yet to apply what led them to the new holder."""

    in_state_for: float
    old: str
    new: str
    target: Target
    old_away: str = ""
    late: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """A transition and the evidence for it."""

    to: MoveState
    because: str


def step(state: MoveState, facts: Facts) -> Move | None:
    """The transition that the facts allow; None: keep waiting."""
    transition = TABLE.get(state)
    if transition is None:
        return None
    if facts.target is Target.DETACHED:
        return Move(MoveState.FAILED, f"{facts.new} was detached from the network")
    return transition(facts)


def _raising(facts: Facts) -> Move | None:
    if facts.target is Target.HOLDS:
        return Move(MoveState.MOVING, f"{facts.new} reports that it holds")
    if facts.old_away:
        return Move(MoveState.PROMOTING, f"{facts.old} {facts.old_away}")
    return _too_late(facts, MoveState.UNDONE)


def _moving(facts: Facts) -> Move | None:
    if facts.target is Target.HOLDS_NOT and not facts.old_away:
        return Move(MoveState.UNDONE, f"{facts.new} reports that it does not hold any more")
    if facts.old_away:
        return Move(MoveState.DONE, f"{facts.old} {facts.old_away}")
    if facts.target is not Target.HOLDS:
        # It is not there to say so any more, and the old one is: whom it serves goes before speed.
        return _too_late(facts, MoveState.UNDONE)
    if facts.in_state_for < SETTLE_SECONDS:
        return None
    if not facts.late:
        return Move(MoveState.DONE, f"{facts.new} holds, and traffic is led there")
    if facts.in_state_for < APPLY_DEADLINE_SECONDS:
        return None
    shown = ", ".join(facts.late[:NAMED])
    more = f" and {len(facts.late) - NAMED} more" if len(facts.late) > NAMED else ""
    return Move(
        MoveState.DONE,
        f"after {APPLY_DEADLINE_SECONDS:g} s without: {shown}{more}",
    )


def _promoting(facts: Facts) -> Move | None:
    if facts.target is Target.HOLDS:
        return Move(MoveState.DONE, f"{facts.new} reports that it holds")
    return _too_late(facts, MoveState.STALLED if facts.old_away else MoveState.UNDONE)


def _stalled(facts: Facts) -> Move | None:
    if facts.target is Target.HOLDS:
        return Move(MoveState.DONE, f"{facts.new} reports that it holds")
    if not facts.old_away:
        return Move(MoveState.UNDONE, f"{facts.old} is back, and {facts.new} does not hold")
    return None


def _too_late(facts: Facts, to: MoveState) -> Move | None:
    if facts.in_state_for < HOLD_DEADLINE_SECONDS:
        return None
    return Move(to, f"{facts.new} has not reported for {HOLD_DEADLINE_SECONDS:g} s that it holds")


TABLE: Final[Mapping[MoveState, Callable[[Facts], Move | None]]] = {
    MoveState.RAISING: _raising,
    MoveState.MOVING: _moving,
    MoveState.PROMOTING: _promoting,
    MoveState.STALLED: _stalled,
}
