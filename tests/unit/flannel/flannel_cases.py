"""Desired states with a bootstrap, and a k3s whose restarts are counted by a program of the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path

from powernode_agent.flannel.errors import FlannelError
from powernode_agent.flannel.files import DropInFile
from powernode_agent.flannel.hands import OwnHands
from powernode_agent.flannel.k3s import Restarted
from powernode_agent.flannel.subsystem import Flannel, Places
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.flannel import FlannelBootstrap, FlannelBootstrapId, K3sRole
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.values import NetworkId, NodeId, PeerId, Prefix, Revision

CORE = NetworkId("core")
POD_PREFIX = IPv4Network("10.42.0.0/16")


def network(pods: Prefix | None = POD_PREFIX, ipv4: bool = True) -> Network:
    interface = Interface(
        PeerId("me"),
        IPv6Address("fd00::9"),
        PeerRole.SPOKE,
        51820,
        NodeKey(1),
        IPv4Address("10.200.0.9") if ipv4 else None,
    )
    return Network(
        CORE,
        "core",
        "core",
        IPv6Network("fd00::/64"),
        RoutingMode.STATIC,
        interface,
        IPv4Network("10.200.0.0/20") if ipv4 else None,
        pods,
    )


def bootstrap(
    role: K3sRole = K3sRole.SERVER, cidr: str = "10.42.0.0/16", iface: str = "wg-sdwan-core"
) -> FlannelBootstrap:
    return FlannelBootstrap(FlannelBootstrapId("k3s.edge"), CORE, role, iface, ip_network(cidr))


def state(wanted: FlannelBootstrap | None) -> DesiredState:
    pods = POD_PREFIX if wanted is None else wanted.cluster_cidr
    entry = NetworkState(network(pods), flannel=wanted)
    return DesiredState(Revision(1), Node(NodeId("n"), "n"), {CORE: entry})


@dataclass
class CountingK3s:
    """Runs, or not; may refuse."""

    running: bool = True
    refuses: bool = False
    asked: list[str] = field(default_factory=list)

    async def restart(self, unit: str) -> Restarted:
        self.asked.append(unit)
        if self.refuses:
            raise FlannelError("cannot restart k3s", which=unit)
        return Restarted.YES if self.running else Restarted.NOT_RUNNING


def places(directory: Path) -> Places:
    return Places(directory / "config.yaml.d", directory / "subnet.env", directory / "k3s.json")


def room(directory: Path, k3s: CountingK3s) -> Flannel:
    """A daemon that has just started."""
    found = places(directory)
    return Flannel(found, OwnHands(DropInFile(found.directory)), k3s, lambda: 1000.5)
