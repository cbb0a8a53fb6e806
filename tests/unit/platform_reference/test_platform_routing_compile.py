"""From the intent of an iBGP network to each node's BGP: what one node announces, all others learn and
may use; both ends of a session agree; and what is taken from before is what would be made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from test_platform_compile import networks, two_hubs_three_spokes
from test_platform_compile import steps as network_steps

from netns_lab.platform.compile import compile_network
from netns_lab.platform.intent import NetworkIntent, PeerIntent, Role, RoutingMode, Topology
from netns_lab.platform.revisions import Resources
from netns_lab.platform.routing_intent import PeerRouting, router_id_of
from powernode.sdwan.v1 import bgp_pb2
from powernode.sdwan.v1 import desired_state_pb2 as pb


def bgp(network: NetworkIntent) -> NetworkIntent:
    """The same network, with iBGP."""
    peers = tuple(
        replace(
            each,
            routing=PeerRouting(
                router_id_of(int(each.host_address.rpartition(":")[2], 16)),
                tuple((lan, f"LAN {lan}") for lan in each.lan_subnets),
            ),
        )
        for each in network.peers
    )
    return replace(
        network,
        routing_mode=RoutingMode.IBGP,
        as_number=65000,
        pod_subnet_prefix="10.200.0.0/16",
        peers=peers,
    )


def instance(resources: Resources) -> bgp_pb2.BgpInstance:
    (found,) = (each for each in resources.values() if isinstance(each, bgp_pb2.BgpInstance))
    return found


def covers(permitted: Iterable[str], prefix: str) -> bool:
    inner = ip_network(prefix)
    for text in permitted:
        outer = ip_network(text)
        match outer, inner:
            case (IPv4Network(), IPv4Network()) | (IPv6Network(), IPv6Network()):
                if inner.subnet_of(outer):  # type: ignore[arg-type]
                    return True
    return False


class Routers:
    """iBGP as RFC 4456 has it, over what the nodes are told."""

    def __init__(self, network: NetworkIntent) -> None:
        compiled = compile_network(network).nodes
        self.peers = {peer.id: peer for peer in network.peers}
        self.bgp = {p.id: instance(compiled[p.node_id]) for p in network.peers}
        self.known = {
            p.id: {r.id: r for r in compiled[p.node_id].values() if isinstance(r, pb.Peer)}
            for p in network.peers
        }

    def client(self, at: str, other: str) -> bool:
        return any(n.peer_id == other and n.route_reflector_client for n in self.bgp[at].neighbors)

    def takes(self, at: str, sender: str, prefix: str) -> bool:
        peer = self.known[at][sender]
        return covers((f"{peer.host_address}/128", *peer.permitted_prefixes), prefix)

    def learned(self, prefix: str, origin: str) -> set[str]:
        """Who learns a prefix, and may use it."""
        found = {origin}
        # The sender, and whether a reflector has passed it on already: no other one takes it then.
        queue = [(origin, neighbor.peer_id, False) for neighbor in self.bgp[origin].neighbors]
        while queue:
            sender, at, reflected = queue.pop()
            mine = self.bgp[at]
            if (reflected and mine.route_reflector) or not self.takes(at, sender, prefix):
                continue
            found.add(at)
            if mine.route_reflector and not reflected:
                queue += [
                    (at, neighbor.peer_id, True)
                    for neighbor in mine.neighbors
                    if neighbor.peer_id not in (sender, origin)
                    and (neighbor.route_reflector_client or self.client(at, sender))
                ]
        return found


@given(networks())
def test_what_one_node_announces_all_others_learn(network: NetworkIntent) -> None:
    routers = Routers(bgp(network))
    everyone = set(routers.peers)
    hubs = {peer.id for peer in network.peers if peer.role is Role.HUB}
    for id_, mine in routers.bgp.items():
        direct = {neighbor.peer_id for neighbor in mine.neighbors}
        for announced in mine.advertisements:
            assert routers.learned(announced.prefix, id_) == (
                everyone if hubs else direct | {id_}
            ), announced.prefix


@given(networks())
def test_without_one_hub_the_others_suffice(network: NetworkIntent) -> None:
    routers = Routers(bgp(network))
    hubs = [peer.id for peer in network.peers if peer.role is Role.HUB]
    if len(hubs) < 2:
        return
    for mine in routers.bgp.values():
        left = [neighbor for neighbor in mine.neighbors if neighbor.peer_id != hubs[0]]
        del mine.neighbors[:]
        mine.neighbors.extend(left)
    for id_, mine in routers.bgp.items():
        for announced in mine.advertisements if id_ != hubs[0] else ():
            assert routers.learned(announced.prefix, id_) == set(routers.peers) - {hubs[0]}


@given(networks())
def test_both_ends_of_a_session_agree(network: NetworkIntent) -> None:
    routers = Routers(bgp(network))
    sessions: set[tuple[str, str]] = set()
    for id_, mine in routers.bgp.items():
        assert (mine.as_number, mine.network_id) == (65000, network.id)
        assert bool(mine.cluster_id) is mine.route_reflector
        assert mine.route_reflector is (routers.peers[id_].role is Role.HUB)
        assert {n.peer_id for n in mine.neighbors} == set(routers.known[id_])
        for neighbor in mine.neighbors:
            sessions.add((id_, neighbor.peer_id))
            assert neighbor.bfd_interval_ms == 100
            assert not neighbor.passive, "after a restart both would wait for the other"
    assert len({mine.router_id for mine in routers.bgp.values()}) == len(routers.bgp)
    assert sessions == {(two, one) for one, two in sessions}


@given(networks())
def test_bgp_chooses_so_the_overlay_is_the_only_path(network: NetworkIntent) -> None:
    for resources in compile_network(bgp(network)).nodes.values():
        own = next(each for each in resources.values() if isinstance(each, pb.Network))
        assert own.routing_mode == pb.ROUTING_MODE_IBGP
        for each in resources.values():
            if isinstance(each, pb.Path):
                assert each.purpose == pb.PATH_PURPOSE_OVERLAY
            if isinstance(each, pb.Peer):
                assert not set(each.permitted_prefixes) & set(own.interface.lan_subnets)


@given(network_steps())
def test_what_is_taken_from_before_is_what_would_be_made(
    step: tuple[NetworkIntent, NetworkIntent],
) -> None:
    before, after = bgp(step[0]), bgp(step[1])
    assert compile_network(after, compile_network(before)) == compile_network(after)


@given(networks())
def test_static_networks_have_no_bgp(network: NetworkIntent) -> None:
    for resources in compile_network(network).nodes.values():
        assert not any(isinstance(each, bgp_pb2.BgpInstance) for each in resources.values())


@pytest.mark.parametrize("topology", list(Topology))
def test_who_reflects_to_whom(topology: Topology) -> None:
    compiled = compile_network(bgp(two_hubs_three_spokes(topology))).nodes
    sessions = {
        node: {
            neighbor.peer_id: neighbor.route_reflector_client
            for neighbor in instance(resources).neighbors
        }
        for node, resources in compiled.items()
    }
    # In a full mesh, c can be called by everyone, and hears everything at first hand.
    called = topology is Topology.FULL_MESH
    assert sessions["node-hub-1"] == {
        "peer-hub-2": False,
        "peer-a": True,
        "peer-b": True,
        "peer-c": not called,
    }
    assert sessions["node-a"] == {
        "peer-hub-1": False,
        "peer-hub-2": False,
        **({"peer-c": False} if called else {}),
    }


def test_a_hub_in_use_that_changes_resets_no_session() -> None:
    network = bgp(two_hubs_three_spokes(Topology.HUB_SPOKE))
    before = compile_network(network)
    turned = replace(network, hub_order=tuple(reversed(network.hub_order)))
    after = compile_network(turned, before)
    for node, resources in after.nodes.items():
        assert instance(resources) == instance(before.nodes[node])


def test_a_new_spoke_costs_the_hubs_and_itself() -> None:
    network = bgp(two_hubs_three_spokes(Topology.HUB_SPOKE))
    new: PeerIntent = replace(
        network.peers[2], id="peer-d", node_id="node-d", host_address="fd00:abcd:1::6"
    )
    new = replace(new, lan_subnets=(), routing=PeerRouting("10.255.0.6"))
    before = compile_network(network)
    after = compile_network(replace(network, peers=(*network.peers, new)), before)
    for name in ("a", "b", "c"):
        assert after.nodes[f"node-{name}"] is before.nodes[f"node-{name}"]
