"""Host routes to the holders of virtual IPs: whose they are, and how seldom their metrics change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.bgp import BgpInstance, BgpInstanceId, BgpNeighbor
from powernode_agent.model.carrying import FURTHEST_METRIC, NEAREST_METRIC
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.status import Liveness, LivenessReading
from powernode_agent.model.values import NetworkId, PeerId, Prefix
from powernode_agent.paths.decide import Decision, PathMemory, decide
from powernode_agent.paths.distance import (
    LAST_STEP,
    REVIEW,
    SLACK,
    SLACK_MS,
    metric_of,
    step_of,
)

NET = NetworkId("net-1")
OVERLAY = IPv6Network("fd00:1::/64")
VIP = ip_network("fd00:1::100/128")
HUB, A, B, PLAIN = PeerId("hub-2"), PeerId("a"), PeerId("b"), PeerId("plain")
A_HOST, B_HOST = ip_network("fd00:1::11/128"), ip_network("fd00:1::12/128")


def peer(peer_id: PeerId, number: int, *permitted: Prefix) -> Peer:
    role = PeerRole.HUB if peer_id == HUB else PeerRole.SPOKE
    host = OVERLAY[number]
    return Peer(peer_id, NET, peer_id, PeerKind.NODE, role, host, permitted_prefixes=permitted)


PEERS = (
    peer(HUB, 2, OVERLAY, VIP),
    peer(A, 0x11, VIP),
    peer(B, 0x12, ip_network("10.2.0.0/16"), VIP),
    # A single address of its LAN is no virtual IP.
    peer(PLAIN, 0x13, ip_network("fd00:a::1/128"), ip_network("10.3.0.1/32")),
)


def reflector(*, cluster_id: str | None = "10.255.0.1", ibgp: bool = True) -> NetworkState:
    neighbors = tuple(
        BgpNeighbor(each.id, route_reflector_client=cluster_id is not None and each.id != HUB)
        for each in PEERS
    )
    return NetworkState(
        Network(
            NET,
            "core",
            "core",
            OVERLAY,
            RoutingMode.IBGP if ibgp else RoutingMode.STATIC,
            Interface(PeerId("self"), OVERLAY[1], PeerRole.HUB, 51820, NodeKey(1)),
        ),
        {each.id: each for each in PEERS},
        bgp=BgpInstance(
            BgpInstanceId("bgp-1"),
            NET,
            65000,
            IPv4Address("10.0.0.1"),
            None if cluster_id is None else IPv4Address(cluster_id),
            neighbors,
        )
        if ibgp
        else None,
    )


def heard(
    rtt_ms: float | None, state: Liveness = Liveness.ALIVE, since: float = 0.0
) -> LivenessReading:
    return LivenessReading(state, since, None if rtt_ms is None else rtt_ms / 1000, 9, 9)


def decided(
    network: NetworkState,
    readings: Mapping[PeerId, LivenessReading],
    before: Decision | None = None,
    *elsewhere: str,
) -> Decision:
    memory = PathMemory() if before is None else before.memory
    away = frozenset(ip_address(each) for each in elsewhere)
    return decide(network, readings, memory, 100.0, True, away)


def test_a_reflector_has_a_host_route_to_each_spoke_that_may_hold() -> None:
    decision = decided(reflector(), {A: heard(40), B: heard(5)})
    carrying = decision.carrying
    assert carrying.host_routes == {A_HOST: NEAREST_METRIC + 39, B_HOST: NEAREST_METRIC + 6}
    # The overlay is routed as ever, and nothing tells of a round trip that changed.
    assert carrying.routes == {OVERLAY}
    assert decision.wake_at == 100.0 + REVIEW


@pytest.mark.parametrize("network", [reflector(cluster_id=None), reflector(ibgp=False)])
def test_nobody_else_has_any(network: NetworkState) -> None:
    decision = decided(network, {A: heard(40), B: heard(5)})
    assert (decision.carrying.host_routes, decision.wake_at) == ({}, None)


def test_none_where_the_overlay_itself_is_refused() -> None:
    """Its prefix covers the platform's address, which may be the very host address of a holder."""
    network = reflector()
    assert decided(network, {A: heard(40)}, None, "fd00:1::11").carrying.host_routes == {}


def test_not_measured_is_not_known_and_dead_is_furthest() -> None:
    network = reflector()
    never = decided(network, {B: heard(None)})
    assert never.carrying.host_routes == {A_HOST: None, B_HOST: None}
    measured = decided(network, {A: heard(40), B: heard(5)}, never)
    dead = decided(network, {A: heard(40), B: heard(5, Liveness.DEAD)}, measured)
    assert dead.carrying.host_routes == {A_HOST: NEAREST_METRIC + 39, B_HOST: FURTHEST_METRIC}
    # A reading that is withdrawn (a link that is made anew), and the answer after a death: as before.
    for readings in ({A: heard(40)}, {A: heard(40), B: heard(6.9)}):
        assert decided(network, readings, dead).carrying == measured.carrying


def test_a_peer_that_may_hold_from_now_on_is_found() -> None:
    network = reflector()
    before = decided(network, {A: heard(40), B: heard(5)})
    peers = {**network.peers, PLAIN: replace(network.peers[PLAIN], permitted_prefixes=(VIP,))}
    del peers[B]
    assert network.bgp is not None
    kept = tuple(each for each in network.bgp.neighbors if each.peer_id != B)
    after = replace(network, peers=peers, bgp=replace(network.bgp, neighbors=kept))
    found = decided(after, {A: heard(41)}, before).carrying.host_routes
    assert found == {A_HOST: NEAREST_METRIC + 39, ip_network("fd00:1::13/128"): None}


steps = st.integers(0, LAST_STEP)
rtts = st.floats(0.0, 5.0)


@given(rtts, st.none() | steps)
def test_a_step_that_was_taken_is_not_left_by_the_same_round_trip(
    rtt: float, before: int | None
) -> None:
    taken = step_of(rtt, before)
    assert step_of(rtt, taken) == taken
    middle = 1.5**taken
    assert abs(rtt * 1000 - middle) <= max(SLACK * middle, SLACK_MS)


@given(rtts, steps)
def test_a_step_is_left_only_when_the_round_trip_is_well_away(rtt: float, before: int) -> None:
    middle = 1.5**before
    away = abs(rtt * 1000 - middle)
    assert (step_of(rtt, before) != before) == (away > SLACK * middle and away > SLACK_MS)


@given(steps, steps)
def test_a_longer_way_has_the_larger_metric_and_none_that_of_another_kind(
    one: int, two: int
) -> None:
    assert (metric_of(one) < metric_of(two)) == (one < two)
    assert NEAREST_METRIC < metric_of(one) < FURTHEST_METRIC
