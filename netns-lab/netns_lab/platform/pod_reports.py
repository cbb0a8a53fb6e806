"""What nodes report of their pods, written down: which subnet of the network each one has.

The first to report a subnet has it. Nobody is given what overlaps another node's, so that no node can
draw another's pods to itself; who left has to be taken out of the cluster first. A node that is silent,
or whose flannel is not up yet, keeps what it had: Kubernetes gives a node its subnet for good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network

from sqlalchemy import select

from netns_lab.platform.cluster_tables import K3sCluster, K3sNode
from netns_lab.platform.database import Sessions
from netns_lab.platform.prefixes import covers, overlap
from netns_lab.platform.tables import Network, Peer
from powernode.sdwan.v1 import status_pb2


@dataclass(slots=True, eq=False)
class PodReports:
    """Remembers what it has refused, so that it says so once. `clock` gives seconds since the epoch;
    `event` records what happened."""

    sessions: Sessions
    clock: Callable[[], float]
    event: Callable[..., None]
    _refused: dict[str, tuple[str, str]] = field(default_factory=dict)

    def take(self, node_id: str, report: status_pb2.StatusReport) -> set[tuple[str, str]]:
        """Hears a whole report; the peers whose pods changed by it."""
        said = report.flannel.pod_subnet if report.HasField("flannel") else ""
        if not said:
            return set()
        touched: set[tuple[str, str]] = set()
        with self.sessions.begin() as session:
            found = session.execute(
                select(K3sNode, Peer, Network)
                .join(Peer, Peer.id == K3sNode.peer_id)
                .join(Network, Network.id == Peer.network_id)
                .where(Peer.node_id == node_id)
            ).first()
            if found is None:
                return set()
            row, peer, network = found
            if row.pod_subnet == said:
                return set()
            others = session.execute(
                select(K3sNode.peer_id, K3sNode.pod_subnet)
                .join(K3sCluster, K3sCluster.id == K3sNode.cluster_id)
                .where(
                    K3sCluster.network_id == network.id,
                    K3sNode.peer_id != peer.id,
                    K3sNode.pod_subnet != "",
                )
            )
            taken = {row.peer_id: row.pod_subnet for row in others}
            why = _obstacle(said, network.pod_subnet_prefix, taken)
            if why:
                self._say_refused(peer, said, why)
                return set()
            row.pod_subnet, row.pod_subnet_at = said, self.clock()
            touched.add((network.id, peer.id))
            self.event(
                "pods.subnet_reported",
                network_id=network.id,
                peer_id=peer.id,
                pod_subnet=said,
            )
        self._refused.pop(node_id, None)
        return touched

    def refusal(self, node_id: str) -> str:
        """Why what a node said last was not taken, as a sentence; empty: it was."""
        said, why = self._refused.get(node_id, ("", ""))
        return f"{said} is not taken: {why}" if why else ""

    def _say_refused(self, peer: Peer, said: str, why: str) -> None:
        if self._refused.get(peer.node_id) == (said, why):
            return
        self._refused[peer.node_id] = (said, why)
        self.event(
            "pods.subnet_refused",
            network_id=peer.network_id,
            peer_id=peer.id,
            pod_subnet=said,
            because=why,
        )


def _obstacle(said: str, prefix: str, others: dict[str, str]) -> str:
    """Why a subnet cannot be a node's; empty: nothing stands against it."""
    try:
        subnet = ip_network(said)
    except ValueError:
        return "it is no prefix"
    if not prefix or not covers(ip_network(prefix), subnet) or str(subnet) == prefix:
        return f"it is not a part of the network's pod_subnet_prefix {prefix or '(none)'}"
    for peer_id, taken in others.items():
        if overlap(subnet, ip_network(taken)):
            return f"{taken} is that of peer {peer_id}; take that one out of its cluster first"
    return ""
