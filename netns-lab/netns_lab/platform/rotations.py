"""Rotations as they happen: gathers what the nodes say, asks `rotation`, writes the next state.

A look costs one query while any rotation is unfinished, and none otherwise. Of each network one goes
at a time; the next in the queue begins when the one before is done, stalled, aborted or gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from netns_lab.platform import rotation
from netns_lab.platform.context import Observation
from netns_lab.platform.database import Sessions
from netns_lab.platform.intent import NetworkIntent, PeerIntent, Role
from netns_lab.platform.publisher import Publisher
from netns_lab.platform.queries import is_public, public_key_of
from netns_lab.platform.rotation import RotationState
from netns_lab.platform.rotation_rows import begin, enter, holds_up, unfinished
from netns_lab.platform.tables import Rotation
from netns_lab.platform.trials import Recorder
from powernode.sdwan.v1 import status_pb2


@dataclass(slots=True, eq=False)
class Rotations:
    """All rotations. `clock` in seconds since the epoch; `observe` by node id."""

    sessions: Sessions
    publisher: Publisher
    clock: Callable[[], float]
    observe: Callable[[str], Observation]
    event: Recorder
    _may_run: bool = True
    _started_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._started_at = self.clock()

    def expect(self) -> None:
        """Says that an action may have requested a rotation."""
        self._may_run = True

    def drive(self) -> None:
        """Moves all rotations as far as the evidence allows."""
        # One transition may be all that the next one waits for, in a network without other nodes.
        while self._may_run and self._look():
            pass

    def _look(self) -> bool:
        """One look at each rotation that has not ended; whether any moved."""
        touched: set[tuple[str, str]] = set()
        with self.sessions.begin() as session:
            rows = unfinished(session)
            self._may_run = bool(rows)
            busy = {row.peer.network_id for row in rows if holds_up(row)}
            near = {id_ for row in rows if holds_up(row) for id_ in self._federated(row)}
            for row in rows:
                network = self.publisher.intents.get(row.peer.network_id)
                if network is None:
                    continue
                if RotationState(row.state) is RotationState.QUEUED:
                    moved = network.id not in busy and not (
                        network.id in near and is_public(row.peer)
                    )
                    if moved:
                        self._begin(row)
                        busy.add(network.id)
                        near.update(self._federated(row))
                else:
                    moved = self._step(row, network)
                if moved:
                    touched.add((network.id, row.peer_id))
        self.publisher.publish(touched)
        return bool(touched)

    def _begin(self, row: Rotation) -> None:
        begin(row.peer, row, "its turn in the queue has come", self.clock())
        self.event("rotation.started", rotation_id=row.id, peer_id=row.peer_id, state=row.state)

    def _step(self, row: Rotation, network: NetworkIntent) -> bool:
        if not row.needed:
            # Published just now: whatever a node is at, it has been told of this state of things.
            peers = (*network.peers, *(peer for _, peer in self._remote_hubs(network)))
            row.needed = json.dumps(
                {peer.node_id: self.publisher.revision(peer.node_id) for peer in peers}
            )
        move = rotation.step(RotationState(row.state), self._facts(row, network))
        if move is None:
            return False
        peer = row.peer
        if move.to is RotationState.SWITCHING:
            peer.node_generation = peer.next_generation
        elif move.to is RotationState.DONE:
            peer.active_generation = peer.next_generation
            peer.next_generation = 0
        elif move.to is RotationState.ABORTED:
            peer.next_generation = 0
        enter(row, move.to, move.because, self.clock())
        self.event(
            f"rotation.{move.to.value}",
            rotation_id=row.id,
            peer_id=peer.id,
            because=move.because,
        )
        return True

    def _facts(self, row: Rotation, network: NetworkIntent) -> rotation.Facts:
        needed: dict[str, int] = json.loads(row.needed)
        subject = row.peer
        new_key = public_key_of(subject, subject.next_generation)
        others = [
            self._other(peer, subject.id, network.id, new_key, needed.get(peer.node_id, 0))
            for peer in network.peers
            if peer.id != subject.id and self.publisher.knows(network.id, peer.node_id, subject.id)
        ]
        others += [
            self._other(peer, subject.id, remote.id, new_key, needed.get(peer.node_id, 0))
            for remote, peer in self._remote_hubs(network)
            if self.publisher.knows(remote.id, peer.node_id, subject.id)
        ]
        return rotation.Facts(
            in_state_for=self.clock() - max(row.entered_at, self._started_at),
            new_public_key=new_key,
            subject_needed=needed.get(subject.node_id, 0),
            subject_applied=self._applied(subject.node_id),
            others=tuple(others),
        )

    def _remote_hubs(self, network: NetworkIntent) -> Iterator[tuple[NetworkIntent, PeerIntent]]:
        """The hubs of federated networks, each with its network: those have sessions with our hubs."""
        for federation in network.federations:
            remote = self.publisher.intents.get(federation.remote_network_id)
            for peer in () if remote is None else remote.peers:
                if remote is not None and peer.role is Role.HUB:
                    yield remote, peer

    def _federated(self, row: Rotation) -> Iterator[str]:
        """The networks whose hubs a rotating peer has sessions with, besides its own."""
        network = self.publisher.intents.get(row.peer.network_id)
        if network is not None and is_public(row.peer):
            yield from (each.remote_network_id for each in network.federations)

    def _other(
        self, peer: PeerIntent, subject_id: str, network_id: str, new_key: str, needed: int
    ) -> rotation.OtherNode:
        seen = self.observe(peer.node_id)
        status = next(
            (
                each
                for each in (seen.report.peers if seen.report is not None else ())
                if each.peer_id == subject_id and each.network_id == network_id
            ),
            status_pb2.PeerStatus(),
        )
        return rotation.OtherNode(
            name=peer.name,
            online=seen.online,
            needed=needed,
            applied=self._applied(peer.node_id),
            next_key_ready=status.next_key_ready,
            uses_new_key=seen.online and bool(new_key) and status.public_key == new_key,
        )

    def _applied(self, node_id: str) -> int | None:
        report = self.observe(node_id).report
        if report is None or not report.HasField("applied_revision"):
            return None
        return report.applied_revision
