"""Trials of candidates as they happen: gathers what the nodes say, asks `standing`, writes the verdict.

Works on what is in memory, so a look at a network without candidates costs nothing. Nodes whose report
stream is down are no witnesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from netns_lab.platform.context import Observation
from netns_lab.platform.database import Sessions
from netns_lab.platform.intent import NetworkIntent, PeerIntent, Role, Standing
from netns_lab.platform.standing import WITNESSES, Case, Verdict, Witness, judge
from netns_lab.platform.tables import Peer
from powernode.sdwan.v1 import status_pb2

RECENT_SECONDS: Final = 180.0
"""A WireGuard session is used for so long without a new handshake."""
_OPEN: Final = (Standing.UNTRIED, Standing.PRESUMED)


class Recorder(Protocol):
    """Takes an event."""

    def __call__(self, name: str, /, **details: object) -> None: ...


@dataclass(slots=True, eq=False)
class Trials:
    """All trials. `clock` in seconds since the epoch; `observations` by node id."""

    sessions: Sessions
    clock: Callable[[], float]
    observations: Mapping[str, Observation]
    event: Recorder
    _started_at: float = field(init=False)
    _tries_since: dict[tuple[str, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._started_at = self.clock()

    def consider(self, network: NetworkIntent) -> set[tuple[str, str]]:
        """One look at a network's candidates; the (network, peer) whose intent changed."""
        candidates = [peer for peer in network.peers if peer.standing in _OPEN]
        if not candidates:
            return set()
        hubs = [peer for peer in network.peers if peer.role is Role.HUB]
        pool = [peer for peer in network.peers if peer.can_witness and self._online(peer)]
        for candidate in candidates:
            if self._consider(network, candidate, hubs, pool):
                # One verdict may decide the next: look again at the network as it is then.
                return {(network.id, candidate.id)}
        return set()

    def _consider(
        self,
        network: NetworkIntent,
        candidate: PeerIntent,
        hubs: Sequence[PeerIntent],
        pool: Sequence[PeerIntent],
    ) -> bool:
        now = self.clock()
        others = [hub for hub in hubs if hub.id != candidate.id]
        chosen = _choose(candidate, pool)
        case = Case(
            standing=candidate.standing or Standing.UNTRIED,
            # After a restart of the platform the witnesses are on their way back.
            age=now - max(candidate.candidate_since, self._started_at),
            other_hub=bool(others),
            witnesses=tuple(
                self._witness(network.id, candidate, peer, others, now) for peer in chosen
            ),
        )
        verdict = judge(case)
        if verdict is not None:
            self._write(candidate, verdict)
            return True
        wanted = tuple(peer.id for peer in chosen)
        if candidate.standing is not Standing.UNTRIED or wanted == candidate.witnesses:
            return False
        with self.sessions.begin() as session:
            session.get_one(Peer, candidate.id).witnesses = " ".join(wanted)
        self.event("peer.tried", peer_id=candidate.id, by=[peer.name for peer in chosen])
        return True

    def _witness(
        self,
        network_id: str,
        candidate: PeerIntent,
        peer: PeerIntent,
        hubs: Sequence[PeerIntent],
        now: float,
    ) -> Witness:
        seen = self._statuses(network_id, peer)
        back = self._statuses(network_id, candidate).get(peer.id)
        there = seen.get(candidate.id)
        key = (candidate.id, peer.id)
        if there is None or back is None:
            self._tries_since.pop(key, None)
        else:
            self._tries_since.setdefault(key, now)
        return Witness(
            name=peer.name,
            shook_hands=any(
                _handshake(status) > candidate.candidate_since for status in (there, back)
            ),
            # Tries at an address that it has no more do not count.
            tries_for=now - max(self._tries_since.get(key, now), candidate.candidate_since),
            reaches=next(
                (hub.name for hub in hubs if now - _handshake(seen.get(hub.id)) < RECENT_SECONDS),
                "",
            ),
        )

    def _write(self, candidate: PeerIntent, verdict: Verdict) -> None:
        with self.sessions.begin() as session:
            row = session.get_one(Peer, candidate.id)
            row.standing = verdict.standing.value
            row.standing_because = verdict.because
            row.witnesses = ""
        for key in [key for key in self._tries_since if key[0] == candidate.id]:
            del self._tries_since[key]
        self.event(
            f"peer.{verdict.standing.value}",
            peer_id=candidate.id,
            name=candidate.name,
            because=verdict.because,
        )

    def _online(self, peer: PeerIntent) -> bool:
        seen = self.observations.get(peer.node_id)
        return seen is not None and seen.online

    def _statuses(self, network_id: str, peer: PeerIntent) -> dict[str, status_pb2.PeerStatus]:
        seen = self.observations.get(peer.node_id)
        if seen is None or not seen.online or seen.report is None:
            return {}
        return {each.peer_id: each for each in seen.report.peers if each.network_id == network_id}


def _choose(candidate: PeerIntent, pool: Sequence[PeerIntent]) -> list[PeerIntent]:
    """The witnesses that are still there first: a trial is not begun anew for no reason."""
    others = [peer for peer in pool if peer.id != candidate.id]
    return sorted(others, key=lambda peer: peer.id not in candidate.witnesses)[:WITNESSES]


def _handshake(status: status_pb2.PeerStatus | None) -> float:
    """Seconds since the epoch; 0: never, or not measured."""
    if status is None or not status.HasField("last_handshake_at_ms"):
        return 0.0
    return status.last_handshake_at_ms / 1000
