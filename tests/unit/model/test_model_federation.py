"""What another account's gateway may not bring to a network of ours, whoever says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest

from powernode_agent.model.bgp import BgpInstance, BgpInstanceId, BgpNeighbor
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
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
from powernode_agent.model.values import NetworkId, NodeId, PathId, PeerId, Prefix, Revision
from powernode_agent.model.violation import ModelError

CORE, OPS = NetworkId("core"), NetworkId("ops")
THERE = IPv6Network("fd77::/64")
REMOTE = RemoteNetwork("acct-b", "net-b", (IPv6Network("fd00:1::/64"),))
GATEWAY = Peer(
    PeerId("gw"),
    CORE,
    "globex/hub",
    PeerKind.FEDERATION,
    PeerRole.HUB,
    THERE[1],
    permitted_prefixes=(THERE,),
    remote=REMOTE,
)


def network(id_: NetworkId = CORE, prefix: str = "fd00:1::/64", port: int = 51820) -> Network:
    whole = IPv6Network(prefix)
    own = Interface(PeerId(f"me-{id_}"), whole[1], PeerRole.HUB, port, NodeKey(1))
    return Network(id_, id_, id_, whole, RoutingMode.IBGP, own, IPv4Network("10.9.0.0/16"))


def state(*peers: Peer, path: Path | None = None, bgp: BgpInstance | None = None) -> NetworkState:
    paths = {} if path is None else {path.id: path}
    return NetworkState(network(), {peer.id: peer for peer in peers}, paths, bgp=bgp)


def path(prefix: Prefix) -> Path:
    return Path(PathId("p"), CORE, prefix, PathPurpose.FEDERATION, (GATEWAY.id,))


def broken(make: Callable[[], object]) -> list[tuple[str, str]]:
    with pytest.raises(ModelError) as caught:
        make()
    return [(v.resource, v.field) for v in caught.value.violations]


def test_a_gateway_has_its_address_on_its_own_network() -> None:
    assert state(GATEWAY, path=path(THERE)).peers[GATEWAY.id].remote is REMOTE
    inside = replace(GATEWAY, host_address=IPv6Address("fd00:1::9"))
    assert broken(lambda: state(inside)) == [(str(GATEWAY), "host_address")]
    inside_ipv4 = replace(GATEWAY, host_ipv4=IPv4Address("10.9.0.9"))
    assert broken(lambda: state(inside_ipv4)) == [(str(GATEWAY), "host_ipv4")]
    node = replace(GATEWAY, kind=PeerKind.NODE, remote=None)
    assert broken(lambda: state(node)) == [(str(GATEWAY), "host_address")]


def test_what_it_stands_for_is_said_of_a_gateway_and_of_nobody_else() -> None:
    assert broken(lambda: replace(GATEWAY, remote=None)) == [(str(GATEWAY), "remote_network_id")]
    assert broken(lambda: replace(GATEWAY, kind=PeerKind.NODE)) == [
        (str(GATEWAY), "remote_network_id")
    ]
    assert [field for _, field in broken(lambda: RemoteNetwork("", ""))] == [
        "remote_account_id",
        "remote_network_id",
    ]


@pytest.mark.parametrize("prefix", ["fd00:1::/64", "fd00:1::/80", "fd00::/16", "10.9.3.0/24"])
def test_it_takes_over_nothing_of_our_overlay(prefix: str) -> None:
    ours = ip_network(prefix)
    greedy = replace(GATEWAY, permitted_prefixes=(ours,))
    assert broken(lambda: state(greedy)) == [(str(GATEWAY), "permitted_prefixes")]
    assert (str(path(ours)), "prefix") in broken(lambda: state(GATEWAY, path=path(ours)))


def test_all_gateways_of_a_network_are_told_the_same() -> None:
    second = replace(
        GATEWAY, id=PeerId("gw-2"), host_address=THERE[2], remote=replace(REMOTE, advertised=())
    )
    assert broken(lambda: state(GATEWAY, second)) == [(str(second), "advertised_prefixes")]
    elsewhere = replace(second, remote=RemoteNetwork("acct-c", "net-c"))
    state(GATEWAY, elsewhere)
    itself = replace(GATEWAY, remote=RemoteNetwork("acct-b", CORE))
    assert broken(lambda: state(itself)) == [(str(GATEWAY), "remote_network_id")]


def test_it_speaks_no_ibgp_with_us() -> None:
    bgp = BgpInstance(
        BgpInstanceId("b"),
        CORE,
        65000,
        IPv4Address("10.255.0.1"),
        neighbors=(BgpNeighbor(GATEWAY.id),),
    )
    assert broken(lambda: state(GATEWAY, bgp=bgp)) == [(str(bgp), "neighbors.peer_id")]


def test_it_takes_over_nothing_of_another_network_of_this_node() -> None:
    other = replace(network(OPS, str(THERE), 51821), overlay_ipv4_prefix=None)
    node = Node(NodeId("n"), "n")
    found = broken(
        lambda: DesiredState(Revision(1), node, {CORE: state(GATEWAY), OPS: NetworkState(other)})
    )
    assert set(found) == {(str(GATEWAY), "permitted_prefixes")}
