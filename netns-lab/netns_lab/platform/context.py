"""What an action gets to work with: its transaction, its account, the time, and the running platform.

Actions change rows and say which networks and nodes they touched; compiling and pushing is done for
them, after the transaction is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.orm import Session

from netns_lab.platform.caller import NOBODY, Caller
from netns_lab.platform.effect import Effect
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_intent import Part, Touched
from netns_lab.platform.problems import Remembered
from netns_lab.platform.reachability import Address
from netns_lab.platform.revisions import Key, Resource
from netns_lab.platform.tables import Network, NodeInstance, Peer
from netns_lab.platform.virtual_ip_memory import VirtualIpMemory
from powernode.sdwan.v1 import agent_service_pb2, status_pb2

Answer = dict[str, object]


@dataclass(slots=True)
class Observation:
    """What is known of a node from its reports. `streams` counts its open report streams.

    `report` is all its reports merged; None: it never reported. Times in seconds since the epoch.
    """

    report: status_pb2.StatusReport | None = None
    received_at: float = 0.0
    observed_address: str = ""
    streams: int = 0

    @property
    def online(self) -> bool:
        """Whether the node's reports are current."""
        return self.streams > 0 and self.report is not None


class Services(Protocol):
    """The running platform, as actions see it."""

    def observation(self, node_id: str) -> Observation: ...
    def addresses(self) -> frozenset[Address]: ...
    def bootstrap_url(self) -> str: ...
    def remembered(self, network_id: str, peer_id: str) -> Remembered: ...
    def virtual_ip_memory(self, virtual_ip_id: str) -> VirtualIpMemory: ...
    def revision(self, node_id: str) -> int: ...
    def pods_refused(self, node_id: str) -> str: ...
    def events(self, account_id: str) -> list[dict[str, object]]: ...
    def actions(self) -> list[dict[str, object]]: ...
    def describe_call(self, name: str, arguments: Mapping[str, object]) -> tuple[str, Effect]: ...
    def watchers(self, node_id: str) -> int: ...
    def override(self, node_id: str, resources: Mapping[Key, Resource]) -> None: ...
    def send_raw(
        self, node_id: str, message: agent_service_pb2.WatchDesiredStateResponse
    ) -> int: ...
    def set_certificate_lifetime(self, seconds: float) -> None: ...


@dataclass(slots=True)
class Context:
    """One call of one action. `now` in seconds since the epoch."""

    session: Session
    account_id: str
    now: float
    services: Services
    caller: Caller = NOBODY
    touched: set[tuple[str, str]] = field(default_factory=set)
    touched_nodes: set[str] = field(default_factory=set)
    touched_filters: set[Touched] = field(default_factory=set)
    starts_rotation: bool = False
    starts_move: bool = False
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def touch(self, network_id: str, peer_id: str = "") -> None:
        """Says that the row of a network changed, or that of one of its peers."""
        self.touched.add((network_id, peer_id))

    def touch_filter(self, network_id: str, part: Part, id_: str = "") -> None:
        """Says that a part of a network's firewall or port mappings changed."""
        self.touched_filters.add(Touched(network_id, part, id_))

    def event(self, name: str, /, **details: object) -> None:
        """Records what happened; published only if the transaction succeeds."""
        self.events.append((name, details))

    def network(self, network_id: str, name: str = "network_id") -> Network:
        """A network of the account; refuses any other."""
        network = self.session.get(Network, network_id)
        if network is None or network.account_id != self.account_id:
            raise ActionError(name, f"must be a network of the account; there is no {network_id!r}")
        return network

    def peer(self, peer_id: str, name: str = "peer_id") -> Peer:
        """A peer of the account; refuses any other."""
        peer = self.session.get(Peer, peer_id)
        if peer is None or peer.network.account_id != self.account_id:
            raise ActionError(name, f"must be a peer of the account; there is no {peer_id!r}")
        return peer

    def node(self, node_id: str, name: str = "node_instance_id") -> NodeInstance:
        """A NodeInstance of the account; refuses any other."""
        node = self.session.get(NodeInstance, node_id)
        if node is None or node.account_id != self.account_id:
            raise ActionError(
                name, f"must be a NodeInstance of the account; there is no {node_id!r}"
            )
        return node
