"""From protobuf resources to a valid `DesiredState`, all of it or only what changed.

There is one way from wire to model: a list of resource changes applied to the state before (none, for
a snapshot). Only changed resources are decoded and only networks they touch are checked and rebuilt;
all else keeps its identity, and later stages skip it by `is`. A resource that changed in name only
(its version moved, its content did not) keeps its identity too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import Network, Path, Peer
from powernode_agent.model.values import NetworkId, NodeId, PathId, PeerId, Revision
from powernode_agent.model.violation import ModelError, Violation, violation
from powernode_agent.wire.decode_network import decode_network, decode_node
from powernode_agent.wire.decode_peer import decode_path, decode_peer
from powernode_agent.wire.resources import (
    EMPTY,
    KIND_NAMES,
    ResourceChange,
    changes_between,
    table_of,
)

_Item = TypeVar("_Item")


def decode_state(message: pb.DesiredState) -> DesiredState:
    """The model of a whole state; raises `ModelError` with every violation found."""
    table, found = table_of(message)
    return rebuild(None, table.revision, changes_between(EMPTY, table), found)[0]


def rebuild(
    before: DesiredState | None,
    revision: int,
    changes: Iterable[ResourceChange],
    found_before: Iterable[Violation] = (),
) -> tuple[DesiredState, frozenset[NetworkId]]:
    """The state after `changes`, and the networks that came, went or changed.

    Raises `ModelError` with `found_before` and every violation found; `before` is never touched.
    """
    found = list(found_before)
    drafts = _Drafts(before)
    node = None if before is None else before.node
    node_came = node_went = False
    for change in changes:
        old, new = change.before, change.after
        if isinstance(new, pb.Node):
            node_came = True
            decoded = decode_node(new, found)
            node = node if decoded == node else decoded
        elif isinstance(old, pb.Node):
            node_went = True
        elif isinstance(new, pb.Network):
            drafts.of(new.id).put_network(decode_network(new, found))
        elif isinstance(old, pb.Network):
            drafts.of(old.id).network = None
        elif isinstance(new, pb.Peer):
            if isinstance(old, pb.Peer) and old.network_id != new.network_id:
                drafts.of(old.network_id).drop_peer(old.id)
            drafts.of(new.network_id).put_peer(new.id, decode_peer(new, found))
        elif isinstance(old, pb.Peer):
            drafts.of(old.network_id).drop_peer(old.id)
        elif isinstance(new, pb.Path):
            if isinstance(old, pb.Path) and old.network_id != new.network_id:
                drafts.of(old.network_id).drop_path(old.id)
            drafts.of(new.network_id).put_path(new.id, decode_path(new, found))
        elif isinstance(old, pb.Path):
            drafts.of(old.network_id).drop_path(old.id)
        else:
            found.append(_no_room(change))
    networks, changed = drafts.finish(found)
    if not node_came and (node_went or before is None):
        found.append(violation("desired state", "node", "", "the node this state is for"))
    if node is None or found:
        found += _whole_violations(revision, networks)
        raise ModelError(found)
    if before is not None and not changed:
        networks = before.networks
        if revision == before.revision and node is before.node:
            return before, changed
    return DesiredState(Revision(revision), node, networks), changed


@dataclass(slots=True)
class _Draft:
    """One network in the making; starts as a copy of the network before, if there was one."""

    id: NetworkId
    before: NetworkState | None
    network: Network | None
    peers: dict[PeerId, Peer]
    paths: dict[PathId, Path]
    network_refused: bool = False
    refused_peers: set[PeerId] = field(default_factory=set)
    refused_paths: set[PathId] = field(default_factory=set)

    def put_network(self, network: Network | None) -> None:
        self.network = _same_if_equal(self.network, network)
        self.network_refused = network is None

    def put_peer(self, id_: str, peer: Peer | None) -> None:
        key = PeerId(id_)
        if peer is None:
            self.peers.pop(key, None)
            self.refused_peers.add(key)
        else:
            self.peers[key] = _same_if_equal(self.peers.get(key), peer)

    def drop_peer(self, id_: str) -> None:
        self.peers.pop(PeerId(id_), None)

    def put_path(self, id_: str, path: Path | None) -> None:
        key = PathId(id_)
        if path is None:
            self.paths.pop(key, None)
            self.refused_paths.add(key)
        else:
            self.paths[key] = _same_if_equal(self.paths.get(key), path)

    def drop_path(self, id_: str) -> None:
        self.paths.pop(PathId(id_), None)

    def unchanged(self) -> bool:
        """Whether it came out as it was before."""
        before = self.before
        return (
            before is not None
            and self.network is before.network
            and self.peers == before.peers
            and self.paths == before.paths
        )

    def finish(self, found: list[Violation]) -> NetworkState | None:
        """The network, or None: it is gone, or at least one violation was added to `found`."""
        if self.network is None:
            if not self.network_refused:
                stranded = [str(each) for each in self.peers.values()]
                stranded += [str(each) for each in self.paths.values()]
                stranded += [f"peer {id_}" for id_ in self.refused_peers]
                stranded += [f"path {id_}" for id_ in self.refused_paths]
                found.extend(
                    violation(each, "network_id", self.id, "one of the node's networks")
                    for each in stranded
                )
            return None
        # A path to a peer that was refused is not a dangling one: the peer's own violation says it.
        paths = {
            key: path
            for key, path in self.paths.items()
            if not self.refused_peers or self.refused_peers.isdisjoint(path.candidates)
        }
        try:
            return NetworkState(self.network, self.peers, paths)
        except ModelError as error:
            found.extend(error.violations)
            return None


class _Drafts:
    """The networks that a list of changes touches."""

    def __init__(self, before: DesiredState | None) -> None:
        self._networks = {} if before is None else before.networks
        self._drafts: dict[NetworkId, _Draft] = {}

    def of(self, id_: str) -> _Draft:
        """The draft of one network; copies the network when first asked for."""
        key = NetworkId(id_)
        draft = self._drafts.get(key)
        if draft is None:
            before = self._networks.get(key)
            if before is None:
                draft = _Draft(key, None, None, {}, {})
            else:
                draft = _Draft(key, before, before.network, dict(before.peers), dict(before.paths))
            self._drafts[key] = draft
        return draft

    def finish(
        self, found: list[Violation]
    ) -> tuple[Mapping[NetworkId, NetworkState], frozenset[NetworkId]]:
        """All networks, without those refused, and the ids of those that are not as before."""
        networks = dict(self._networks)
        changed: set[NetworkId] = set()
        for key, draft in self._drafts.items():
            if draft.unchanged():
                continue
            state = draft.finish(found)
            if state is not None:
                networks[key] = state
            else:
                networks.pop(key, None)
            if state is not None or draft.before is not None:
                changed.add(key)
        return networks, frozenset(changed)


def _same_if_equal(before: _Item | None, after: _Item) -> _Item:
    """`before` if it is equal, so that what did not change keeps its identity."""
    return before if before is not None and before == after else after


def _no_room(change: ResourceChange) -> Violation:
    kind, id_ = change.key
    return violation(
        f"{KIND_NAMES[kind]} {id_}",
        "id",
        id_,
        f"no {KIND_NAMES[kind]}: this version of the agent cannot carry it out",
    )


def _whole_violations(
    revision: int, networks: Mapping[NetworkId, NetworkState]
) -> tuple[Violation, ...]:
    """What is wrong with the state as a whole, apart from what was refused already."""
    try:
        DesiredState(Revision(revision), Node(NodeId("any"), "any"), networks)
    except ModelError as error:
        return error.violations
    return ()
