"""What a source of desired state and the one who takes it say to each other.

A source (the platform, or a file) knows how messages arrive; the sink knows what they mean. The source
hands over raw messages and obeys the verdict; it holds no desired state of its own, so there is no
second copy that could disagree. Messages are handed over one at a time, in the order they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from powernode.sdwan.v1 import agent_service_pb2, desired_state_pb2
from powernode_agent.model.violation import Violation


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole state: all its chunks, complete and in order."""

    chunks: tuple[agent_service_pb2.SnapshotChunk, ...]


@dataclass(frozen=True, slots=True)
class DeltaOffer:
    """A change of the state that the sink has."""

    delta: agent_service_pb2.Delta


@dataclass(frozen=True, slots=True)
class WholeState:
    """A whole state that does not come from the platform; `origin` says from where, for operators."""

    message: desired_state_pb2.DesiredState
    origin: str


Offer = Snapshot | DeltaOffer | WholeState


class Verdict(Enum):
    """What became of an offer."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """Refused for what it says; the sink has recorded why. Sending it again would not help."""
    NEED_SNAPSHOT = "need_snapshot"
    """A delta that does not fit what the sink has: wrong base, or wrong digest afterwards."""


@dataclass(frozen=True, slots=True)
class Position:
    """The revision the sink has, and its digest (agent_service.proto). Revision 0: none."""

    revision: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on both clocks, in seconds: `unix` to show, `monotonic` to compute ages."""

    unix: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Connected:
    """The source answers, since then. `words`: "connected", or "file <path>"."""

    since: Moment
    words: str = "connected"


@dataclass(frozen=True, slots=True)
class Away:
    """The source does not answer, since then (unchanged over retries). `reason` is the last one."""

    since: Moment
    reason: str


LinkState = Connected | Away


def describe(state: LinkState, monotonic: float) -> str:
    """`state` in words with its age: "connected", "file <path>", "away for 41 s: <error>"."""
    if isinstance(state, Connected):
        return state.words
    return f"away for {max(0, int(monotonic - state.since.monotonic))} s: {state.reason}"


class Sink(Protocol):
    """Takes what a source brings."""

    async def offer(self, offer: Offer) -> Verdict:
        """Judges `offer`; on ACCEPTED, `position` is its revision from now on."""
        ...

    def refuse(self, violations: tuple[Violation, ...]) -> None:
        """Records that the source brought something that is not even an offer, and why."""
        ...

    def position(self) -> Position:
        """What the sink has now."""
        ...

    def link_state(self, state: LinkState) -> None:
        """The link changed: it came, went, or is away for another reason than before."""
        ...


class Source(Protocol):
    """Where desired state comes from."""

    async def run(self, sink: Sink) -> None:
        """Brings states to `sink` until cancelled."""
        ...
