"""Moves of virtual IPs as they happen: gathers what the nodes say, asks `virtual_ip_move`, writes the
next state.

A look costs one query while any move is unfinished, and none otherwise. Moves do not wait for each
other: each concerns one address, and one of an address goes at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from netns_lab.platform import virtual_ip_move
from netns_lab.platform.context import Observation
from netns_lab.platform.database import Sessions
from netns_lab.platform.intent import NetworkIntent, PeerIntent
from netns_lab.platform.publisher import Publisher
from netns_lab.platform.tables import VirtualIp
from netns_lab.platform.trials import Recorder
from netns_lab.platform.virtual_ip_move import AWAY_GRACE_SECONDS, MoveState, Target
from netns_lab.platform.virtual_ip_move_rows import enter, unfinished
from netns_lab.platform.virtual_ip_sight import Holding, holding
from netns_lab.platform.virtual_ip_tables import VirtualIpAssignment, VirtualIpMoveRow


@dataclass(slots=True, eq=False)
class VirtualIpMoves:
    """All moves. `clock` in seconds since the epoch; `observe` by node id; `silent` why a holder counts
    as silent, by virtual IP and peer, empty: it does not."""

    sessions: Sessions
    publisher: Publisher
    clock: Callable[[], float]
    observe: Callable[[str], Observation]
    silent: Callable[[str, str], str]
    event: Recorder
    _may_run: bool = True
    _started_at: float = field(init=False)
    _offline_since: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._started_at = self.clock()

    def expect(self) -> None:
        """Says that an action may have begun a move."""
        self._may_run = True

    def drive(self) -> None:
        """Moves all moves as far as the evidence allows."""
        while self._may_run and self._look():
            pass

    def _look(self) -> bool:
        """One look at each move that has not ended; whether any got further."""
        touched: set[tuple[str, str]] = set()
        with self.sessions.begin() as session:
            rows = unfinished(session)
            self._may_run = bool(rows)
            if not rows:
                self._offline_since.clear()
            for row in rows:
                network_id = session.get_one(VirtualIp, row.virtual_ip_id).network_id
                network = self.publisher.intents.get(network_id)
                if network is not None and self._step(session, row, network):
                    touched.add((network_id, ""))
        self.publisher.publish(touched)
        return bool(touched)

    def _step(self, session: Session, row: VirtualIpMoveRow, network: NetworkIntent) -> bool:
        if not row.needed:
            # Published just now: whatever a node is at, it has been told of this state of things.
            row.needed = json.dumps(
                {peer.node_id: self.publisher.revision(peer.node_id) for peer in network.peers}
            )
        facts = self._facts(session, row, {peer.id: peer for peer in network.peers})
        move = virtual_ip_move.step(MoveState(row.state), facts)
        if move is None:
            return False
        enter(session, row, move.to, move.because, self.clock())
        self.event(
            f"virtual_ip.move_{move.to.value}",
            network_id=network.id,
            virtual_ip_id=row.virtual_ip_id,
            move_id=row.id,
            previous_holder=row.from_peer_id,
            new_holder=row.to_peer_id,
            because=move.because,
        )
        return True

    def _facts(
        self, session: Session, row: VirtualIpMoveRow, peers: Mapping[str, PeerIntent]
    ) -> virtual_ip_move.Facts:
        needed: dict[str, int] = json.loads(row.needed)
        old, new = peers.get(row.from_peer_id), peers.get(row.to_peer_id)
        assigned = session.get(VirtualIpAssignment, (row.virtual_ip_id, row.to_peer_id))
        since = max(row.entered_at, self._started_at)
        in_state_for = self.clock() - since
        return virtual_ip_move.Facts(
            in_state_for=in_state_for,
            old=row.from_peer_id if old is None else old.name,
            new=row.to_peer_id if new is None else new.name,
            target=(
                Target.DETACHED
                if new is None or assigned is None
                else self._target(row.virtual_ip_id, new, needed)
            ),
            old_away=self._away(row.virtual_ip_id, old),
            late=self._late(peers, needed) if MoveState(row.state) is MoveState.MOVING else (),
        )

    def _target(self, virtual_ip_id: str, new: PeerIntent, needed: Mapping[str, int]) -> Target:
        seen = self.observe(new.node_id)
        # Accepted and not applied: an address that is there serves, whatever else does not succeed.
        told = seen.report is not None and seen.report.accepted_revision >= needed.get(
            new.node_id, 0
        )
        if not seen.online or not told:
            return Target.WAITING
        match holding(seen.report, virtual_ip_id):
            case Holding.HOLDING:
                return Target.HOLDS
            case None:
                return Target.WAITING
            case _:
                return Target.HOLDS_NOT

    def _away(self, virtual_ip_id: str, old: PeerIntent | None) -> str:
        if old is None:
            return "was detached from the network"
        silent = self.silent(virtual_ip_id, old.id)
        if self.observe(old.node_id).online:
            self._offline_since.pop(old.node_id, None)
            return silent
        since = self._offline_since.setdefault(old.node_id, self.clock())
        if silent or self.clock() - since < AWAY_GRACE_SECONDS:
            return silent
        return "does not report"

    def _late(self, peers: Mapping[str, PeerIntent], needed: Mapping[str, int]) -> tuple[str, ...]:
        return tuple(
            peer.name
            for peer in peers.values()
            if self.observe(peer.node_id).online and not self._applied(peer, needed)
        )

    def _applied(self, peer: PeerIntent, needed: Mapping[str, int]) -> bool:
        report = self.observe(peer.node_id).report
        if report is None or not report.HasField("applied_revision"):
            return False
        return report.applied_revision >= needed.get(peer.node_id, 0)
