"""From intent to each node's resources: golden files, and the promises that hold for any intent.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/platform_reference`, then read the difference.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from netns_lab.platform.compile import compile_network
from netns_lab.platform.intent import Keys, KeySource, NetworkIntent, PeerIntent, Role, Topology
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1.agent_service_pb2 import RESOURCE_KIND_PEER

GOLDEN = Path(__file__).parent / "golden"


def keys(name: str, source: KeySource = KeySource.PLATFORM) -> Keys:
    private = f"private-{name}" if source is KeySource.PLATFORM else ""
    return Keys(source, f"public-{name}", "", private, 1, 0)


def peer(number: int, name: str, role: Role, endpoint: str = "", lan: str = "") -> PeerIntent:
    return PeerIntent(
        id=f"peer-{name}",
        node_id=f"node-{name}",
        name=name,
        role=role,
        host_address=f"fd00:abcd:1::{number}",
        host_ipv4="",
        listen_port=51820,
        keys=keys(name),
        endpoint=endpoint,
        publicly_reachable=role is Role.HUB,
        lan_subnets=(lan,) if lan else (),
    )


def two_hubs_three_spokes(topology: Topology) -> NetworkIntent:
    return NetworkIntent(
        id="net-1",
        name="core",
        handle="core",
        prefix="fd00:abcd:1::/64",
        overlay_ipv4_prefix="",
        pod_subnet_prefix="",
        topology=topology,
        peers=(
            peer(1, "hub-1", Role.HUB, "203.0.113.1:51820", "10.1.0.0/24"),
            peer(2, "hub-2", Role.HUB, "203.0.113.2:51820"),
            peer(3, "a", Role.SPOKE, lan="10.3.0.0/24"),
            peer(4, "b", Role.SPOKE, lan="fd00:abcd:4::/64"),
            # Reachable where the operator said, without being a hub: full mesh makes use of it.
            peer(5, "c", Role.SPOKE, "198.51.100.5:51820"),
        ),
        hub_order=("peer-hub-2", "peer-hub-1"),
    )


@pytest.mark.parametrize("topology", list(Topology))
def test_golden(topology: Topology) -> None:
    compiled = compile_network(two_hubs_three_spokes(topology)).nodes
    readable = {
        node: [
            {type(each).__name__: json_format.MessageToDict(each, preserving_proto_field_name=True)}
            for each in resources.values()
        ]
        for node, resources in compiled.items()
    }
    text = json.dumps(readable, indent=1, sort_keys=True) + "\n"
    path = GOLDEN / f"{topology.value}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_a_rotating_key_is_one_peer_with_two_keys() -> None:
    network = two_hubs_three_spokes(Topology.HUB_SPOKE)
    rotating = replace(network.peers[2].keys, next_public="public-new")
    peers = tuple(replace(p, keys=rotating) if p.name == "a" else p for p in network.peers)
    compiled = compile_network(replace(network, peers=peers)).nodes
    seen = [r for r in compiled["node-hub-1"].values() if isinstance(r, pb.Peer) and r.name == "a"]
    assert [(each.public_key, each.next_public_key) for each in seen] == [
        ("public-a", "public-new")
    ]


def test_node_made_keys_are_asked_for_and_never_delivered() -> None:
    network = two_hubs_three_spokes(Topology.HUB_SPOKE)
    made = Keys(KeySource.NODE, "", "", "", 1, 2)
    peers = tuple(replace(p, keys=made) if p.name == "a" else p for p in network.peers)
    compiled = compile_network(replace(network, peers=peers)).nodes
    own = next(r for r in compiled["node-a"].values() if isinstance(r, pb.Network)).interface
    assert (own.private_key, own.key_generation, own.next_key_generation) == ("", 1, 2)
    seen = next(
        r for r in compiled["node-hub-1"].values() if isinstance(r, pb.Peer) and r.name == "a"
    )
    assert seen.public_key == ""


@st.composite
def networks(draw: st.DrawFn) -> NetworkIntent:
    count = draw(st.integers(1, 7))
    peers = []
    for number in range(1, count + 1):
        hub = draw(st.booleans())
        endpoint = f"203.0.113.{number}:51820" if hub or draw(st.booleans()) else ""
        lan = f"10.{number}.0.0/24" if draw(st.booleans()) else ""
        peers.append(peer(number, f"n{number}", Role.HUB if hub else Role.SPOKE, endpoint, lan))
    hubs = draw(st.permutations([p.id for p in peers if p.role is Role.HUB]))
    network = two_hubs_three_spokes(draw(st.sampled_from(list(Topology))))
    return replace(network, peers=tuple(peers), hub_order=tuple(hubs))


@st.composite
def steps(draw: st.DrawFn) -> tuple[NetworkIntent, NetworkIntent]:
    """A network and what it is after some peers came, left, changed or are tried as hubs."""
    before = draw(networks())
    peers = []
    for each in before.peers:
        match draw(st.sampled_from(["same", "same", "gone", "rekeyed", "tried", "lan"])):
            case "same":
                peers.append(each)
            case "rekeyed":
                peers.append(replace(each, keys=replace(each.keys, next_public="public-new")))
            case "lan":
                peers.append(replace(each, lan_subnets=("10.99.0.0/24",)))
            case "tried" if each.role is Role.SPOKE and not each.endpoint:
                others = [p.id for p in before.peers if p.role is Role.SPOKE and not p.endpoint]
                tried = tuple(id_ for id_ in others if id_ != each.id)[:2]
                peers.append(replace(each, tried_at="192.0.2.7:51820", witnesses=tried))
            case _:
                pass
    if draw(st.booleans()):
        peers.append(peer(9, "new", Role.SPOKE))
    left = {p.id for p in peers}
    order = tuple(hub for hub in before.hub_order if hub in left)
    return before, replace(before, peers=tuple(peers), hub_order=order)


@given(steps())
def test_what_is_taken_from_before_is_what_would_be_made(
    step: tuple[NetworkIntent, NetworkIntent],
) -> None:
    before, after = step
    assert compile_network(after, compile_network(before)) == compile_network(after)


def test_a_new_spoke_costs_what_it_changed() -> None:
    network = two_hubs_three_spokes(Topology.HUB_SPOKE)
    before = compile_network(network)
    more = replace(network, peers=(*network.peers, peer(6, "d", Role.SPOKE)))
    after = compile_network(more, before)
    for name in ("a", "b", "c"):
        assert after.nodes[f"node-{name}"] is before.nodes[f"node-{name}"]
    hub, hub_before = after.nodes["node-hub-1"], before.nodes["node-hub-1"]
    kinds = [key for key, resource in hub.items() if resource is not hub_before.get(key)]
    assert [id_ for kind, id_ in kinds if kind == RESOURCE_KIND_PEER] == ["peer-d"]


def test_a_trial_is_a_session_that_carries_nothing() -> None:
    network = two_hubs_three_spokes(Topology.HUB_SPOKE)
    a, b = network.peers[2:4]
    tried = replace(a, tried_at="192.0.2.7:51820", witnesses=(b.id, "peer-detached"))
    peers = tuple(tried if p is a else p for p in network.peers)
    nodes = compile_network(replace(network, peers=peers)).nodes
    plain = compile_network(network).nodes
    calls, called = nodes["node-b"], nodes["node-a"]
    session = calls.pop((RESOURCE_KIND_PEER, a.id))
    back = called.pop((RESOURCE_KIND_PEER, b.id))
    assert nodes == plain, "beyond the two sessions a trial changes nothing for anybody"
    assert isinstance(session, pb.Peer)
    assert isinstance(back, pb.Peer)
    assert (session.public_key, session.endpoint) == ("public-a", "192.0.2.7:51820")
    assert session.persistent_keepalive_seconds, "without traffic, the keepalive calls"
    assert (back.public_key, back.endpoint) == ("public-b", "")
    for each in (session, back):
        assert not each.permitted_prefixes
        assert each.host_address not in {p.host_address for p in network.peers}
        assert ip_address(each.host_address) in ip_network(network.prefix)


@given(networks())
def test_what_any_node_gets_is_consistent(network: NetworkIntent) -> None:
    compiled = compile_network(network).nodes
    by_node = {p.node_id: p for p in network.peers}
    edges: set[tuple[str, str]] = set()
    for node, resources in compiled.items():
        own = by_node[node]
        peers = {r.id: r for r in resources.values() if isinstance(r, pb.Peer)}
        paths = [r for r in resources.values() if isinstance(r, pb.Path)]
        edges |= {(own.id, other) for other in peers}
        assert own.id not in peers
        assert len({path.prefix for path in paths}) == len(paths)
        for path in paths:
            assert path.candidates
            for candidate in path.candidates:
                assert path.prefix in peers[candidate.peer_id].permitted_prefixes
        for each in peers.values():
            assert not set(each.permitted_prefixes) & set(own.lan_subnets), "own LAN sent to a peer"
            assert each.version == 0
    assert {(b, a) for a, b in edges} == edges, "a session needs both ends"
