"""What follows from the nodes' reports: detection, trials, node-made keys, the hub in use, rotations,
and what an operator has to hear of.

Each report is merged into what is known of its node, then the questions are asked of the networks
it is on. What they change goes into the database and out to the nodes at once; what they do not change
costs no query. Nodes whose report stream is down have no say: old news is not evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import object_session

from netns_lab.platform import hubs
from netns_lab.platform.context import Observation
from netns_lab.platform.database import Sessions
from netns_lab.platform.device_tables import UserDevice
from netns_lab.platform.event_log import EventLog
from netns_lab.platform.intent import KeySource, NetworkIntent, PeerIntent, Role, Standing
from netns_lab.platform.keys import is_public_key
from netns_lab.platform.pod_reports import PodReports
from netns_lab.platform.problems import Remembered
from netns_lab.platform.publisher import Publisher
from netns_lab.platform.reachability import Address, detect
from netns_lab.platform.report_merge import merge
from netns_lab.platform.rotations import Rotations
from netns_lab.platform.sensor import Sensor
from netns_lab.platform.tables import Network, NodeReportRow, Peer, PeerKey
from netns_lab.platform.trials import Trials
from netns_lab.platform.virtual_ip_memory import VirtualIpMemory
from netns_lab.platform.virtual_ip_moves import VirtualIpMoves
from netns_lab.platform.virtual_ip_sensor import VirtualIpSensor
from powernode.sdwan.v1 import status_pb2

log = structlog.get_logger()

Clock = Callable[[], float]
_LIVENESS: Final = {
    status_pb2.LIVENESS_ALIVE: hubs.Seen.ALIVE,
    status_pb2.LIVENESS_DEAD: hubs.Seen.DEAD,
}


@dataclass(slots=True, eq=False)
class Observer:
    """What the nodes say. `clock` gives seconds since the epoch."""

    sessions: Sessions
    publisher: Publisher
    clock: Clock
    observations: dict[str, Observation] = field(default_factory=dict)
    _log: EventLog = field(init=False)
    _memories: dict[str, hubs.HubMemory] = field(default_factory=dict)
    _refused_keys: set[tuple[str, str]] = field(default_factory=set)
    _trials: Trials = field(init=False)
    _rotations: Rotations = field(init=False)
    _sensor: Sensor = field(init=False)
    _virtual_ips: VirtualIpSensor = field(init=False)
    _moves: VirtualIpMoves = field(init=False)
    pods: PodReports = field(init=False)

    def __post_init__(self) -> None:
        self._log = EventLog(self.sessions)
        self.pods = PodReports(self.sessions, self.clock, self.event)
        self._trials = Trials(self.sessions, self.clock, self.observations, self.event)
        self._rotations = Rotations(
            self.sessions, self.publisher, self.clock, self.observation, self.event
        )
        self._sensor = Sensor(self.clock, self.observations, self.publisher.revision, self.event)
        self._virtual_ips = VirtualIpSensor(
            self.sessions, self.clock, self.observations, self.event
        )
        self._moves = VirtualIpMoves(
            self.sessions,
            self.publisher,
            self.clock,
            self.observation,
            self._virtual_ips.silent,
            self.event,
        )

    def event(self, name: str, /, **details: object) -> None:
        """Records what happened, and logs it."""
        self._log.record(self.clock(), name, details)
        log.info(name, **details)

    @property
    def events(self) -> Sequence[dict[str, object]]:
        """What happened, oldest first."""
        return self._log.events

    def observation(self, node_id: str) -> Observation:
        """What is known of a node."""
        return self.observations.setdefault(node_id, Observation())

    def opened(self, node_id: str) -> None:
        """A report stream of the node began."""
        self.observation(node_id).streams += 1

    def closed(self, node_id: str) -> None:
        """A report stream of the node ended; its last report is written down."""
        seen = self.observation(node_id)
        seen.streams -= 1
        self._write_down(node_id, seen)
        self.consider()

    def take(self, node_id: str, report: status_pb2.StatusReport, source: Address | None) -> None:
        """Takes a report that came from `source`, and does what follows from it."""
        seen = self.observation(node_id)
        seen.report = merge(seen.report, report)
        seen.received_at = self.clock()
        seen.observed_address = str(source or "")
        if report.endpoint_candidates or report.networks:
            touched = self._learn(node_id, seen.report, source)
            if touched:
                self.publisher.publish(touched)
        says_pods = report.full or report.HasField("flannel")
        if says_pods and (touched := self.pods.take(node_id, seen.report)):
            self.publisher.publish(touched)
        if report.full:
            self._write_down(node_id, seen)
        self.consider(self.publisher.networks_of(node_id))

    def consider(self, networks: Iterable[NetworkIntent] | None = None) -> None:
        """Looks at hubs and rotations again: after a report, an action, and as time passes."""
        for network in list(self.publisher.intents.values() if networks is None else networks):
            while touched := self._trials.consider(self.publisher.intents[network.id]):
                self.publisher.publish(touched)
            current = self.publisher.intents[network.id]
            votes = self._votes(current)
            self._sensor.consider(current, votes)
            self._choose_hub(current, votes)
            if self._virtual_ips.consider(self.publisher.intents[network.id]):
                self.publisher.publish({(network.id, "")})
        if networks is None:
            self._sensor.forget_all_but(self.publisher.intents)
            self._virtual_ips.forget_all_but(self.publisher.intents.values())
        self._rotations.drive()
        self._moves.drive()

    def expect_rotations(self) -> None:
        """Says that an action may have requested a rotation."""
        self._rotations.expect()

    def expect_moves(self) -> None:
        """Says that an action may have begun a move of a virtual IP."""
        self._moves.expect()

    def virtual_ip_memory(self, virtual_ip_id: str) -> VirtualIpMemory:
        """What was seen of a virtual IP over time."""
        return self._virtual_ips.remembered(virtual_ip_id)

    def remembered(self, network_id: str, peer_id: str) -> Remembered:
        """What was seen of a peer over time."""
        return self._sensor.remembered(network_id, peer_id)

    def _learn(
        self, node_id: str, report: status_pb2.StatusReport, source: Address | None
    ) -> set[tuple[str, str]]:
        """Writes down what a report says of reachability and keys; the peers it changes."""
        touched: set[tuple[str, str]] = set()
        with self.sessions.begin() as session:
            for peer in session.scalars(select(Peer).where(Peer.node_id == node_id)):
                found = detect(
                    report.endpoint_candidates, peer.network_id, source, peer.listen_port
                )
                known = (peer.detected_public, peer.detected_endpoint)
                if found and (found.publicly_reachable, found.endpoint) != known:
                    peer.detected_public = found.publicly_reachable
                    peer.detected_endpoint = found.endpoint
                    # What was found out about another address says nothing of this one.
                    peer.detected_at = self.clock()
                    peer.standing, peer.witnesses = Standing.UNTRIED.value, ""
                    touched.add((peer.network_id, peer.id))
                    self.event(
                        "peer.address_detected",
                        peer_id=peer.id,
                        own_address=found.publicly_reachable,
                        endpoint=found.endpoint,
                    )
                if self._learn_keys(peer, report):
                    touched.add((peer.network_id, peer.id))
        return touched

    def _learn_keys(self, peer: Peer, report: status_pb2.StatusReport) -> bool:
        """Fills in public keys that the node was asked to make; never replaces one."""
        if peer.key_source != KeySource.NODE.value:
            return False
        missing = {key.generation: key for key in peer.keys if not key.public_key}
        learned = False
        for network in report.networks:
            if network.network_id != peer.network_id:
                continue
            for reported in network.node_keys:
                row: PeerKey | None = missing.get(reported.generation)
                if row is None or row.public_key or not is_public_key(reported.public_key):
                    continue
                if _is_taken(row, reported.public_key):
                    # Told once: a node reports again and again.
                    if (peer.id, reported.public_key) in self._refused_keys:
                        continue
                    self._refused_keys.add((peer.id, reported.public_key))
                    self.event(
                        "peer.key_refused",
                        peer_id=peer.id,
                        generation=row.generation,
                        because="it is the key of another peer or device",
                    )
                    continue
                row.public_key = reported.public_key
                learned = True
                self.event("peer.key_reported", peer_id=peer.id, generation=row.generation)
        return learned

    def _choose_hub(self, network: NetworkIntent, votes: hubs.Votes) -> None:
        preferred = [peer.id for peer in network.peers if peer.role is Role.HUB]
        now = self.clock()
        memory = self._memories.get(network.id)
        if memory is None and network.hub_order:
            memory = hubs.HubMemory(network.hub_order[0], now)
        following = hubs.decide(preferred, votes, memory, now)
        if following is None:
            self._memories.pop(network.id, None)
            return
        self._memories[network.id] = following
        if following.current == network.hub_order[0]:
            return
        with self.sessions.begin() as session:
            session.get_one(Network, network.id).current_hub_id = following.current
        self.event(
            "hub.moved",
            network_id=network.id,
            from_peer_id=network.hub_order[0],
            to_peer_id=following.current,
            dead_to=sorted(
                spoke
                for spoke, vote in votes.items()
                if vote.get(network.hub_order[0]) is hubs.Seen.DEAD
            ),
        )
        self.publisher.publish({(network.id, "")})

    def _votes(self, network: NetworkIntent) -> hubs.Votes:
        return {
            peer.id: vote
            for peer in network.peers
            if peer.role is Role.SPOKE and (vote := self._vote(network, peer)) is not None
        }

    def _vote(self, network: NetworkIntent, peer: PeerIntent) -> dict[str, hubs.Seen] | None:
        seen = self.observations.get(peer.node_id)
        if seen is None or not seen.online or seen.report is None:
            return None
        return {
            status.peer_id: _LIVENESS.get(status.liveness, hubs.Seen.UNKNOWN)
            for status in seen.report.peers
            if status.network_id == network.id
        }

    def _write_down(self, node_id: str, seen: Observation) -> None:
        if seen.report is None:
            return
        with self.sessions.begin() as session:
            session.merge(
                NodeReportRow(
                    node_id=node_id,
                    received_at=seen.received_at,
                    observed_address=seen.observed_address,
                    report=seen.report.SerializeToString(),
                )
            )


def _is_taken(row: PeerKey, public_key: str) -> bool:
    """Whether a key is that of another peer or of a device, of any account: hubs of federated networks
    would have two peers of one key, which WireGuard has not."""
    session = object_session(row)
    if session is None:
        return False
    of_peer = session.scalars(
        select(PeerKey.peer_id).where(
            PeerKey.public_key == public_key, PeerKey.peer_id != row.peer_id
        )
    ).first()
    of_device = session.scalars(
        select(UserDevice.id).where(UserDevice.public_key == public_key)
    ).first()
    return of_peer is not None or of_device is not None
