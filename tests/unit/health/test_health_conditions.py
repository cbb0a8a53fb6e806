"""Each code: a status that shows it, and one that is nearly the same and does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from powernode_agent.health.codes import TABLE
from powernode_agent.health.condition import Condition
from powernode_agent.health.conditions import conditions_of
from powernode_agent.health.keys import KnownKeys, follow_keys
from powernode_agent.health.routing import row_of
from powernode_agent.model.port_mapping import PortMappingId
from powernode_agent.model.status import (
    AgentStatus,
    BgpSession,
    BgpState,
    FlannelReading,
    HolderState,
    Liveness,
    LivenessReading,
    NetworkStatus,
    NodeStatus,
    PeerState,
    PeerStatus,
    PortMappingStatus,
    RejectedRevision,
    Result,
    SubsystemOutcome,
    VirtualIpReading,
)
from powernode_agent.model.values import Endpoint, NetworkId, PeerId, Prefix, PublicKey, Revision
from powernode_agent.model.violation import Violation
from powernode_agent.model.virtual_ip import VirtualIpId
from powernode_agent.routing.sessions import (
    Connecting,
    Evidence,
    SessionReading,
    likely_cause,
)

NOW = 1_800_000_000.0
CORE = NetworkId("n-core")
HUB = PeerId("p-hub")
OLD = PublicKey("aPxGwq8zERHQ3Q1cOZFdJ+cvJX5Ka4mLN38AyYKYF10=")
NEW = PublicKey("bPxGwq8zERHQ3Q1cOZFdJ+cvJX5Ka4mLN38AyYKYF10=")
WELL_PEER = PeerStatus(
    HUB, CORE, "hub-fra", PeerState.CONNECTED, NOW - 30, Endpoint(ip_address("203.0.113.5"), 51820),
    100, 100, LivenessReading(Liveness.ALIVE, NOW - 60, 0.1, 60, 60), OLD, wanted_key=OLD,
)  # fmt: skip
NETWORK = NetworkStatus(
    CORE, "core", "core", "wg-sdwan-core", "spoke", "ibgp", True, 1420, 51820,
    public_key=OLD, wanted_public_key=OLD,
)  # fmt: skip
WELL = NodeStatus(
    at=NOW,
    agent=AgentStatus("1", "6", NOW - 3600, 0),
    node_id="n",
    node_name="n",
    platform="connected",
    accepted_revision=Revision(7),
    applied_revision=Revision(7),
    networks={CORE: NETWORK},
    peers={(CORE, HUB): WELL_PEER},
)
REFUSED = RejectedRevision(Revision(8), (Violation("peer x", "name", "''", "text"),), NOW - 100)


def peer(**changes: object) -> NodeStatus:
    changed = replace(WELL_PEER, **changes)  # type: ignore[arg-type]
    return replace(WELL, peers={(CORE, HUB): changed})


def network(**changes: object) -> NodeStatus:
    return replace(WELL, networks={CORE: replace(NETWORK, **changes)})  # type: ignore[arg-type]


def failed(room: str, result: Result = Result.ERROR) -> NodeStatus:
    outcome = SubsystemOutcome(room, CORE, result, "cannot: got EPERM", NOW - 9)
    return replace(WELL, outcomes=(outcome,))


def session(state: BgpState, cause: str = "", **more: object) -> NodeStatus:
    one = BgpSession(CORE, HUB, state, likely_cause=cause)
    return replace(WELL, bgp_sessions={(CORE, HUB): one}, **more)  # type: ignore[arg-type]


def held(state: HolderState) -> NodeStatus:
    id_ = VirtualIpId("v")
    return replace(WELL, virtual_ips={id_: VirtualIpReading(id_, CORE, state, 1)})


def mapping(result: Result) -> NodeStatus:
    id_ = PortMappingId("m")
    return replace(WELL, port_mappings={id_: PortMappingStatus(id_, CORE, result, "no")})


def flannel(other: Prefix | None) -> NodeStatus:
    return replace(WELL, flannel=FlannelReading(CORE, Result.OK, other_network=other))


def dead(since: float) -> LivenessReading:
    return LivenessReading(Liveness.DEAD, since, None, 14, 0)


HANDSHAKING = {"state": PeerState.HANDSHAKING, "last_handshake": None, "public_key": None}

CASES: dict[str, tuple[NodeStatus, NodeStatus]] = {
    "AGT-001": (failed("purge"), failed("purge", Result.NOT_MEASURED)),
    "AGT-002": (failed("novel"), failed("novel", Result.OK)),
    "BGP-001": (session(BgpState.IDLE), session(BgpState.NOT_MEASURED)),
    "BGP-002": (session(BgpState.ACTIVE), session(BgpState.ESTABLISHED)),
    "BGP-003": (failed("routing"), failed("routing", Result.OK)),
    "FW-002": (failed("firewall"), failed("firewall", Result.OK)),
    "K3S-001": (flannel(ip_network("10.99.0.0/16")), flannel(None)),
    "K3S-002": (failed("flannel"), failed("flannel", Result.OK)),
    "KEY-001": (
        peer(**HANDSHAKING, key_changed_at=NOW - 40),
        peer(**HANDSHAKING),
    ),
    "KEY-002": (network(public_key=NEW), network(public_key=None)),
    "KEY-003": (failed("keys"), failed("keys", Result.OK)),
    "LINK-001": (network(up=False), network(up=None)),
    "LINK-002": (failed("links"), failed("links", Result.OK)),
    "NAT-001": (peer(**HANDSHAKING), peer(state=None)),
    "NAT-002": (peer(**HANDSHAKING, endpoint=None), peer(endpoint=None)),
    "PATH-001": (failed("paths"), failed("paths", Result.NOT_MEASURED)),
    "PEER-001": (peer(state=PeerState.HANDSHAKE_PENDING), peer(state=None)),
    "PEER-002": (peer(liveness=dead(NOW - 5)), peer(liveness=None)),
    "PLT-001": (replace(WELL, platform="away for 9 s: refused"), replace(WELL, platform="file /x")),
    "PLT-002": (
        replace(WELL, platform="away for 9 s: no certificate; powernode-agent enrol"),
        WELL,
    ),
    "PM-003": (mapping(Result.ERROR), mapping(Result.NOT_MEASURED)),
    "PM-004": (failed("portmap"), failed("portmap", Result.OK)),
    "REV-001": (replace(WELL, rejected=REFUSED), WELL),
    "REV-002": (replace(WELL, accepted_revision=None, applied_revision=None), WELL),
    "REV-003": (replace(WELL, applied_revision=Revision(6)), WELL),
    "STO-001": (failed("store"), failed("store", Result.OK)),
    "VIP-001": (held(HolderState.ABSENT), held(HolderState.NOT_MEASURED)),
    "VIP-002": (failed("virtual_ip"), failed("virtual_ip", Result.OK)),
    "WG-001": (failed("wireguard"), failed("wireguard", Result.OK)),
}
ELSEWHERE = {"FW-001", "PM-001", "PM-002"}
"""Found in desired state: tests/unit/firewall, tests/unit/daemon."""


def codes(status: NodeStatus) -> list[str]:
    return [each.code for each in conditions_of(status, NOW)]


def only(status: NodeStatus) -> Condition:
    (found,) = conditions_of(status, NOW)
    return found


def test_every_row_has_its_case() -> None:
    assert CASES.keys() | ELSEWHERE == TABLE.keys()
    assert conditions_of(WELL, NOW) == []


@pytest.mark.parametrize("code", CASES)
def test_a_status_that_shows_it_and_one_that_does_not(code: str) -> None:
    shows, does_not = CASES[code]
    assert codes(shows) == [code]
    assert code not in codes(does_not)


def test_a_silent_peer_and_how_long_it_has_been() -> None:
    found = only(peer(state=PeerState.SILENT, last_handshake=NOW - 400, liveness=dead(NOW - 390)))
    assert (found.code, found.since) == ("PEER-002", NOW - 400)
    assert "14 probes sent, 0 answered" in found.evidence


def test_a_hub_waits_to_be_called_and_says_that_of_itself() -> None:
    status = peer(**HANDSHAKING, endpoint=None)
    hub = replace(status, networks={CORE: replace(NETWORK, role="hub")})
    assert only(hub).code == "NAT-001"
    assert "has not called" in only(hub).cause


def test_a_peer_lost_after_a_refusal_is_stale_config_and_before_it_is_not() -> None:
    lost_after = replace(peer(liveness=dead(NOW - 50)), rejected=REFUSED)
    assert codes(lost_after) == ["REV-001", "KEY-001"]
    lost_before = replace(peer(liveness=dead(NOW - 150)), rejected=REFUSED)
    assert codes(lost_before) == ["REV-001", "PEER-002"]


@pytest.mark.parametrize(
    ("away", "told"), [(NOW - 300, True), (NOW - 70, False), (NOW - 10, False)]
)
def test_a_peer_lost_long_after_the_platform_may_have_another_key(away: float, told: bool) -> None:
    """Lost together, it was one line that broke."""
    status = replace(
        peer(liveness=dead(NOW - 60)), platform="away for 1 s: x", platform_away_since=away
    )
    found = conditions_of(status, NOW)[1]
    assert found.code == "PEER-002"
    assert ("does not hear of changes" in found.cause) is told


def test_without_probes_the_bytes_are_the_evidence() -> None:
    status = peer(**HANDSHAKING, liveness=None, tx_bytes=2072, rx_bytes=0)
    assert "2072 bytes sent, 0 received" in only(status).evidence


def test_sessions_may_still_come_up_after_a_start() -> None:
    starting = AgentStatus("1", "6", NOW - 5, 0)
    assert conditions_of(session(BgpState.ACTIVE, agent=starting), NOW) == []


READING = SessionReading(BgpState.ACTIVE, None, 0, 0)


@pytest.mark.parametrize(
    ("reading", "evidence", "row"),
    [
        (replace(READING, error="0202"), Evidence(), "BGP-001"),
        (replace(READING, error="0203"), Evidence(), "BGP-001"),
        (READING, Evidence(routed=False), "BGP-001"),
        (replace(READING, state=BgpState.IDLE), Evidence(connecting=Connecting.REFUSED), "BGP-002"),
        (READING, Evidence(connecting=Connecting.TIMED_OUT), "BGP-002"),
        (READING, Evidence(alive=False), "BGP-002"),
        (replace(READING, state=BgpState.IDLE), Evidence(), "BGP-001"),
        (READING, Evidence(), "BGP-002"),
    ],
)
def test_the_cause_that_routing_names_decides_the_row(
    reading: SessionReading, evidence: Evidence, row: str
) -> None:
    """A refused session goes through all of FRR's states once a second."""
    address = ip_address("fd00::1")
    cause = likely_cause(reading, address, evidence)  # type: ignore[arg-type]
    for state in {reading.state} if not cause else (BgpState.IDLE, BgpState.ACTIVE):
        assert row_of(BgpSession(CORE, HUB, state, likely_cause=cause)) == row


