"""Networks as the node of these tests knows them, and what the filter makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from tests.netns.firewall.firewall_world import OPS4, OPS6, OWN4, OWN6, PEER
from tests.unit.firewall.firewall_reference import Tags
from tests.unit.firewall.firewall_strategies import NETWORK

from powernode_agent.firewall.compile import compile_filter
from powernode_agent.model.firewall import FirewallPolicy, FirewallRule
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.nftables.composition import Fragments
from powernode_agent.nftables.script import Key


def network(
    policy: FirewallPolicy | None = None,
    *,
    handle: str = "core",
    mode: RoutingMode = RoutingMode.STATIC,
) -> Network:
    core = handle == "core"
    return Network(
        id=NETWORK if core else NetworkId("net-ops"),
        name=handle,
        handle=handle,
        prefix=IPv6Network("fd00:1::/64" if core else "fd00:2::/64"),
        routing_mode=mode,
        overlay_ipv4_prefix=IPv4Network("10.9.0.0/16" if core else "10.8.0.0/16"),
        interface=Interface(
            peer_id=PeerId("self"),
            address=OWN6 if core else OPS6,
            role=PeerRole.HUB,
            listen_port=51820 if core else 51821,
            key=NodeKey(1),
            overlay_ipv4=OWN4 if core else OPS4,
            mtu=1420,
        ),
        firewall_policy=policy or FirewallPolicy(),
    )


def state(
    one: Network, rules: Iterable[FirewallRule] = (), tags: Tags | None = None
) -> NetworkState:
    peer = Peer(
        id=PeerId("c1"),
        network_id=one.id,
        name="c1",
        kind=PeerKind.NODE,
        role=PeerRole.SPOKE,
        host_address=PEER if one.id == NETWORK else IPv6Address("fd00:2::c:1"),
    )
    return NetworkState(
        one,
        {peer.id: peer},
        firewall_rules={rule.id: rule for rule in rules},
        firewall_tags=tags or {},
    )


def fragments(*states: NetworkState) -> Fragments:
    """What the filter makes of networks that are on one node."""
    return {
        Key("firewall", each.network.id): compile_filter(
            each, [other.network for other in states if other is not each], 1420
        ).fragment
        for each in states
    }
