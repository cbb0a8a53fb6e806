"""Pods on a static network: flannel's routes are followed, also through a hub, one route leads to all
of them, and nobody carries the pods of another."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

import pytest

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Path,
    PathPurpose,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.values import (
    Address,
    Endpoint,
    NetworkId,
    PathId,
    PeerId,
    Prefix,
    PublicKey,
)
from powernode_agent.paths.decide import Decision, PathMemory, decide
from powernode_agent.paths.learned import Learned

NET = NetworkId("net")
OVERLAY, OVERLAY_IPV4 = IPv6Network("fd00::/64"), IPv4Network("10.200.0.0/20")
PODS: Prefix = ip_network("10.42.0.0/16")
HUB_1, HUB_2, B = PeerId("hub-1"), PeerId("hub-2"), PeerId("b")


def pods(number: int) -> Prefix:
    return ip_network(f"10.42.{number}.0/24")


def peer(peer_id: PeerId, number: int, *permitted: Prefix) -> Peer:
    return Peer(
        peer_id,
        NET,
        peer_id,
        PeerKind.NODE,
        PeerRole.SPOKE if peer_id is B else PeerRole.HUB,
        OVERLAY[number],
        PublicKey(f"key of {peer_id}"),
        host_ipv4=OVERLAY_IPV4[number],
        endpoint=Endpoint(IPv4Address(f"203.0.113.{number}"), 51820),
        permitted_prefixes=permitted,
    )


def path(prefix: Prefix, *candidates: PeerId) -> Path:
    purpose = PathPurpose.OVERLAY if prefix == OVERLAY_IPV4 else PathPurpose.POD_SUBNET
    return Path(PathId(str(prefix).replace("/", "_")), NET, prefix, purpose, candidates)


def network(*peers: Peer, paths: tuple[Path, ...] = (), prefix: Prefix = PODS) -> NetworkState:
    own = Interface(PeerId("me"), OVERLAY[9], PeerRole.SPOKE, 51820, NodeKey(1), OVERLAY_IPV4[9])
    whole = Network(NET, "net", "net", OVERLAY, RoutingMode.STATIC, own, OVERLAY_IPV4, prefix)
    return NetworkState(whole, {p.id: p for p in peers}, {p.id: p for p in paths})


def spoke() -> NetworkState:
    """Two hubs, either of which may carry everything."""
    return network(
        peer(HUB_1, 1, OVERLAY_IPV4, PODS),
        peer(HUB_2, 2, OVERLAY_IPV4, PODS),
        paths=(path(OVERLAY_IPV4, HUB_1, HUB_2), path(PODS, HUB_1, HUB_2)),
    )


def decided(
    state: NetworkState, learned: dict[str, str], elsewhere: frozenset[Address] = frozenset()
) -> Decision:
    routes: Learned = {ip_network(p): (ip_address(hop),) for p, hop in learned.items()}
    return decide(state, {}, PathMemory(), 0.0, True, elsewhere, routes)


def test_flannels_next_hop_is_followed_to_the_hub_that_carries_it() -> None:
    found = decided(spoke(), {"10.42.3.0/24": "10.200.0.3"}).carrying
    assert found.learned == {pods(3): HUB_1}
    assert found.allowed_ips[HUB_1] >= {PODS, pods(3), OVERLAY_IPV4}
    assert pods(3) not in found.allowed_ips[HUB_2]
    assert found.refused == ()


def test_it_moves_with_the_hub() -> None:
    state = spoke()
    moved = replace(
        state,
        paths={p.id: replace(p, candidates=(HUB_2, HUB_1)) for p in state.paths.values()},
    )
    found = decided(moved, {"10.42.3.0/24": "10.200.0.3"}).carrying
    assert found.learned == {pods(3): HUB_2}


def test_one_route_leads_to_all_pods_and_none_to_a_single_nodes() -> None:
    # flannel would take a route to a single node's pods away, and the agent would bring it back.
    state = network(peer(B, 3, pods(3)), paths=(path(pods(3), B),))
    found = decided(state, {}).carrying
    assert found.routes == {OVERLAY, OVERLAY_IPV4, PODS}
    assert pods(3) in found.allowed_ips[B]
    assert decided(spoke(), {"10.42.3.0/24": "10.200.0.3"}).carrying.routes == {
        OVERLAY,
        OVERLAY_IPV4,
        PODS,
    }


def test_without_pods_there_is_no_route_to_them() -> None:
    assert decided(network(peer(B, 3)), {}).carrying.routes == {OVERLAY, OVERLAY_IPV4}


def test_an_endpoint_among_the_pods_keeps_their_prefix_out_of_the_routes() -> None:
    state = network(peer(B, 3, pods(3)), paths=(path(pods(3), B),))
    found = decided(state, {}, frozenset({ip_address("10.42.77.1")})).carrying
    assert found.routes == {OVERLAY, OVERLAY_IPV4, pods(3)}
    whole = decided(spoke(), {}, frozenset({ip_address("10.42.77.1")})).carrying
    assert PODS not in whole.routes
    assert PODS not in whole.allowed_ips[HUB_1]
    assert "10.42.77.1" in whole.refused[0]


@pytest.mark.parametrize("taken", ["10.42.4.0/24", "10.42.0.0/20", "10.42.3.128/25"])
def test_nobody_carries_the_pods_of_another(taken: str) -> None:
    other = PeerId("c")
    state = network(
        peer(B, 3, pods(3)), peer(other, 4, pods(4)), paths=(path(pods(3), B), path(pods(4), other))
    )
    hop = "10.200.0.4" if taken == "10.42.3.128/25" else "10.200.0.3"
    found = decided(state, {taken: hop}).carrying
    assert found.learned == {}
    assert taken in found.refused[0]
    assert found.allowed_ips[B] >= {pods(3)}
    assert found.allowed_ips[other] >= {pods(4)}


def test_a_route_that_agrees_with_the_platform_changes_nobody() -> None:
    state = network(peer(B, 3, pods(3)), paths=(path(pods(3), B),))
    with_route = decided(state, {"10.42.3.0/24": "10.200.0.3"}).carrying
    without = decided(state, {}).carrying
    assert with_route.allowed_ips == without.allowed_ips
    assert with_route.routes == without.routes
