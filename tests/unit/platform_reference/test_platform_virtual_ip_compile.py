"""From virtual IPs to each node: packets find a holder and the answers find the way back, past
WireGuard's source check at every hop; and what is taken from before is what would be made.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from test_platform_compile import networks, two_hubs_three_spokes
from test_platform_compile import steps as network_steps

from netns_lab.platform.compile import compile_network
from netns_lab.platform.intent import NetworkIntent, Role, RoutingMode, Topology
from netns_lab.platform.revisions import Resources
from netns_lab.platform.virtual_ip_intent import HolderIntent, NearestIntent, VirtualIpIntent
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import virtual_ip_pb2


@st.composite
def virtual_ips(draw: st.DrawFn, network: NetworkIntent) -> tuple[VirtualIpIntent, ...]:
    ids = [peer.id for peer in network.peers]
    if not ids:
        return ()
    made: list[VirtualIpIntent] = []
    for number in range(draw(st.integers(0, 2))):
        order = draw(st.lists(st.sampled_from(ids), unique=True))
        anycast = draw(st.booleans())
        holders = tuple(
            HolderIntent(id_, anycast or place == 0, 100 + place) for place, id_ in enumerate(order)
        )
        nearest = tuple(
            NearestIntent(id_, tuple(draw(st.permutations(order))))
            for id_ in draw(st.lists(st.sampled_from(ids), unique=True, max_size=2))
        )
        address = f"fd00:abcd:1::10{number}"
        made.append(
            VirtualIpIntent(
                f"vip-{number}", f"v{number}", address, anycast, holders, nearest if anycast else ()
            )
        )
    return tuple(made)


@st.composite
def held_networks(draw: st.DrawFn) -> NetworkIntent:
    network = draw(networks())
    return replace(network, virtual_ips=draw(virtual_ips(network)))


@st.composite
def held_steps(draw: st.DrawFn) -> tuple[NetworkIntent, NetworkIntent]:
    before, after = draw(network_steps())
    held = draw(virtual_ips(before))
    left = {peer.id for peer in after.peers}
    same = tuple(
        replace(each, holders=tuple(h for h in each.holders if h.peer_id in left)) for each in held
    )
    return (
        replace(before, virtual_ips=held),
        replace(after, virtual_ips=draw(st.one_of(st.just(same), virtual_ips(after)))),
    )


@given(held_steps())
def test_what_is_taken_from_before_is_what_would_be_made(
    step: tuple[NetworkIntent, NetworkIntent],
) -> None:
    before, after = step
    assert compile_network(after, compile_network(before)) == compile_network(after)


class Wire:
    """What WireGuard does with packets, as each node's first candidates have it."""

    def __init__(self, network: NetworkIntent) -> None:
        compiled = compile_network(network).nodes
        self.nodes: dict[str, Resources] = {p.id: compiled[p.node_id] for p in network.peers}
        self.address = {p.id: p.host_address for p in network.peers}

    def peers(self, at: str) -> dict[str, pb.Peer]:
        return {r.id: r for r in self.nodes[at].values() if isinstance(r, pb.Peer)}

    def holds(self, at: str, address: str) -> bool:
        return address == self.address[at] or any(
            isinstance(r, virtual_ip_pb2.VirtualIp) and r.address == address and r.hold
            for r in self.nodes[at].values()
        )

    def carrier(self, at: str, address: str) -> str | None:
        """The peer that an address belongs to at a node: pinned, or by the longest prefix."""
        for peer in self.peers(at).values():
            if peer.host_address == address:
                return peer.id
        paths = [
            r
            for r in self.nodes[at].values()
            if isinstance(r, pb.Path) and ip_address(address) in ip_network(r.prefix)
        ]
        best = max(paths, key=lambda path: ip_network(path.prefix).prefixlen, default=None)
        return None if best is None else best.candidates[0].peer_id

    def send(self, at: str, source: str, to: str) -> str | None:
        """Where a packet ends; None: it has nowhere to go. Fails where a node would drop it."""
        for _ in range(4):
            if self.holds(at, to):
                return at
            following = self.carrier(at, to)
            if following is None:
                return None
            assert self.carrier(following, source) == at, f"{following} drops {source} from {at}"
            at = following
        raise AssertionError(f"{to} goes in circles")


@settings(max_examples=1000, deadline=None)
@given(held_networks())
def test_packets_find_a_holder_and_answers_the_way_back(network: NetworkIntent) -> None:
    wire = Wire(network)
    for virtual_ip in network.virtual_ips:
        for peer in network.peers:
            if wire.holds(peer.id, virtual_ip.address):
                continue
            end = wire.send(peer.id, peer.host_address, virtual_ip.address)
            if end is not None:
                assert end in virtual_ip.serving
                back = wire.send(end, virtual_ip.address, peer.host_address)
                assert back == peer.id
            elif network.hub_order and virtual_ip.holders:
                raise AssertionError(f"{peer.id} has no way to {virtual_ip.address}")


@given(held_networks())
def test_whoever_carries_it_is_permitted_to(network: NetworkIntent) -> None:
    wire = Wire(network)
    for peer in network.peers:
        known = wire.peers(peer.id)
        for each in wire.nodes[peer.id].values():
            if not isinstance(each, pb.Path):
                continue
            for candidate in each.candidates:
                permitted = map(ip_network, known[candidate.peer_id].permitted_prefixes)
                prefix = ip_network(each.prefix)
                assert any(
                    p.version == prefix.version and prefix.subnet_of(p)  # type: ignore[arg-type]
                    for p in permitted
                )


@given(held_networks())
def test_on_a_bgp_network_only_hubs_that_may_hold_have_a_path_to_the_primary(
    network: NetworkIntent,
) -> None:
    wire = Wire(replace(network, routing_mode=RoutingMode.IBGP))
    expected = {
        (peer.id, virtual_ip.prefix): virtual_ip.holders[0].peer_id
        for virtual_ip in network.virtual_ips
        if not virtual_ip.anycast
        for peer in network.peers
        if peer.role is Role.HUB and peer.id in {h.peer_id for h in virtual_ip.holders[1:]}
    }
    found = {
        (id_, each.prefix): [candidate.peer_id for candidate in each.candidates]
        for id_, resources in wire.nodes.items()
        for each in resources.values()
        if isinstance(each, pb.Path) and each.purpose == pb.PATH_PURPOSE_VIRTUAL_IP
    }
    assert found == {key: [primary] for key, primary in expected.items()}


def test_a_failover_costs_those_whose_way_it_changes() -> None:
    network = two_hubs_three_spokes(Topology.HUB_SPOKE)

    def held_by(*ids: str) -> NetworkIntent:
        holders = tuple(HolderIntent(id_, place == 0) for place, id_ in enumerate(ids))
        held = VirtualIpIntent("vip-1", "api", "fd00:abcd:1::100", False, holders)
        return replace(network, virtual_ips=(held,))

    before = compile_network(held_by("peer-a", "peer-b"))
    after = compile_network(held_by("peer-b", "peer-a"), before)
    assert after.nodes["node-c"] is before.nodes["node-c"]
    hub, was = after.nodes["node-hub-1"], before.nodes["node-hub-1"]
    assert [type(r).__name__ for key, r in hub.items() if r is not was.get(key)] == ["Path"]
