"""From changed rows to pushed deltas: compile what was touched, number it, write it down, push it.

The intent is kept in memory, and of the database only the rows that an action touched are read again.
What a change does not concern keeps the resources it was compiled to, as the same objects, so a change
costs what it changed. A revision is committed to the database before any node hears of it: a restarted
platform never gives one number to two states.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from netns_lab.platform.cluster_rows import pod_nodes
from netns_lab.platform.compile import Compiled, compile_network
from netns_lab.platform.database import Sessions
from netns_lab.platform.device_rows import device_intents
from netns_lab.platform.federation_rows import federation_intents
from netns_lab.platform.feeds import NodeFeed
from netns_lab.platform.filter_intent import Touched
from netns_lab.platform.filter_rows import HeldFilter
from netns_lab.platform.intent import NetworkIntent, PeerIntent
from netns_lab.platform.queries import load_networks, network_intent, peer_intent
from netns_lab.platform.revision_rows import load_revisions, write_number, write_revision
from netns_lab.platform.revisions import (
    Key,
    NodeRevision,
    Resource,
    Resources,
    TagChanges,
    advance,
    key_of,
)
from netns_lab.platform.route_policy_rows import policies_on
from netns_lab.platform.tables import Network, NodeInstance, Peer
from netns_lab.platform.virtual_ip_rows import virtual_ip_intents
from powernode.sdwan.v1 import agent_service_pb2
from powernode.sdwan.v1 import desired_state_pb2 as pb

HEAD_START_SECONDS: Final = 0.03
"""About what an agent takes to apply one more peer. WireGuard repeats a lost handshake after 5 s only,
so whoever is called hears of it before the one who calls."""

Later = Callable[[float, Callable[[], None]], object]
"""Runs something in so many seconds."""

MAX_REVISION: Final = 1 << 53
"""A node that says it has more says nonsense, and is sent a snapshot of what there is."""

_Step = tuple[str, NodeRevision, agent_service_pb2.Delta]


def at_once(seconds: float, run: Callable[[], None]) -> None:
    """A `Later` for where there is no event loop."""
    run()


@dataclass(slots=True, eq=False)
class Publisher:
    """Compiled state of all networks, and the feeds of all nodes."""

    sessions: Sessions
    later: Later = at_once
    feeds: dict[str, NodeFeed] = field(default_factory=dict)
    intents: dict[str, NetworkIntent] = field(default_factory=dict)
    _nodes: dict[str, pb.Node] = field(default_factory=dict)
    _peers: dict[str, dict[str, PeerIntent]] = field(default_factory=dict)
    _filters: dict[str, HeldFilter] = field(default_factory=dict)
    _compiled: dict[str, Compiled] = field(default_factory=dict)
    _overrides: dict[str, Mapping[Key, Resource]] = field(default_factory=dict)

    def start(self) -> None:
        """Takes up where the last process stopped: last revisions first, then what changed since."""
        with self.sessions() as session:
            self.feeds = {
                node_id: NodeFeed(current=state)
                for node_id, state in load_revisions(session).items()
            }
            nodes = session.scalars(select(NodeInstance.id)).all()
            networks = load_networks(session)
            for network in networks:
                self._peers[network.id] = {peer.id: peer_intent(peer) for peer in network.peers}
            touched = [(network.id, "") for network in networks]
        self.publish(touched, nodes)

    def publish(
        self,
        touched: Collection[tuple[str, str]],
        nodes: Iterable[str] = (),
        filters: Collection[Touched] = (),
    ) -> None:
        """Reads the touched rows again, and pushes what changed to whom it concerns.

        `touched` are (network id, peer id), with an empty peer id for the row of the network itself;
        `nodes` are NodeInstances that are new or changed; `filters` parts of firewalls and port
        mappings.
        """
        affected = set(nodes)
        if not touched and not affected and not filters:
            return
        with self.sessions.begin() as session:
            for node in session.scalars(select(NodeInstance).where(NodeInstance.id.in_(affected))):
                self._nodes[node.id] = pb.Node(
                    id=node.id, name=node.name, account_id=node.account_id
                )
            networks_touched = {network_id for network_id, _ in touched}
            for network_id in networks_touched | {each.network_id for each in filters}:
                peers = {peer for network, peer in touched if network == network_id and peer}
                parts = [each for each in filters if each.network_id == network_id]
                affected |= self._recompile(session, network_id, peers, parts)
            for network_id in self._federated_with(networks_touched):
                if self._federations_differ(session, network_id):
                    affected |= self._recompile(session, network_id, (), ())
            steps = self._advance(session, affected)
        answering, starting, calling = [], [], []
        for node_id, following, delta in steps:
            feed = self.feeds[node_id]
            networks = _new_to_call(feed.current, delta)
            if not networks:
                answering.append(node_id)
            elif all(_has_network(feed.current, network_id) for network_id in networks):
                calling.append(node_id)
            else:
                # It has yet to make the device: head start enough for those it calls.
                starting.append(node_id)
            feed.advance(following, delta)
        self._wake(answering + starting)
        if calling:
            self.later(HEAD_START_SECONDS, lambda: self._wake(calling))

    def override(self, node_id: str, resources: Mapping[Key, Resource]) -> None:
        """Lays `resources` over what is compiled for a node; empty: no more. For bad input."""
        if resources:
            self._overrides[node_id] = resources
        else:
            self._overrides.pop(node_id, None)
        self.publish((), (node_id,))

    def resume(self, node_id: str, revision: int, digest: bytes) -> bool:
        """Hears what a node has; says whether the node is ahead of us, which a restored backup does.

        Then numbers that we would give out have been given out before, to something else, and a node
        that reports one of them would seem to have what it has not. So what stands is numbered anew,
        beyond what the node has.
        """
        feed = self.feeds[node_id]
        current = feed.current
        known = revision < current.revision or (revision, digest) == (
            current.revision,
            current.digest,
        )
        if known or not 0 < revision <= MAX_REVISION:
            return False
        with self.sessions.begin() as session:
            write_number(session, node_id, revision + 1)
        feed.overtake(revision + 1)
        return True

    def revision(self, node_id: str) -> int:
        """The node's current revision; 0: none."""
        feed = self.feeds.get(node_id)
        return 0 if feed is None else feed.current.revision

    def networks_of(self, node_id: str) -> list[NetworkIntent]:
        """The networks that a node is on."""
        return [
            compiled.network for compiled in self._compiled.values() if node_id in compiled.nodes
        ]

    def knows(self, network_id: str, node_id: str, peer_id: str) -> bool:
        """Whether a node has this peer among its own on the network."""
        key = (agent_service_pb2.RESOURCE_KIND_PEER, peer_id)
        compiled = self._compiled.get(network_id)
        return compiled is not None and key in compiled.nodes.get(node_id, {})

    def _recompile(
        self,
        session: Session,
        network_id: str,
        touched: Iterable[str],
        parts: Iterable[Touched],
    ) -> set[str]:
        """Nodes whose state may have changed by it: those whose resources are other objects now."""
        before = self._compiled.get(network_id)
        earlier = {} if before is None else before.nodes
        network = session.get(Network, network_id)
        if network is None:
            for known in (self.intents, self._compiled, self._peers, self._filters):
                known.pop(network_id, None)
            return set(earlier)
        held = self._filters.get(network_id)
        if held is None:
            held = self._filters[network_id] = HeldFilter(network_id)
            wanted = held.read(session)
        else:
            wanted = held.read_again(session, parts)
        peers = self._peers.setdefault(network_id, {})
        for peer_id in touched:
            row = session.get(Peer, peer_id)
            if row is None:
                peers.pop(peer_id, None)
            else:
                peers[peer_id] = peer_intent(row)
        intent = network_intent(
            network,
            tuple(peers.values()),
            wanted,
            virtual_ip_intents(session, network_id),
            policies_on(session, network, () if before is None else before.network.policies),
            federations=federation_intents(session, network, self._peers_of),
            devices=device_intents(session, network_id),
            pods=pod_nodes(session, network_id),
        )
        if self.intents.get(network_id) == intent:
            return set()
        compiled = compile_network(intent, before)
        self.intents[network_id] = intent
        self._compiled[network_id] = compiled
        return {
            node_id
            for node_id in earlier.keys() | compiled.nodes.keys()
            if earlier.get(node_id) is not compiled.nodes.get(node_id)
        }

    def _federated_with(self, networks: Collection[str]) -> set[str]:
        """The networks of other accounts that know something of these, besides them."""
        return {
            federation.remote_network_id
            for network_id in networks
            if (intent := self.intents.get(network_id)) is not None
            for federation in intent.federations
        }

    def _federations_differ(self, session: Session, network_id: str) -> bool:
        """Whether a network knows something else now of those it is federated with."""
        network, known = session.get(Network, network_id), self.intents.get(network_id)
        return network is not None and (
            known is None
            or known.federations != federation_intents(session, network, self._peers_of)
        )

    def _peers_of(self, network_id: str) -> Iterable[PeerIntent]:
        return self._peers.get(network_id, {}).values()

    def _advance(self, session: Session, affected: Collection[str]) -> list[_Step]:
        steps: list[_Step] = []
        tag_changes = TagChanges()
        for node_id in affected:
            node = self._nodes.get(node_id)
            if node is None:
                continue
            feed = self.feeds.setdefault(node_id, NodeFeed())
            target = self._target(node)
            step = advance(feed.current, target, tag_changes)
            if step is None:
                feed.adopt(target)
                continue
            following, delta = step
            write_revision(session, node_id, following, delta)
            steps.append((node_id, following, delta))
        return steps

    def _wake(self, nodes: Iterable[str]) -> None:
        for node_id in nodes:
            self.feeds[node_id].wake()

    def _target(self, node: pb.Node) -> Resources:
        target: Resources = {key_of(node): node}
        for compiled in self._compiled.values():
            target.update(compiled.nodes.get(node.id, {}))
        target.update(self._overrides.get(node.id, {}))
        return target


def _new_to_call(before: NodeRevision, delta: agent_service_pb2.Delta) -> set[str]:
    """The networks on which a node gets somebody new to call."""
    return {
        peer.network_id
        for peer in delta.upserts.peers
        if peer.endpoint and (agent_service_pb2.RESOURCE_KIND_PEER, peer.id) not in before.versions
    }


def _has_network(state: NodeRevision, network_id: str) -> bool:
    return (agent_service_pb2.RESOURCE_KIND_NETWORK, network_id) in state.versions
