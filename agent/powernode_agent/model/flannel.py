"""What k3s on this node is told of flannel: the fields that make its pods use the overlay.

flannel's host-gw makes a route to each node's pods by that node's address on the overlay, so the link,
the backend and the prefix of the pods belong together: a bootstrap that does not fit its network is
refused as a whole (`network_state`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network
from typing import Final, NewType

from powernode_agent.model.checks import check_id, check_routable, raise_if
from powernode_agent.model.network import Network
from powernode_agent.model.values import NetworkId, Prefix
from powernode_agent.model.violation import Violation, violation

FlannelBootstrapId = NewType("FlannelBootstrapId", str)

HOST_GW: Final = "host-gw"
"""The only backend of flannel that goes over the overlay: the others make a tunnel in the tunnel."""


class K3sRole(Enum):
    """What the node is to its cluster; both names are k3s's."""

    SERVER = "server"
    AGENT = "agent"

    @property
    def unit(self) -> str:
        """The unit of systemd that k3s's own installer makes for it."""
        return "k3s" if self is K3sRole.SERVER else "k3s-agent"


@dataclass(frozen=True, slots=True)
class FlannelBootstrap:
    """`flannel_iface` is the network's own link, `cluster_cidr` its `pod_subnet_prefix`."""

    id: FlannelBootstrapId
    network_id: NetworkId
    role: K3sRole
    flannel_iface: str
    cluster_cidr: Prefix
    flannel_backend: str = HOST_GW

    def __post_init__(self) -> None:
        found: list[Violation] = []
        check_id(found, str(self), "id", self.id)
        check_id(found, str(self), "network_id", self.network_id)
        check_routable(found, str(self), "cluster_cidr", self.cluster_cidr)
        if self.flannel_backend != HOST_GW:
            found.append(violation(str(self), "flannel_backend", self.flannel_backend, HOST_GW))
        raise_if(found)

    def __str__(self) -> str:
        return f"flannel bootstrap {self.id}"


def check_fits(found: list[Violation], bootstrap: FlannelBootstrap, network: Network) -> None:
    """What a bootstrap has to agree with its network in."""
    which = str(bootstrap)
    pods = network.pod_subnet_prefix
    if bootstrap.network_id != network.id:
        found.append(violation(which, "network_id", bootstrap.network_id, network.id))
    if pods is None or bootstrap.cluster_cidr != pods:
        expected = f"pod_subnet_prefix {pods or '(none given)'} of {network}"
        found.append(violation(which, "cluster_cidr", bootstrap.cluster_cidr, expected))
    if bootstrap.flannel_iface != network.link:
        found.append(
            violation(which, "flannel_iface", bootstrap.flannel_iface, f"{network.link}, its link")
        )
    if isinstance(pods, IPv4Network) and network.interface.overlay_ipv4 is None:
        found.append(
            violation(
                which,
                "network_id",
                bootstrap.network_id,
                "a network on which this node has an overlay_ipv4: host-gw needs it as next hop",
            )
        )
