"""Desired states of an account with iBGP, as its nodes see them; shared with tests/netns/routing.

A `Site` is a node on a network: its peer's resource, as others see it, and its own interface follow
from its number. So the states of hubs and spokes of one network fit each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from powernode_agent.model.bgp import (
    BgpInstance,
    BgpInstanceId,
    BgpNeighbor,
    SubnetAdvertisement,
)
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.route_policy import RoutePolicy
from powernode_agent.model.values import NetworkId, NodeId, PeerId, Prefix, Revision
from powernode_agent.model.virtual_ip import VirtualIp, VirtualIpId

AS_NUMBER = 65000
CLUSTER = IPv4Address("10.255.0.1")


@dataclass(frozen=True)
class Overlay:
    """A network: `number` tells its prefixes from those of others."""

    handle: str
    number: int
    ipv4: bool = True

    @property
    def id(self) -> NetworkId:
        return NetworkId(f"net-{self.handle}")

    @property
    def prefix(self) -> IPv6Network:
        return IPv6Network(f"fd00:{self.number:x}::/64")

    @property
    def prefix_ipv4(self) -> IPv4Network:
        return IPv4Network(f"100.64.{self.number}.0/24")


@dataclass(frozen=True)
class Site:
    """A node on a network. `lans`: what it may announce, and does; `holds`: virtual IPs by the last
    part of their address."""

    number: int
    hub: bool = False
    lans: tuple[str, ...] = ()
    holds: tuple[int, ...] = ()

    def peer_id(self, overlay: Overlay) -> PeerId:
        return PeerId(f"peer-{overlay.handle}-{self.number}")

    def address(self, overlay: Overlay) -> IPv6Address:
        return overlay.prefix[self.number]

    def prefixes(self, overlay: Overlay) -> tuple[Prefix, ...]:
        """What it may announce besides its own addresses."""
        virtual = (IPv6Network((int(overlay.prefix[last]), 128)) for last in self.holds)
        return (*map(ip_network, self.lans), *virtual)

    def peer(self, overlay: Overlay, permitted: Iterable[Prefix]) -> Peer:
        return Peer(
            id=self.peer_id(overlay),
            network_id=overlay.id,
            name=f"site {self.number}",
            kind=PeerKind.NODE,
            role=PeerRole.HUB if self.hub else PeerRole.SPOKE,
            host_address=self.address(overlay),
            host_ipv4=overlay.prefix_ipv4[self.number] if overlay.ipv4 else None,
            permitted_prefixes=tuple(permitted),
        )


def network_state(
    overlay: Overlay,
    own: Site,
    sites: Sequence[Site],
    *,
    bfd_interval_ms: int | None = None,
    policies: Iterable[RoutePolicy] = (),
    preference: int = 100,
) -> NetworkState:
    """The network as `own` sees it: hubs are neighbours of everyone, spokes of hubs."""
    others = [site for site in sites if site.number != own.number and (own.hub or site.hub)]
    everything = (
        overlay.prefix,
        *((overlay.prefix_ipv4,) if overlay.ipv4 else ()),
        *(ip_network(lan) for site in sites for lan in site.lans if site.number != own.number),
    )
    peers = [
        site.peer(overlay, everything if site.hub else site.prefixes(overlay)) for site in others
    ]
    first_hub = min(site.number for site in sites if site.hub)
    neighbors = [
        BgpNeighbor(
            peer_id=site.peer_id(overlay),
            route_reflector_client=own.hub and not site.hub,
            # As the platform has it nobody is; one hub here, so that the line is held too.
            passive=own.hub and site.hub and own.number == first_hub,
            bfd_interval_ms=bfd_interval_ms,
        )
        for site in others
    ]
    return NetworkState(
        network=Network(
            id=overlay.id,
            name=overlay.handle,
            handle=overlay.handle,
            prefix=overlay.prefix,
            routing_mode=RoutingMode.IBGP,
            overlay_ipv4_prefix=overlay.prefix_ipv4 if overlay.ipv4 else None,
            interface=Interface(
                peer_id=own.peer_id(overlay),
                address=own.address(overlay),
                overlay_ipv4=overlay.prefix_ipv4[own.number] if overlay.ipv4 else None,
                role=PeerRole.HUB if own.hub else PeerRole.SPOKE,
                listen_port=51820 + overlay.number,
                key=NodeKey(generation=1),
                lan_subnets=tuple(map(ip_network, own.lans)),
            ),
        ),
        peers={peer.id: peer for peer in peers},
        bgp=BgpInstance(
            id=BgpInstanceId(f"bgp-{overlay.handle}-{own.number}"),
            network_id=overlay.id,
            as_number=AS_NUMBER,
            router_id=IPv4Address(0x0A000000 + own.number),
            cluster_id=CLUSTER if own.hub else None,
            neighbors=tuple(neighbors),
            advertisements=tuple(SubnetAdvertisement(ip_network(lan)) for lan in own.lans),
        ),
        virtual_ips={
            VirtualIpId(f"vip-{last}"): VirtualIp(
                id=VirtualIpId(f"vip-{last}"),
                network_id=overlay.id,
                name=f"virtual {last}",
                address=overlay.prefix[last],
                local_preference=preference,
            )
            for last in own.holds
        },
        route_policies={policy.id: policy for policy in policies},
    )


def desired_state(
    *networks: NetworkState, account_policies: Iterable[RoutePolicy] = ()
) -> DesiredState:
    return DesiredState(
        revision=Revision(1),
        node=Node(id=NodeId("node-1"), name="node 1"),
        networks={state.network.id: state for state in networks},
        account_policies={policy.id: policy for policy in account_policies},
    )
