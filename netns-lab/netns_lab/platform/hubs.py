"""Which hub a static network uses. Pure: votes, memory and the time in, memory out.

Each spoke sees for itself which hubs answer. Were each to choose for itself, a partial failure would
leave two spokes on two hubs, and WireGuard's source check would drop what they send each other. So the
platform chooses for all: the first hub that every reporting spoke can reach, and if there is none, the
one that most can reach. It leaves a hub at once and goes back late: only after the better hub has
answered everyone for a hold-down, which doubles each time the return turns out to be a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

FIRST_HOLD_DOWN_SECONDS: Final = 10.0
LONGEST_HOLD_DOWN_SECONDS: Final = 300.0
STABLE_SECONDS: Final = 600.0
"""A hub in use for so long has earned back the first hold-down."""


class Seen(Enum):
    """What one spoke says of one hub. UNKNOWN is not a reason to leave a hub."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


Votes = Mapping[str, Mapping[str, Seen]]
"""Spoke -> hub -> what it sees. Only spokes whose report stream stands."""


@dataclass(frozen=True, slots=True)
class HubMemory:
    """The hub in use, since when, and what a return has to wait for.

    `candidate` is the better hub that answers again, `candidate_since` when that began. Times are
    seconds of the clock the caller uses. `returned` tells that the last move was a return.
    """

    current: str
    current_since: float
    candidate: str = ""
    candidate_since: float = 0.0
    hold_down: float = FIRST_HOLD_DOWN_SECONDS
    returned: bool = False


def decide(
    preferred: Sequence[str], votes: Votes, memory: HubMemory | None, now: float
) -> HubMemory | None:
    """The memory after this look at the votes; None while there is no hub at all.

    `preferred` are the hubs in the operator's order. The caller compares `current` with what it was.
    """
    if not preferred:
        return None
    if memory is None or memory.current not in preferred:
        hold_down = FIRST_HOLD_DOWN_SECONDS if memory is None else memory.hold_down
        return HubMemory(_best(preferred, votes, ""), now, hold_down=hold_down)
    if not votes:
        return replace(memory, candidate="")
    if _deaths(memory.current, votes):
        chosen = _best(preferred, votes, memory.current)
        if chosen != memory.current:
            return _leave(memory, chosen, now)
        return replace(memory, candidate="")
    return _consider_return(preferred, votes, memory, now)


def order(preferred: Sequence[str], memory: HubMemory | None) -> tuple[str, ...]:
    """All hubs, the one in use first, the others as the operator prefers them."""
    if memory is None or memory.current not in preferred:
        return tuple(preferred)
    return (memory.current, *(hub for hub in preferred if hub != memory.current))


def _leave(memory: HubMemory, chosen: str, now: float) -> HubMemory:
    stayed = now - memory.current_since
    if memory.returned and stayed < STABLE_SECONDS:
        hold_down = min(memory.hold_down * 2, LONGEST_HOLD_DOWN_SECONDS)
    elif stayed >= STABLE_SECONDS:
        hold_down = FIRST_HOLD_DOWN_SECONDS
    else:
        hold_down = memory.hold_down
    return HubMemory(chosen, now, hold_down=hold_down)


def _consider_return(
    preferred: Sequence[str], votes: Votes, memory: HubMemory, now: float
) -> HubMemory:
    better = preferred[: list(preferred).index(memory.current)]
    answering = next((hub for hub in better if _answers_all(hub, votes)), "")
    if not answering:
        return replace(memory, candidate="")
    if answering != memory.candidate:
        return replace(memory, candidate=answering, candidate_since=now)
    if now - memory.candidate_since < memory.hold_down:
        return memory
    return HubMemory(answering, now, hold_down=memory.hold_down, returned=True)


def _best(preferred: Sequence[str], votes: Votes, current: str) -> str:
    """The hub dead to the fewest spokes; of equals the current one, then the preferred one."""
    return min(
        preferred, key=lambda hub: (_deaths(hub, votes), hub != current, preferred.index(hub))
    )


def _deaths(hub: str, votes: Votes) -> int:
    return sum(seen.get(hub, Seen.UNKNOWN) is Seen.DEAD for seen in votes.values())


def _answers_all(hub: str, votes: Votes) -> bool:
    """Dead to nobody and measured alive by somebody: a return needs evidence, not its absence."""
    seen = [vote.get(hub, Seen.UNKNOWN) for vote in votes.values()]
    return Seen.DEAD not in seen and Seen.ALIVE in seen
