"""Which peers are probed, and what goes over the wire."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network

from hypothesis import given
from hypothesis import strategies as st

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
from powernode_agent.model.values import NetworkId, NodeId, PathId, PeerId, PublicKey, Revision
from powernode_agent.paths.echo import ECHO_REPLY, Probe, decode, encode, only_echo_replies
from powernode_agent.paths.liveness import Pace
from powernode_agent.paths.probing import probe_targets

NET = NetworkId("net-1")
OVERLAY = IPv6Network("fd00:abcd:1::/64")


def make_peer(number: int, role: PeerRole) -> Peer:
    key = PublicKey(f"{chr(ord('A') + number)}" + "A" * 42 + "=")
    return Peer(
        PeerId(f"p{number}"),
        NET,
        f"p{number}",
        PeerKind.NODE,
        role,
        OVERLAY[number],
        public_key=key,
    )


def paces(own_role: PeerRole, peers: list[Peer], candidates: list[str]) -> dict[str, Pace]:
    interface = Interface(PeerId("self"), OVERLAY[99], own_role, 51820, NodeKey(1))
    path = Path(
        PathId("path-1"),
        NET,
        OVERLAY,
        PathPurpose.OVERLAY,
        tuple(PeerId(candidate) for candidate in candidates),
    )
    network = NetworkState(
        Network(NET, "core", "core", OVERLAY, RoutingMode.STATIC, interface),
        {peer.id: peer for peer in peers},
        {path.id: path},
    )
    state = DesiredState(Revision(1), Node(NodeId("n1"), "node"), {NET: network})
    targets = probe_targets(state)
    for (network_id, peer_id), target in targets.items():
        assert network_id == NET
        assert target.link == "wg-sdwan-core"
        assert target.source == interface.address
        assert target.destination == network.peers[peer_id].host_address
    return {str(peer_id): target.pace for (_, peer_id), target in targets.items()}


def test_a_spoke_watches_the_hubs_it_can_choose_between() -> None:
    peers = [make_peer(1, PeerRole.HUB), make_peer(2, PeerRole.HUB), make_peer(3, PeerRole.SPOKE)]
    assert paces(PeerRole.SPOKE, peers, ["p1", "p2"]) == {
        "p1": Pace.WATCHED,
        "p2": Pace.WATCHED,
        "p3": Pace.RELAXED,
    }


def test_without_an_alternative_there_is_nothing_to_watch_for() -> None:
    assert paces(PeerRole.SPOKE, [make_peer(1, PeerRole.HUB)], ["p1"]) == {"p1": Pace.RELAXED}


def test_hubs_watch_each_other_and_are_relaxed_about_spokes() -> None:
    peers = [make_peer(1, PeerRole.HUB), make_peer(2, PeerRole.SPOKE)]
    assert paces(PeerRole.HUB, peers, ["p2"]) == {"p1": Pace.WATCHED, "p2": Pace.RELAXED}


def test_peers_without_a_key_and_user_devices_are_not_measured() -> None:
    keyless = replace(make_peer(1, PeerRole.HUB), public_key=None)
    phone = replace(make_peer(2, PeerRole.SPOKE), kind=PeerKind.USER_DEVICE)
    assert paces(PeerRole.SPOKE, [keyless, phone], ["p1", "p2"]) == {}


TOKEN = b"12345678"
probes = st.builds(
    Probe,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)


def answered(request: bytes) -> bytes:
    return bytes([ECHO_REPLY]) + request[1:]


@given(probes)
def test_an_answer_gives_the_probe_back(probe: Probe) -> None:
    assert decode(answered(encode(probe, 77, TOKEN)), 77, TOKEN) == probe


@given(probes)
def test_requests_and_answers_to_others_are_not_ours(probe: Probe) -> None:
    request = encode(probe, 77, TOKEN)
    assert decode(request, 77, TOKEN) is None
    assert decode(answered(request), 78, TOKEN) is None
    assert decode(answered(request), 77, b"87654321") is None


@given(st.binary(max_size=80))
def test_anything_else_on_the_wire_is_ignored(message: bytes) -> None:
    assert decode(message, 77, TOKEN) is None


def test_the_filter_blocks_all_types_but_echo_replies() -> None:
    words = memoryview(only_echo_replies()).cast("I")
    passing = [kind for kind in range(256) if not words[kind >> 5] >> (kind & 31) & 1]
    assert passing == [ECHO_REPLY]
