"""What another account's gateway carries: routes of our own on every kind of network, and no more."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from powernode_agent.model.carrying import Carrying
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
from powernode_agent.model.remote_network import RemoteNetwork
from powernode_agent.model.values import Endpoint, NetworkId, PathId, PeerId, Prefix, PublicKey
from powernode_agent.paths.decide import PathMemory, decide
from powernode_agent.paths.learned import NOTHING_LEARNED, Learned

NET = NetworkId("net-1")
OVERLAY, THERE = IPv6Network("fd00:1::/64"), IPv6Network("fd77::/64")
LAN, ELSEWHERE = IPv6Network("fd77:1::/64"), IPv6Network("fd78::/64")
BOTH = pytest.mark.parametrize("mode", list(RoutingMode))


def gateway(number: int, *permitted: Prefix) -> Peer:
    return Peer(
        PeerId(f"gw-{number}"),
        NET,
        f"globex/hub-{number}",
        PeerKind.FEDERATION,
        PeerRole.HUB,
        THERE[number],
        public_key=PublicKey(f"key {number}"),
        endpoint=Endpoint(IPv4Address(f"203.0.113.{number}"), 51820),
        permitted_prefixes=permitted,
        remote=RemoteNetwork("acct-b", "net-b", (OVERLAY,)),
    )


HUB_2 = Peer(
    PeerId("hub-2"),
    NET,
    "hub-2",
    PeerKind.NODE,
    PeerRole.HUB,
    OVERLAY[2],
    public_key=PublicKey("key of hub-2"),
    permitted_prefixes=(OVERLAY, THERE, LAN),
)


def path(prefix: Prefix, *candidates: Peer) -> Path:
    ids = tuple(each.id for each in candidates)
    name = str(prefix).replace("/", "_")
    return Path(PathId(name), NET, prefix, PathPurpose.FEDERATION, ids)


def decided(
    mode: RoutingMode, *peers: Peer, paths: tuple[Path, ...], learned: Learned = NOTHING_LEARNED
) -> Carrying:
    own = Interface(PeerId("self"), OVERLAY[1], PeerRole.HUB, 51820, NodeKey(1))
    state = NetworkState(
        Network(NET, "core", "core", OVERLAY, mode, own),
        {each.id: each for each in peers},
        {each.id: each for each in paths},
    )
    return decide(state, {}, PathMemory(), 0.0, True, learned=learned).carrying


@BOTH
def test_a_hub_routes_what_a_gateway_carries(mode: RoutingMode) -> None:
    one, two = gateway(1, THERE, LAN), gateway(2, THERE, LAN)
    carrying = decided(mode, one, two, paths=(path(THERE, one, two), path(LAN, one, two)))
    assert carrying.routes == {OVERLAY, THERE, LAN}
    assert carrying.allowed_ips[one.id] == {THERE, LAN, IPv6Network(f"{THERE[1]}/128")}
    assert carrying.allowed_ips[two.id] == {IPv6Network(f"{THERE[2]}/128")}, "its own at all times"


@BOTH
def test_its_own_address_is_routed_where_nothing_leads_there(mode: RoutingMode) -> None:
    one = gateway(1, LAN)
    carrying = decided(mode, one, paths=(path(LAN, one),))
    assert carrying.routes == {OVERLAY, LAN, IPv6Network(f"{THERE[1]}/128")}
    keyless = replace(one, public_key=None)
    carrying = decided(mode, keyless, paths=(path(LAN, keyless),))
    assert carrying.routes == {OVERLAY}


@BOTH
def test_a_prefix_that_was_not_agreed_on_is_refused(mode: RoutingMode) -> None:
    one = gateway(1, THERE)
    carrying = decided(mode, one, paths=(path(ELSEWHERE, one),))
    assert ELSEWHERE not in carrying.routes
    assert ELSEWHERE not in carrying.allowed_ips[one.id]
    assert len(carrying.refused) == 1
    assert "not inside its permitted prefixes" in carrying.refused[0]


@BOTH
def test_an_address_of_the_underlay_is_not_routed(mode: RoutingMode) -> None:
    one = gateway(1, LAN)
    endpoint = Endpoint(IPv6Address(int(THERE[1])), 51820)
    careless = replace(one, endpoint=endpoint)
    carrying = decided(mode, careless, paths=(path(LAN, careless),))
    assert carrying.routes == {OVERLAY, LAN}
    assert any(str(THERE[1]) in why for why in carrying.refused)


def test_our_own_way_comes_before_what_another_hub_announces() -> None:
    """Both hubs know the gateway: while a route of BGP's still stands, it is not followed."""
    one = gateway(1, THERE)
    learned = {THERE: (OVERLAY[2],)}
    carrying = decided(RoutingMode.IBGP, HUB_2, one, paths=(path(THERE, one),), learned=learned)
    assert THERE in carrying.routes
    assert THERE in carrying.allowed_ips[one.id]
    assert THERE not in carrying.allowed_ips[HUB_2.id]


def test_on_an_ibgp_network_a_path_through_another_node_is_no_route() -> None:
    carrying = decided(RoutingMode.IBGP, HUB_2, paths=(path(THERE, HUB_2),))
    assert carrying.routes == {OVERLAY}
    carrying = decided(RoutingMode.STATIC, HUB_2, paths=(path(THERE, HUB_2),))
    assert carrying.routes == {OVERLAY, THERE}
