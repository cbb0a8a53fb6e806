"""Reports: everything, what changed, and what cannot wait."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from wire_states import key

from powernode.sdwan.v1 import status_pb2 as pb
from powernode_agent.model.port_mapping import PortMappingId
from powernode_agent.model.status import (
    AgentStatus,
    Backend,
    BgpSession,
    BgpState,
    EndpointCandidate,
    FirewallStatus,
    HealthWarning,
    HolderState,
    Liveness,
    LivenessReading,
    NetworkStatus,
    NodeStatus,
    PathStatus,
    PeerState,
    PeerStatus,
    PortMappingStatus,
    RejectedRevision,
    Result,
    Severity,
    SubsystemOutcome,
    VirtualIpReading,
)
from powernode_agent.model.values import (
    Endpoint,
    NetworkId,
    PathId,
    PeerId,
    PublicKey,
    Revision,
)
from powernode_agent.model.violation import violation
from powernode_agent.model.virtual_ip import VirtualIpId
from powernode_agent.wire.encode import difference_report, full_report, urgent_change

CORE, HUB = NetworkId("core"), PeerId("hub")
PEER = PeerStatus(
    peer_id=HUB,
    network_id=CORE,
    name="hub-fra",
    state=PeerState.CONNECTED,
    last_handshake=1000.5,
    endpoint=Endpoint(ip_address("2001:db8::5"), 51820),
    rx_bytes=0,
    tx_bytes=7,
    liveness=LivenessReading(Liveness.ALIVE, 990.0, 0.0231, 14, 14),
    public_key=PublicKey(key("hub")),
)
WEB = PortMappingId("pm-1")
MAPPED = PortMappingStatus(WEB, CORE, Result.OK, "", 12, "tcp 203.0.113.9:443", "[fd00::2]:8443")
SHADOWED = HealthWarning(
    "FW-001", Severity.WARNING, "core", "rule b is never reached", "rule a", "remove one", 900.5
)
SESSION = BgpSession(CORE, HUB, BgpState.ESTABLISHED, 90_000, 12, 0, "Interface down", "")
VIP = VirtualIpId("vip-1")
HELD = VirtualIpReading(VIP, CORE, HolderState.HOLDING, 900_000, True, IPv6Address("fd00::100"))
STATUS = NodeStatus(
    at=1001.25,
    agent=AgentStatus("1.0", "6.18", 900.0, 2),
    node_id="node-1",
    node_name="edge-1",
    platform="connected",
    accepted_revision=Revision(5),
    applied_revision=Revision(4),
    networks={
        CORE: NetworkStatus(
            CORE,
            "core",
            "core",
            "wg-sdwan-core",
            "spoke",
            "static",
            up=True,
            mtu=1420,
            listen_port=51820,
            backend=Backend.USERSPACE,
            node_keys=((1, PublicKey(key("own"))),),
        )
    },
    peers={(CORE, HUB): PEER},
    paths={PathId("lan"): PathStatus(PathId("lan"), CORE, ip_network("10.1.0.0/16"), HUB, "first")},
    outcomes=(
        SubsystemOutcome("links", CORE, Result.OK, "", 950.0),
        SubsystemOutcome("wireguard", None, Result.NOT_MEASURED, "", 950.0),
    ),
    endpoint_candidates=(EndpointCandidate(CORE, Endpoint(ip_address("203.0.113.9"), 51820)),),
    firewalls={CORE: FirewallStatus(CORE, 12, 0)},
    port_mappings={WEB: MAPPED},
    bgp_sessions={(CORE, HUB): SESSION},
    virtual_ips={VIP: HELD},
    warnings=(SHADOWED,),
)


def with_peer(**changes: Any) -> NodeStatus:
    return replace(STATUS, peers={(CORE, HUB): replace(PEER, **changes)})


def with_session(**changes: Any) -> NodeStatus:
    return replace(STATUS, bgp_sessions={(CORE, HUB): replace(SESSION, **changes)})


def test_a_full_report_says_everything_that_was_measured() -> None:
    report = full_report(STATUS, 1)
    assert (report.sequence, report.reported_at_ms, report.full) == (1, 1001250, True)
    assert report.agent == pb.AgentStatus(
        version="1.0", kernel_release="6.18", started_at_ms=900000, drift_repaired=2
    )
    assert (report.accepted_revision, report.applied_revision) == (5, 4)
    assert not report.HasField("rejected")
    (network,) = report.networks
    assert (network.up, network.mtu, network.backend) == (
        True,
        1420,
        pb.WIREGUARD_BACKEND_USERSPACE,
    )
    assert [(each.generation, each.public_key) for each in network.node_keys] == [(1, key("own"))]
    (peer,) = report.peers
    assert peer == pb.PeerStatus(
        peer_id="hub",
        network_id="core",
        state=pb.PEER_STATE_CONNECTED,
        last_handshake_at_ms=1000500,
        endpoint="[2001:db8::5]:51820",
        rx_bytes=0,
        tx_bytes=7,
        liveness=pb.LIVENESS_ALIVE,
        rtt_us=23100,
        public_key=key("hub"),
    )
    assert report.paths[0].carried_by_peer_id == "hub"
    assert [each.result for each in report.outcomes] == [pb.RESULT_OK, pb.RESULT_UNSPECIFIED]
    assert report.endpoint_candidates[0].source == pb.ENDPOINT_SOURCE_INTERFACE
    assert list(report.firewalls) == [
        pb.FirewallStatus(network_id="core", rules=12, dropped_packets=0)
    ]
    assert list(report.port_mappings) == [
        pb.PortMappingStatus(port_mapping_id="pm-1", result=pb.RESULT_OK, connections=12)
    ]
    assert list(report.bgp_sessions) == [
        pb.BgpSessionStatus(
            network_id="core",
            neighbor_peer_id="hub",
            state=pb.BGP_STATE_ESTABLISHED,
            uptime_ms=90000,
            prefixes_received=12,
            prefixes_sent=0,
            last_reset_reason="Interface down",
        )
    ]
    assert list(report.virtual_ips) == [
        pb.VirtualIpStatus(
            virtual_ip_id="vip-1",
            state=pb.HOLDER_STATE_HOLDING,
            since_ms=900000,
            announced=True,
        )
    ]
    assert list(report.warnings) == [
        pb.HealthWarning(
            code="FW-001",
            severity=pb.SEVERITY_WARNING,
            subject_id="core",
            evidence="rule b is never reached",
            cause="rule a",
            fix="remove one",
            since_ms=900500,
        )
    ]


def test_what_was_not_measured_is_absent_and_not_zero() -> None:
    bare = PeerStatus(HUB, CORE, "hub", None)
    status = replace(
        STATUS,
        applied_revision=None,
        accepted_revision=None,
        peers={(CORE, HUB): bare},
        networks={CORE: NetworkStatus(CORE, "c", "c", "wg-sdwan-c", "hub", "static")},
    )
    status = replace(
        status,
        firewalls={CORE: FirewallStatus(CORE)},
        port_mappings={WEB: PortMappingStatus(WEB, CORE, message="not asked yet")},
        bgp_sessions={(CORE, HUB): BgpSession(CORE, HUB)},
        virtual_ips={VIP: VirtualIpReading(VIP, CORE, HolderState.NOT_MEASURED, 1)},
    )
    report = full_report(status, 1)
    for name in ("rules", "dropped_packets"):
        assert not report.firewalls[0].HasField(name)
    assert report.port_mappings[0] == pb.PortMappingStatus(port_mapping_id="pm-1")
    for name in ("applied_revision", "accepted_revision", "rejected"):
        assert not report.HasField(name)
    for name in ("last_handshake_at_ms", "rx_bytes", "tx_bytes", "rtt_us"):
        assert not report.peers[0].HasField(name)
    for name in ("up", "mtu", "listen_port"):
        assert not report.networks[0].HasField(name)
    assert report.peers[0].state == pb.PEER_STATE_UNSPECIFIED
    assert report.bgp_sessions[0] == pb.BgpSessionStatus(network_id="core", neighbor_peer_id="hub")
    assert report.virtual_ips[0] == pb.VirtualIpStatus(virtual_ip_id="vip-1", since_ms=1)


def test_every_value_of_every_enum_has_a_word_in_the_contract() -> None:
    for state in PeerState:
        assert full_report(with_peer(state=state), 1).peers[0].state != 0
    for liveness in Liveness:
        reading = LivenessReading(liveness, 0.0, None, 1, 0)
        assert full_report(with_peer(liveness=reading), 1).peers[0].liveness != 0
    severities = {
        full_report(replace(STATUS, warnings=(replace(SHADOWED, severity=each),)), 1)
        .warnings[0]
        .severity
        for each in Severity
    }
    assert len(severities - {0}) == len(Severity)
    results = {
        full_report(replace(STATUS, port_mappings={WEB: replace(MAPPED, result=each)}), 1)
        .port_mappings[0]
        .result
        for each in Result
    }
    assert len(results) == len(Result)
    for bgp_state in BgpState:
        told = full_report(with_session(state=bgp_state), 1).bgp_sessions[0].state
        word = pb.BgpState.Name(told).removeprefix("BGP_STATE_").replace("_", "").lower()
        assert word == bgp_state.value.lower() or (bgp_state, told) == (BgpState.NOT_MEASURED, 0)
    for holder in HolderState:
        held = full_report(replace(STATUS, virtual_ips={VIP: replace(HELD, state=holder)}), 1)
        told_holder = held.virtual_ips[0].state
        word = pb.HolderState.Name(told_holder).removeprefix("HOLDER_STATE_").lower()
        assert word == holder.value or (holder, told_holder) == (HolderState.NOT_MEASURED, 0)


def test_a_rejection_is_told_with_its_reasons() -> None:
    reason = violation("peer x (p)", "endpoint", "nowhere", "an address")
    status = replace(STATUS, rejected=RejectedRevision(Revision(6), (reason,), 1000.0))
    assert urgent_change(STATUS, status)
    report = difference_report(STATUS, status, 2)
    assert report is not None
    assert report.rejected.revision == 6
    assert report.rejected.reasons[0].value == "'nowhere'"
    cleared = difference_report(status, STATUS, 3)
    assert cleared is not None
    assert not cleared.HasField("rejected")


def test_nothing_changed_is_no_report() -> None:
    later = replace(STATUS, at=2000.0, platform="connected", applied_in=0.01)
    assert difference_report(STATUS, later, 2) is None
    assert not urgent_change(STATUS, later)


def test_a_difference_holds_only_what_changed() -> None:
    other = PeerId("other")
    before = replace(STATUS, peers={(CORE, HUB): PEER, (CORE, other): replace(PEER, peer_id=other)})
    after = replace(
        before,
        peers={**before.peers, (CORE, other): replace(PEER, peer_id=other, rx_bytes=99)},
    )
    report = difference_report(before, after, 2)
    assert report is not None
    assert not report.full
    assert [(each.peer_id, each.rx_bytes) for each in report.peers] == [("other", 99)]
    assert (report.accepted_revision, report.applied_revision) == (5, 4)
    assert not report.networks
    assert not report.paths
    assert not report.outcomes
    assert not report.HasField("agent")


GOING = [
    "networks",
    "peers",
    "paths",
    "outcomes",
    "endpoint_candidates",
    "firewalls",
    "port_mappings",
    "bgp_sessions",
    "virtual_ips",
    "warnings",
]


@pytest.mark.parametrize("name", GOING)
def test_what_went_away_makes_a_full_report(name: str) -> None:
    kind = type(getattr(STATUS, name))
    after = replace(STATUS, **{name: kind()})
    report = difference_report(STATUS, after, 2)
    assert report is not None
    assert report.full
    assert not getattr(report, name)
    assert urgent_change(STATUS, after)
    assert difference_report(after, STATUS, 3) is not None
    assert urgent_change(after, STATUS)


COUNTERS: dict[str, Any] = {
    "last_handshake": 1100.0,
    "rx_bytes": 100,
    "tx_bytes": 100,
    "liveness": LivenessReading(Liveness.ALIVE, 990.0, 0.1, 20, 20),
}
STATES: dict[str, Any] = {
    "state": PeerState.SILENT,
    "endpoint": None,
    "liveness": LivenessReading(Liveness.DEAD, 990.0, None, 20, 14),
    "public_key": PublicKey(key("next")),
    "next_key_ready": True,
}


@pytest.mark.parametrize("name", COUNTERS)
def test_counters_can_wait(name: str) -> None:
    after = with_peer(**{name: COUNTERS[name]})
    assert not urgent_change(STATUS, after)
    assert difference_report(STATUS, after, 2) is not None


@pytest.mark.parametrize("name", STATES)
def test_states_cannot_wait(name: str) -> None:
    assert urgent_change(STATUS, with_peer(**{name: STATES[name]}))


def test_every_measured_field_of_a_peer_is_a_counter_or_a_state() -> None:
    """A new field has to be put into one of the two before it can be forgotten."""
    names = {each.name for each in fields(PeerStatus)}
    # Of desired state, and what `health` draws from it: the platform gave it, and hears of findings.
    desired = {"wanted_key", "key_changed_at", "is_user_device"}
    assert names == {"peer_id", "network_id", "name", *desired, *COUNTERS, *STATES}


def test_probes_that_only_counted_on_are_not_told() -> None:
    after = with_peer(liveness=LivenessReading(Liveness.ALIVE, 990.0, 0.0231, 15, 15))
    assert difference_report(STATUS, after, 2) is None


def test_a_moved_path_and_a_failed_step_cannot_wait() -> None:
    (path,) = STATUS.paths.values()
    moved = replace(STATUS, paths={path.path_id: replace(path, carried_by=None)})
    assert urgent_change(STATUS, moved)
    aged = replace(STATUS, paths={path.path_id: replace(path, reason="hub dead for 2 s")})
    assert not urgent_change(STATUS, aged)
    failed = replace(STATUS.outcomes[0], result=Result.ERROR, message="no such device")
    assert urgent_change(STATUS, replace(STATUS, outcomes=(failed, STATUS.outcomes[1])))
    since = replace(STATUS.outcomes[0], since=1000.0)
    assert not urgent_change(STATUS, replace(STATUS, outcomes=(since, STATUS.outcomes[1])))
    assert urgent_change(STATUS, replace(STATUS, applied_revision=Revision(5)))


def test_a_difference_of_what_filters_and_translates_holds_only_that() -> None:
    other = PortMappingId("pm-2")
    before = replace(
        STATUS, port_mappings={WEB: MAPPED, other: replace(MAPPED, id=other)}, warnings=()
    )
    failed = replace(MAPPED, id=other, result=Result.ERROR, message="port in use by nginx")
    after = replace(
        before,
        firewalls={CORE: FirewallStatus(CORE, 12, 7)},
        port_mappings={WEB: MAPPED, other: failed},
        warnings=(SHADOWED, replace(SHADOWED, subject_id="hub")),
    )
    report = difference_report(before, after, 2)
    assert report is not None
    assert not report.full
    assert not report.peers
    assert list(report.firewalls) == [
        pb.FirewallStatus(network_id="core", rules=12, dropped_packets=7)
    ]
    assert list(report.port_mappings) == [
        pb.PortMappingStatus(
            port_mapping_id="pm-2",
            result=pb.RESULT_ERROR,
            message="port in use by nginx",
            connections=12,
        )
    ]
    assert [each.subject_id for each in report.warnings] == ["core", "hub"]
    fewer = difference_report(after, replace(after, warnings=(SHADOWED,)), 3)
    assert fewer is not None
    assert (fewer.full, len(fewer.warnings)) == (False, 1), "one of two gone: the whole list again"


def test_what_filters_cannot_wait_but_its_counters_can() -> None:
    for waits in (
        replace(STATUS, firewalls={CORE: FirewallStatus(CORE, 12, 99)}),
        replace(STATUS, port_mappings={WEB: replace(MAPPED, connections=99)}),
        replace(STATUS, warnings=(replace(SHADOWED, evidence="for 41 s"),)),
    ):
        assert not urgent_change(STATUS, waits)
        assert difference_report(STATUS, waits, 2) is not None
    for now in (
        replace(STATUS, firewalls={CORE: FirewallStatus(CORE, 11, 0)}),
        replace(STATUS, firewalls={CORE: FirewallStatus(CORE, None, 0)}),
        replace(STATUS, port_mappings={WEB: replace(MAPPED, result=Result.ERROR, message="x")}),
        replace(STATUS, warnings=(SHADOWED, SHADOWED)),
        replace(STATUS, warnings=(replace(SHADOWED, severity=Severity.CRITICAL),)),
    ):
        assert urgent_change(STATUS, now)


def test_sessions_and_holders_cannot_wait_but_their_counters_can() -> None:
    for waits in (
        with_session(uptime_ms=91_000),
        with_session(prefixes_received=13),
        with_session(prefixes_sent=None),
        with_session(likely_cause="no answer for 41 s"),
        replace(STATUS, virtual_ips={VIP: replace(HELD, since_ms=1_000_000)}),
    ):
        assert not urgent_change(STATUS, waits)
        report = difference_report(STATUS, waits, 2)
        assert report is not None
        assert (report.full, len(report.bgp_sessions) + len(report.virtual_ips)) == (False, 1)
    for now in (
        with_session(state=BgpState.ACTIVE),
        with_session(last_reset_reason="Hold timer expired"),
        replace(STATUS, virtual_ips={VIP: replace(HELD, state=HolderState.ABSENT)}),
        replace(STATUS, virtual_ips={VIP: replace(HELD, announced=None)}),
    ):
        assert urgent_change(STATUS, now)


def test_what_is_not_told_makes_no_report() -> None:
    renamed = replace(STATUS, port_mappings={WEB: replace(MAPPED, external="tcp hub:443")})
    assert difference_report(STATUS, renamed, 2) is None
