"""What a pass works with: the rooms, and the clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from powernode_agent.flannel.subsystem import Flannel
from powernode_agent.links.subsystem import Links
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.nftables.ruleset import Ruleset
from powernode_agent.paths.prober import Prober
from powernode_agent.portmap.subsystem import PortMaps
from powernode_agent.reconcile.keys import KeyStore
from powernode_agent.routing.subsystem import Routing
from powernode_agent.virtual_ip.subsystem import VirtualIps
from powernode_agent.wireguard.subsystem import Wireguard


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms a pass works with."""

    wireguard: Wireguard
    links: Links
    ruleset: Ruleset
    portmaps: PortMaps
    virtual_ips: VirtualIps
    routing: Routing
    flannel: Flannel
    prober: Prober
    netlink: Netlink
    keys: KeyStore


@dataclass(frozen=True, slots=True)
class Times:
    """Clocks, and how often to look unasked; all in seconds."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]
    poll_interval: float
    safety_interval: float
