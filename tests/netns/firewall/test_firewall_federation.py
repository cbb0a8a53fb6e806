"""What comes from another account's network is for what this side advertises, and for nothing else: in
the kernel, with packets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network

from tests.netns.firewall.firewall_networks import fragments, network, state
from tests.netns.firewall.firewall_packets import build, echo
from tests.netns.firewall.firewall_sending import (
    DROP_ALL,
    FAR6,
    LAN_HOST4,
    LAN_HOST6,
    MARKED,
    TO_CORE,
    TO_LAN,
    packet,
    passing,
)
from tests.netns.firewall.firewall_world import CORE, OWN4, OWN6, World

from powernode_agent.model.network import Network, Peer, PeerKind, PeerRole
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.remote_network import RemoteNetwork
from powernode_agent.model.values import PeerId, Prefix

THERE, THERE4 = IPv6Network("fd77::/64"), IPv4Network("10.77.0.0/16")
GATEWAY, STRANGER, STRANGER4 = "fd77::1", "fd77::d:1", "10.77.0.5"
OVERLAY, LAN = IPv6Network("fd00:1::/64"), IPv6Network("fd00:20::/64")


def federated(one: Network, advertised: Iterable[Prefix]) -> NetworkState:
    """The network with a gateway, which brings an IPv6 and an IPv4 prefix."""
    before = state(one)
    gateway = Peer(
        id=PeerId("gw"),
        network_id=one.id,
        name="globex/hub",
        kind=PeerKind.FEDERATION,
        role=PeerRole.HUB,
        host_address=IPv6Address(GATEWAY),
        permitted_prefixes=(THERE, THERE4),
        remote=RemoteNetwork("acct-b", "net-b", tuple(advertised)),
    )
    return replace(before, peers={**before.peers, gateway.id: gateway})


def test_only_what_is_advertised_is_reached_from_there(node: World) -> None:
    node.load(fragments(federated(network(), [OVERLAY])))
    good = {
        1: (CORE, build(packet(STRANGER, OWN6), 1)),
        2: (CORE, build(packet(STRANGER, FAR6), 2, TO_CORE)),
        # Everybody else is as free as before.
        3: (CORE, build(packet(FAR6, LAN_HOST6), 3, TO_LAN)),
        4: (CORE, build(packet("10.9.0.44", LAN_HOST4), 4, TO_LAN)),
    }
    bad = {
        11: (CORE, build(packet(STRANGER, LAN_HOST6), 11, TO_LAN)),
        12: (CORE, build(packet(GATEWAY, LAN_HOST6), 12, TO_LAN)),
        13: (CORE, build(packet(STRANGER, "2001:db8:ffff::7"), 13, TO_LAN)),
        # Nothing of IPv4 is advertised.
        14: (CORE, build(packet(STRANGER4, OWN4), 14)),
        15: (CORE, build(packet(STRANGER4, LAN_HOST4), 15, TO_LAN)),
    }
    assert passing(node, good | bad) == set(good)


def test_a_lan_that_is_advertised_is_reached_and_the_overlay_that_is_not_is_not(
    node: World,
) -> None:
    node.load(fragments(federated(network(), [LAN, ip_network("10.20.0.0/16")])))
    good = {
        1: (CORE, build(packet(STRANGER, LAN_HOST6), 1, TO_LAN)),
        2: (CORE, build(packet(STRANGER4, LAN_HOST4), 2, TO_LAN)),
    }
    bad = {
        11: (CORE, build(packet(STRANGER, OWN6), 11)),
        12: (CORE, build(packet(STRANGER, FAR6), 12, TO_CORE)),
        13: (CORE, echo(packet(STRANGER, OWN6, 58), 13, MARKED)),
    }
    assert passing(node, good | bad) == set(good)


def test_gateways_probe_each_other_whatever_is_advertised_and_whatever_the_policy(
    node: World,
) -> None:
    node.load(fragments(federated(network(DROP_ALL), [LAN])))
    good = {
        1: (CORE, echo(packet(GATEWAY, OWN6, 58), 1, MARKED)),
        2: ("", echo(packet(OWN6, GATEWAY, 58), 2, MARKED)),
    }
    bad = {
        11: (CORE, echo(packet(GATEWAY, OWN6, 58), 11, bytes(24))),
        12: (CORE, build(packet(GATEWAY, OWN6, port=179), 12)),
        13: ("", echo(packet(OWN6, GATEWAY, 58), 13, bytes(24))),
        14: (CORE, build(packet(STRANGER, LAN_HOST6), 14, TO_LAN)),
    }
    assert passing(node, good | bad) == set(good)