def followed(*steps: NodeStatus) -> float | None:
    """`key_changed_at` of the peer after these statuses."""
    memory: KnownKeys = {}
    for step in steps:
        step, memory = follow_keys(step, memory)
    (found,) = step.peers.values()
    return found.key_changed_at


def later(status: NodeStatus, seconds: float) -> NodeStatus:
    return replace(status, at=NOW + seconds)


FRESH: Callable[[], NodeStatus] = lambda: peer(**HANDSHAKING, wanted_key=NEW)  # noqa: E731


def test_a_key_that_replaced_one_that_worked_and_never_worked_itself() -> None:
    assert followed(WELL, later(FRESH(), 5), later(FRESH(), 9)) == NOW + 5
    worked = peer(wanted_key=NEW)
    assert followed(WELL, later(FRESH(), 5), later(worked, 9)) is None, "until it works"


def test_a_planned_rotation_is_no_replacement() -> None:
    assert followed(WELL, later(peer(wanted_key=NEW), 5)) is None


def test_of_a_first_key_nothing_is_said() -> None:
    assert followed(FRESH()) is None, "a restarted agent has seen neither"
    never = peer(**HANDSHAKING)
    assert followed(never, later(FRESH(), 5)) is None, "the old one had not worked either"


def test_a_device_that_was_not_read_forgets_nothing() -> None:
    blind = peer(state=None, last_handshake=None, wanted_key=None)
    assert followed(WELL, later(blind, 2), later(FRESH(), 5)) == NOW + 5
