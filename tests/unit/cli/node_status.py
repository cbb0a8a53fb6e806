"""A node in a bad hour, as the golden files show it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network

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
from powernode_agent.model.values import Endpoint, NetworkId, PathId, PeerId, PublicKey, Revision
from powernode_agent.model.violation import Violation
from powernode_agent.model.virtual_ip import VirtualIpId

NOW = 1_800_000_000.0
CORE = NetworkId("n-core")
OPS = NetworkId("n-ops")
KEY = PublicKey("aPxGwq8zERHQ3Q1cOZFdJ+cvJX5Ka4mLN38AyYKYF10=")


def _endpoint(text: str, port: int = 51820) -> Endpoint:
    return Endpoint(ip_address(text), port)


def bad_hour() -> NodeStatus:
    """Peers in every state, deaf and unmeasured ones too; a failed room; a rejected revision."""
    peers = (
        PeerStatus(
            PeerId("p-1"), CORE, "hub-fra", PeerState.CONNECTED, NOW - 41,
            _endpoint("203.0.113.5"), 1_200_000_000, 310_000_000,
            LivenessReading(Liveness.ALIVE, NOW - 3600, 0.231, 90, 90), KEY,
        ),
        PeerStatus(
            PeerId("p-2"), CORE, "depot-7", PeerState.HANDSHAKING, None,
            _endpoint("2001:db8::7"), 0, 2_072,
            LivenessReading(Liveness.DEAD, NOW - 360, None, 14, 0),
        ),
        PeerStatus(
            PeerId("p-3"), CORE, "hub-ams", PeerState.SILENT, NOW - 1000,
            _endpoint("198.51.100.9"), 980, 99_960,
            LivenessReading(Liveness.DEAD, NOW - 700, None, 700, 12),
        ),
        PeerStatus(PeerId("p-4"), CORE, "new-1", PeerState.HANDSHAKE_PENDING),
        PeerStatus(
            PeerId("p-5"), CORE, "deaf-2", PeerState.CONNECTED, NOW - 100, None, 5, 5,
            LivenessReading(Liveness.DEAD, NOW - 12, None, 60, 50),
        ),
        PeerStatus(PeerId("p-6"), OPS, "unseen", None),
    )  # fmt: skip
    return NodeStatus(
        at=NOW - 2,
        agent=AgentStatus("0.1.0", "6.12.38", NOW - 12 * 86400 - 4 * 3600, 3),
        node_id="node-17",
        node_name="edge-tokyo-1",
        platform="connected",
        accepted_revision=Revision(418),
        applied_revision=Revision(417),
        applied_at=NOW - 180,
        applied_in=0.041,
        rejected=RejectedRevision(
            Revision(419),
            (
                Violation("peer x (p-9)", "host_address", "'fd00::1'", "inside fd00:abcd:1::/64"),
                Violation("peer y (p-10)", "name", "''", "1 to 63 printable characters"),
            ),
            NOW - 90,
        ),
        networks={
            CORE: NetworkStatus(
                CORE, "core", "core", "wg-sdwan-core", "spoke", "static",
                True, 1420, 51820, Backend.USERSPACE, KEY, ((1, KEY),),
            ),
            OPS: NetworkStatus(OPS, "ops", "ops", "wg-sdwan-ops", "hub", "static"),
        },
        peers={(peer.network_id, peer.peer_id): peer for peer in peers},
        paths={
            PathId("path-1"): PathStatus(
                PathId("path-1"), CORE, ip_network("fd00:abcd:1::/64"), PeerId("p-1"),
                "first candidate",
            ),
            PathId("path-2"): PathStatus(
                PathId("path-2"), CORE, ip_network("10.1.0.0/16"), None, "refused: not permitted"
            ),
        },
        outcomes=(
            SubsystemOutcome("wireguard", CORE, Result.OK, "", NOW - 180),
            SubsystemOutcome(
                "links", OPS, Result.ERROR, "cannot create the link: got EPERM", NOW - 75
            ),
            SubsystemOutcome("paths", OPS, Result.NOT_MEASURED, "", NOW - 75),
        ),
        endpoint_candidates=(EndpointCandidate(CORE, _endpoint("192.0.2.17")),),
    )  # fmt: skip


def good_hour() -> NodeStatus:
    """One network, one peer, all well."""
    peer = PeerStatus(
        PeerId("p-1"), CORE, "hub-fra", PeerState.CONNECTED, NOW - 41, _endpoint("203.0.113.5"),
        1_200_000_000, 310_000_000, LivenessReading(Liveness.ALIVE, NOW - 9, 0.0004, 9, 9), KEY,
    )  # fmt: skip
    return NodeStatus(
        at=NOW,
        agent=AgentStatus("0.1.0", "6.12.38", NOW - 59, 0),
        node_id="node-17",
        node_name="edge-tokyo-1",
        platform="file /etc/powernode-agent/state.yaml",
        accepted_revision=Revision(1),
        applied_revision=Revision(1),
        applied_at=NOW - 1,
        applied_in=1.25,
        networks={
            CORE: NetworkStatus(
                CORE, "core", "core", "wg-sdwan-core", "spoke", "static", True, 1420, 51820
            )
        },
        peers={(CORE, peer.peer_id): peer},
        outcomes=(SubsystemOutcome("links", CORE, Result.OK, "", NOW),),
    )


def filtered_hour() -> NodeStatus:
    """A hub that filters and translates: measured and not, good and bad, with warnings of each kind."""
    good = good_hour()
    mappings = (
        PortMappingStatus(
            PortMappingId("pm-1"), CORE, Result.OK, "", 1_204,
            "tcp 203.0.113.5:443", "[fd00:abcd:1::42]:8443",
        ),
        PortMappingStatus(
            PortMappingId("pm-2"), CORE, Result.ERROR,
            "cannot map: got nginx listening on 203.0.113.5:80, expected a free port", None,
            "tcp 203.0.113.5:80", "[fd00:abcd:1::42]:8080",
        ),
        PortMappingStatus(
            PortMappingId("pm-3"), OPS, external="udp [2001:db8::5]:53", internal="[fd00:2::9]:53"
        ),
    )  # fmt: skip
    shadowed = "firewall rule fr-9 is never reached: firewall rule fr-2 comes first and covers it"
    return replace(
        good,
        networks={
            **good.networks,
            OPS: NetworkStatus(OPS, "ops", "ops", "wg-sdwan-ops", "hub", "static", True, 1420, 51821),
        },
        firewalls={
            OPS: FirewallStatus(OPS),
            CORE: FirewallStatus(CORE, 10_000, 31_415),
        },
        port_mappings={mapping.id: mapping for mapping in mappings},
        warnings=(
            HealthWarning(
                "PM-003", Severity.CRITICAL, OPS, "tayga is not running", "it was stopped",
                "systemctl start powernode-tayga", NOW - 75,
            ),
            HealthWarning(
                "FW-001", Severity.WARNING, CORE, shadowed,
                "rules are tried in order of selector, priority and age",
                "remove one of the two, or raise the priority of fr-9", NOW - 3600,
            ),
            HealthWarning(
                "FW-002", Severity.INFO, "", "the table was changed by somebody else, and repaired",
                "nft flush ruleset", "powernode-agent plan", NOW - 5,
            ),
        ),
    )  # fmt: skip


def routed_hour() -> NodeStatus:
    """iBGP and virtual IPs: up, down with a cause, down with its peer, not measured; held, missing."""
    good = good_hour()
    (hub,) = good.peers.values()
    other = replace(hub, peer_id=PeerId("peer-hub-nrt"), name="hub-nrt")
    gone = replace(
        hub, peer_id=PeerId("peer-hub-gru"), name="hub-gru", state=PeerState.SILENT, liveness=None
    )
    late = replace(hub, peer_id=PeerId("peer-hub-syd"), name="hub-syd")
    sessions = (
        BgpSession(CORE, hub.peer_id, BgpState.ESTABLISHED, 3_600_000, 12, 3),
        BgpSession(
            CORE, other.peer_id, BgpState.ACTIVE, None, 0, 0, "Peer closed the session",
            "the neighbour refuses TCP port 179: no BGP daemon listens there",
        ),
        BgpSession(CORE, gone.peer_id, BgpState.IDLE, likely_cause="the tunnel is silent"),
        BgpSession(CORE, late.peer_id),
    )  # fmt: skip
    readings = (
        VirtualIpReading(
            VirtualIpId("vip-1"), CORE, HolderState.HOLDING, int((NOW - 90) * 1000), True,
            IPv6Address("fd00:abcd:1::100"), "resolver",
        ),
        VirtualIpReading(
            VirtualIpId("vip-2"), CORE, HolderState.ABSENT, int((NOW - 5) * 1000), None,
            IPv6Address("fd00:abcd:1::101"),
        ),
        VirtualIpReading(
            VirtualIpId("vip-3"), CORE, HolderState.STANDBY, int((NOW - 9) * 1000), None,
            IPv6Address("fd00:abcd:1::102"),
        ),
    )  # fmt: skip
    return replace(
        good,
        networks={CORE: replace(good.networks[CORE], routing_mode="ibgp")},
        peers={(CORE, peer.peer_id): peer for peer in (hub, other, gone, late)},
        bgp_sessions={(CORE, each.neighbor_peer_id): each for each in sessions},
        virtual_ips={each.virtual_ip_id: each for each in readings},
    )
