"""Peer states by the runbook's definition, and the tree that is built from observations."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.carrying import Carrying, PathChoice
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.firewall import (
    AllSelector,
    FirewallAction,
    FirewallDirection,
    FirewallPolicy,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
)
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.status import (
    AgentStatus,
    Backend,
    FirewallStatus,
    HealthWarning,
    LinkObservation,
    Liveness,
    LivenessReading,
    PeerState,
    PortMappingStatus,
    Result,
    Severity,
    WireguardDevice,
    WireguardPeer,
)
from powernode_agent.model.values import (
    Endpoint,
    NetworkId,
    NodeId,
    PathId,
    PeerId,
    PublicKey,
    Revision,
)
from powernode_agent.report.build import Observations, Revisions, build_status
from powernode_agent.report.peers import measure_peer, next_transition_at, peer_state
from powernode_agent.report.warnings import MAX_WARNINGS, told, with_warnings

NOW = 1_800_000_000.0
NET = NetworkId("net-1")
OVERLAY = IPv6Network("fd00:abcd:1::/64")
OLD, NEW = PublicKey("A" * 43 + "="), PublicKey("B" * 42 + "A=")
PEER = Peer(
    PeerId("p1"),
    NET,
    "hub-fra",
    PeerKind.NODE,
    PeerRole.HUB,
    OVERLAY[1],
    public_key=OLD,
    next_public_key=NEW,
)
ELSEWHERE = Endpoint(IPv4Address("203.0.113.5"), 51820)


def entry(key: PublicKey, last_handshake: float | None, rx: int = 0) -> WireguardPeer:
    return WireguardPeer(key, ELSEWHERE, last_handshake, rx, 2 * rx, 0, frozenset(), False)


@pytest.mark.parametrize(
    ("in_device", "age", "state"),
    [
        (False, None, PeerState.HANDSHAKE_PENDING),
        (False, 1.0, PeerState.HANDSHAKE_PENDING),
        (True, None, PeerState.HANDSHAKING),
        (True, 0.0, PeerState.CONNECTED),
        (True, 300.0, PeerState.CONNECTED),
        (True, 300.1, PeerState.SILENT),
        (True, 90_000.0, PeerState.SILENT),
        (True, -1.0, PeerState.CONNECTED),
        (True, -3600.0, None),
    ],
)
def test_states_are_the_runbooks(
    in_device: bool, age: float | None, state: PeerState | None
) -> None:
    assert peer_state(in_device, None if age is None else NOW - age, NOW) is state


def test_a_device_that_was_not_read_proves_nothing() -> None:
    status = measure_peer(PEER, None, None, NOW)
    assert (status.state, status.rx_bytes, status.public_key) == (None, None, None)


def test_a_peer_that_is_not_in_the_device_is_pending_without_counters() -> None:
    status = measure_peer(PEER, {}, None, NOW)
    assert (status.state, status.rx_bytes) == (PeerState.HANDSHAKE_PENDING, None)
    keyless = replace(PEER, public_key=None, next_public_key=None)
    assert measure_peer(keyless, {}, None, NOW).state is PeerState.HANDSHAKE_PENDING


def test_two_keys_of_a_rotation_are_one_peer() -> None:
    before = {OLD: entry(OLD, NOW - 100, 10), NEW: entry(NEW, None, 1)}
    status = measure_peer(PEER, before, None, NOW)
    assert (status.public_key, status.next_key_ready) == (OLD, True)
    assert (status.rx_bytes, status.tx_bytes) == (11, 22)
    after = measure_peer(PEER, {**before, NEW: entry(NEW, NOW - 1, 5)}, None, NOW)
    assert (after.public_key, after.last_handshake) == (NEW, NOW - 1)
    assert after.state is PeerState.CONNECTED


def test_a_key_without_a_session_is_not_in_use() -> None:
    status = measure_peer(PEER, {OLD: entry(OLD, None)}, None, NOW)
    assert (status.state, status.public_key) == (PeerState.HANDSHAKING, None)
    assert status.next_key_ready is False


@given(st.lists(st.floats(-400.0, 4.0), max_size=6))
def test_waking_at_the_transition_finds_it_done_and_not_before(ages: list[float]) -> None:
    def states(now: float) -> list[PeerState | None]:
        return [peer_state(True, NOW + age, now) for age in ages]

    measured = [measure_peer(PEER, {OLD: entry(OLD, NOW + age)}, None, NOW) for age in ages]
    at = next_transition_at(measured, NOW)
    if at is None:
        assert PeerState.CONNECTED not in states(NOW)
        return
    assert at > NOW
    assert states(at) != states(NOW)
    assert states(at - 0.01) == states(NOW) or at - 0.01 <= NOW


NETWORK = NetworkState(
    Network(
        NET,
        "core",
        "core",
        OVERLAY,
        RoutingMode.STATIC,
        Interface(PeerId("self"), OVERLAY[9], PeerRole.SPOKE, 51820, NodeKey(1)),
    ),
    {PEER.id: PEER},
)
STATE = DesiredState(Revision(7), Node(NodeId("n1"), "edge-tokyo"), {NET: NETWORK})
AGENT = AgentStatus("1.0", "6.1", NOW - 10, 0)


def test_nothing_observed_is_nothing_claimed() -> None:
    status = build_status(
        NOW, AGENT, "n1", "edge", "away", STATE, Revisions(), Observations(devices={NET: None})
    )
    network, peer = status.networks[NET], status.peers[NET, PEER.id]
    assert (network.up, network.mtu, network.backend, network.public_key) == (None,) * 4
    assert (peer.state, peer.liveness) == (None, None)
    assert status.paths == {}
    assert (status.accepted_revision, status.applied_revision) == (7, None)


def test_a_device_that_is_not_there_makes_its_peers_pending() -> None:
    seen = Observations(missing_devices=frozenset({NET}))
    status = build_status(NOW, AGENT, "n1", "edge", "away", STATE, Revisions(), seen)
    assert status.peers[NET, PEER.id].state is PeerState.HANDSHAKE_PENDING


def test_everything_observed_arrives() -> None:
    device = WireguardDevice(
        "wg-sdwan-core", Backend.USERSPACE, NEW, 51820, {OLD: entry(OLD, NOW - 1)}
    )
    seen = Observations(
        devices={NET: device},
        links={NET: LinkObservation(3, "wg-sdwan-core", True, 1420, frozenset())},
        liveness={(NET, PEER.id): LivenessReading(Liveness.ALIVE, 50.0, 0.02, 9, 9)},
        carrying={
            NET: Carrying(
                NET,
                {},
                frozenset(),
                (PathChoice(PathId("x"), OVERLAY, PEER.id, "first candidate"),),
            )
        },
        node_keys={NET: ((1, NEW),)},
        liveness_epoch=NOW - 100.0,
    )
    revisions = Revisions(applied=Revision(7), applied_at=NOW - 2, applied_in=0.04)
    status = build_status(NOW, AGENT, "n1", "edge", "connected", STATE, revisions, seen)
    network, peer = status.networks[NET], status.peers[NET, PEER.id]
    assert (network.up, network.mtu, network.listen_port) == (True, 1420, 51820)
    assert (network.backend, network.public_key) == (Backend.USERSPACE, NEW)
    assert network.node_keys == ((1, NEW),)
    assert peer.state is PeerState.CONNECTED
    assert peer.liveness is not None
    assert peer.liveness.since == NOW - 50.0, "by the epoch, not by the prober's clock"
    assert status.paths[PathId("x")].carried_by == PEER.id
    assert (status.node_name, status.applied_in) == ("edge-tokyo", 0.04)


def test_without_desired_state_the_identity_speaks() -> None:
    status = build_status(NOW, AGENT, "n1", "edge", "away", None, Revisions(), Observations())
    assert (status.node_id, status.node_name) == ("n1", "edge")
    assert (status.accepted_revision, status.networks) == (None, {})


RULE = FirewallRule(
    FirewallRuleId("fr-1"),
    NET,
    FirewallDirection.INGRESS,
    FirewallAction.DROP,
    AllSelector(),
    FirewallProtocol.ANY,
    1,
)
WEB = PortMappingId("pm-1")
MAPPING = PortMapping(
    WEB, NET, IPv4Address("203.0.113.5"), 443, MappingProtocol.TCP, OVERLAY[7], 8443
)


def with_network(network: NetworkState) -> DesiredState:
    return replace(STATE, networks={NET: network})


HUB = replace(NETWORK.network, interface=replace(NETWORK.network.interface, role=PeerRole.HUB))


@pytest.mark.parametrize(
    ("network", "measured", "shown"),
    [
        (NETWORK, None, None),
        (NETWORK, FirewallStatus(NET, 0, 3), None),
        (NETWORK, FirewallStatus(NET, 2, 3), FirewallStatus(NET, 2, 3)),
        (replace(NETWORK, firewall_rules={RULE.id: RULE}), None, FirewallStatus(NET)),
        (
            replace(NETWORK, firewall_rules={RULE.id: RULE}),
            FirewallStatus(NET, 0, 0),
            FirewallStatus(NET, 0, 0),
        ),
        (
            replace(
                NETWORK,
                network=replace(
                    NETWORK.network, firewall_policy=FirewallPolicy(egress=FirewallAction.DROP)
                ),
            ),
            None,
            FirewallStatus(NET),
        ),
    ],
)
def test_a_firewall_is_shown_where_there_is_one(
    network: NetworkState, measured: FirewallStatus | None, shown: FirewallStatus | None
) -> None:
    seen = Observations(firewalls={} if measured is None else {NET: measured})
    state = with_network(network)
    status = build_status(NOW, AGENT, "n1", "edge", "away", state, Revisions(), seen)
    assert status.firewalls == ({} if shown is None else {NET: shown})


def test_every_desired_mapping_is_there_measured_or_not() -> None:
    state = with_network(NetworkState(HUB, port_mappings={WEB: MAPPING}))
    gone = PortMappingId("gone")
    unknown = build_status(NOW, AGENT, "n1", "e", "away", state, Revisions(), Observations())
    words = {"external": "tcp 203.0.113.5:443", "internal": "[fd00:abcd:1::7]:8443"}
    assert unknown.port_mappings == {WEB: PortMappingStatus(WEB, NET, **words)}
    assert unknown.port_mappings[WEB].result is Result.NOT_MEASURED
    seen = Observations(
        port_mappings={
            WEB: PortMappingStatus(WEB, NET, Result.OK, "", 9),
            gone: PortMappingStatus(gone, NET, Result.OK),
        }
    )
    known = build_status(NOW, AGENT, "n1", "e", "away", state, Revisions(), seen)
    assert known.port_mappings == {WEB: PortMappingStatus(WEB, NET, Result.OK, "", 9, **words)}


def warning(number: int, severity: Severity) -> HealthWarning:
    return HealthWarning("FW-001", severity, "net-1", f"rule {number}", "c", "f", NOW)


def test_warnings_are_told_worst_first() -> None:
    found = tuple(warning(i, severity) for i, severity in enumerate(Severity))
    status = build_status(NOW, AGENT, "n1", "e", "away", STATE, Revisions(), Observations())
    assert status.warnings == ()
    status = with_warnings(status, found)
    assert [each.severity for each in status.warnings] == [
        Severity.CRITICAL,
        Severity.WARNING,
        Severity.INFO,
    ]


def test_a_flood_of_warnings_is_bounded_and_says_so() -> None:
    flood = [warning(i, Severity.WARNING) for i in range(10_000)]
    kept = told([*flood, warning(-1, Severity.CRITICAL)])
    assert len(kept) == MAX_WARNINGS
    assert kept[0].severity is Severity.CRITICAL
    assert kept[1:-1] == tuple(flood[: MAX_WARNINGS - 2])
    assert kept[-1].evidence == f"rule {MAX_WARNINGS - 2} (and 9801 more warnings, not listed)"
    assert told(flood[:MAX_WARNINGS]) == tuple(flood[:MAX_WARNINGS])
