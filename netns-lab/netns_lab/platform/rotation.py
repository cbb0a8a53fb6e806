"""The choreography of a key rotation: a table of states and what each one waits for. Pure.

A naive replacement cuts the peer off for as long as the two ends are apart. So the new public key is
known everywhere before the node switches, and the old one is forgotten only after it has:

    queued      another rotation of the network is under way; nothing of this one has begun
    generating  (node-made keys only) the node makes its next key and reports its public half
    announcing  everyone has next_public_key; waits until each online node has it in its device
    switching   the node gets its new key; waits until it says it has applied it, or someone says
                that the new key's session is in use
    stalled     as switching, but the node has not been heard of for so long that others may begin
    done        everyone has the new key only
    aborted     the node never made its next key; nothing has changed

One rotation of a network at a time: of two peers that both switch, each one's traffic goes to the key
that the other has just left, until WireGuard has found out by itself (4 to 15 s, measured).

Nodes that are offline do not block it: a node that sleeps through the announcement learns the new key
when it wakes, and is then at worst as badly off as after a naive replacement. The same holds for one
that is not ready at the deadline. A switch cannot be called back, because the node may have made it
already, and its answer may be all that was lost: so a stalled rotation stays, both keys stay known, it
ends on the same evidence as a switching one, and it only ceases to hold up the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

ANNOUNCE_DEADLINE_SECONDS: Final = 10.0
OFFLINE_GRACE_SECONDS: Final = 2.0
"""How long a node without a report stream is waited for: after a restart of the platform all nodes are
on their way back, and none of them is really offline."""


GENERATE_DEADLINE_SECONDS: Final = 30.0
"""After which a node that makes no key holds nobody up: the rotation is given up, it can be asked for
again when the node is back."""
SWITCH_DEADLINE_SECONDS: Final = 30.0
"""After which a switch that nobody has seen holds nobody up."""


class RotationState(Enum):
    """Where a rotation stands. It goes away with its peer."""

    QUEUED = "queued"
    GENERATING = "generating"
    ANNOUNCING = "announcing"
    SWITCHING = "switching"
    STALLED = "stalled"
    DONE = "done"
    ABORTED = "aborted"


BLOCKING: Final = frozenset(
    {RotationState.GENERATING, RotationState.ANNOUNCING, RotationState.SWITCHING}
)
"""States in which no other rotation of the network may begin."""
IN_PROGRESS: Final = BLOCKING | {RotationState.QUEUED, RotationState.STALLED}
"""States that are not the end."""


@dataclass(frozen=True, slots=True)
class OtherNode:
    """What another node of the network says: `needed` is the revision that told it of this state."""

    name: str
    online: bool
    needed: int
    applied: int | None
    next_key_ready: bool
    uses_new_key: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a step depends on; `subject` is the node whose key rotates. `in_state_for` in seconds,
    counted anew when the platform restarts."""

    in_state_for: float
    new_public_key: str
    subject_needed: int
    subject_applied: int | None
    others: tuple[OtherNode, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """A transition and the evidence for it."""

    to: RotationState
    because: str


def step(state: RotationState, facts: Facts) -> Move | None:
    """The transition that the facts allow; None: keep waiting."""
    transition = TABLE.get(state)
    return None if transition is None else transition(facts)


def _generating(facts: Facts) -> Move | None:
    if not facts.new_public_key:
        if facts.in_state_for < GENERATE_DEADLINE_SECONDS:
            return None
        return Move(
            RotationState.ABORTED,
            f"the node reported no next key for {GENERATE_DEADLINE_SECONDS:g} s; nothing has changed",
        )
    return Move(RotationState.ANNOUNCING, "the node reported its next public key")


def _announcing(facts: Facts) -> Move | None:
    waiting = [
        other.name
        for other in facts.others
        if other.online and not (_applied(other) and other.next_key_ready)
    ]
    asleep = [other.name for other in facts.others if not other.online]
    if asleep and facts.in_state_for < OFFLINE_GRACE_SECONDS:
        return None
    missed = f"; offline: {', '.join(asleep)}" if asleep else ""
    if not waiting:
        return Move(
            RotationState.SWITCHING,
            f"{len(facts.others) - len(asleep)} nodes have the next key{missed}",
        )
    if facts.in_state_for >= ANNOUNCE_DEADLINE_SECONDS:
        return Move(
            RotationState.SWITCHING,
            f"after {ANNOUNCE_DEADLINE_SECONDS:g} s without: {', '.join(waiting)}{missed}",
        )
    return None


def _switching(facts: Facts) -> Move | None:
    move = _stalled(facts)
    if move is None and facts.in_state_for >= SWITCH_DEADLINE_SECONDS:
        return Move(
            RotationState.STALLED,
            f"no sign of the switch for {SWITCH_DEADLINE_SECONDS:g} s; both keys stay known",
        )
    return move


def _stalled(facts: Facts) -> Move | None:
    if facts.subject_applied is not None and facts.subject_applied >= facts.subject_needed:
        return Move(RotationState.DONE, f"the node applied revision {facts.subject_applied}")
    users = [other.name for other in facts.others if other.uses_new_key]
    if users:
        return Move(RotationState.DONE, f"the new key is in use, says {', '.join(users)}")
    return None


def _applied(other: OtherNode) -> bool:
    return other.applied is not None and other.applied >= other.needed


TABLE: Final[Mapping[RotationState, Callable[[Facts], Move | None]]] = {
    RotationState.GENERATING: _generating,
    RotationState.ANNOUNCING: _announcing,
    RotationState.SWITCHING: _switching,
    RotationState.STALLED: _stalled,
}
