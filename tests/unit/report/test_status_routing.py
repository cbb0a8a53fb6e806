"""Every neighbour and every virtual IP of desired state is in the status, measured or not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network

from powernode_agent.model.bgp import BgpInstance, BgpInstanceId, BgpNeighbor
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.status import (
    AgentStatus,
    BgpSession,
    BgpState,
    HolderState,
    NodeStatus,
    VirtualIpReading,
)
from powernode_agent.model.values import NetworkId, NodeId, PeerId, PublicKey, Revision
from powernode_agent.model.virtual_ip import VirtualIp, VirtualIpId
from powernode_agent.report.build import Observations, Revisions, build_status

NOW = 1_800_000_000.0
NET = NetworkId("net-1")
OVERLAY = IPv6Network("fd00:abcd:1::/64")
FIRST, SECOND, GONE = PeerId("p1"), PeerId("p2"), PeerId("p3")
WEB, DNS, OLD = VirtualIpId("vip-1"), VirtualIpId("vip-2"), VirtualIpId("vip-3")
AGENT = AgentStatus("1.0", "6.1", NOW - 10, 0)


def hub(peer: PeerId, number: int) -> Peer:
    key = PublicKey("AB"[number % 2] * 42 + "A=")
    return Peer(
        peer, NET, f"hub-{number}", PeerKind.NODE, PeerRole.HUB, OVERLAY[number], public_key=key
    )


NETWORK = NetworkState(
    Network(
        NET,
        "core",
        "core",
        OVERLAY,
        RoutingMode.IBGP,
        Interface(PeerId("self"), OVERLAY[9], PeerRole.SPOKE, 51820, NodeKey(1)),
    ),
    {FIRST: hub(FIRST, 1), SECOND: hub(SECOND, 2)},
    bgp=BgpInstance(
        BgpInstanceId("b1"),
        NET,
        64512,
        IPv4Address("10.0.0.9"),
        neighbors=(BgpNeighbor(FIRST), BgpNeighbor(SECOND)),
    ),
    virtual_ips={
        WEB: VirtualIp(WEB, NET, "web", OVERLAY[0x100], hold=True),
        DNS: VirtualIp(DNS, NET, "dns", OVERLAY[0x101]),
    },
)
STATE = DesiredState(Revision(7), Node(NodeId("n1"), "edge"), {NET: NETWORK})


def built(seen: Observations, at: float = NOW, state: DesiredState | None = STATE) -> NodeStatus:
    return build_status(at, AGENT, "n1", "edge", "away", state, Revisions(), seen)


def test_what_was_not_read_is_there_and_says_so() -> None:
    status = built(Observations())
    assert status.bgp_sessions == {(NET, peer): BgpSession(NET, peer) for peer in (FIRST, SECOND)}
    assert {each.state for each in status.bgp_sessions.values()} == {BgpState.NOT_MEASURED}
    assert set(status.virtual_ips) == {WEB, DNS}
    assert {each.state for each in status.virtual_ips.values()} == {HolderState.NOT_MEASURED}
    assert status.virtual_ips[WEB].address == OVERLAY[0x100]
    later = built(Observations(), NOW + 60)
    assert later.virtual_ips == status.virtual_ips, "nothing new was found, so nothing changed"


def test_what_was_read_arrives_named_and_the_rest_beside_it() -> None:
    session = BgpSession(NET, FIRST, BgpState.ESTABLISHED, 5000, 12, 3)
    reading = VirtualIpReading(WEB, NET, HolderState.HOLDING, 7, True)
    status = built(Observations(bgp_sessions={(NET, FIRST): session}, virtual_ips={WEB: reading}))
    assert status.bgp_sessions == {
        (NET, FIRST): session,
        (NET, SECOND): BgpSession(NET, SECOND),
    }
    assert status.virtual_ips[WEB] == replace(reading, name="web", address=OVERLAY[0x100])
    assert status.virtual_ips[DNS].state is HolderState.NOT_MEASURED


def test_what_is_not_desired_any_more_is_left_out() -> None:
    seen = Observations(
        bgp_sessions={(NET, GONE): BgpSession(NET, GONE, BgpState.IDLE)},
        virtual_ips={OLD: VirtualIpReading(OLD, NET, HolderState.HOLDING, 7)},
    )
    status = built(seen)
    assert (NET, GONE) not in status.bgp_sessions
    assert OLD not in status.virtual_ips
    nothing = built(seen, state=None)
    assert (nothing.bgp_sessions, nothing.virtual_ips) == ({}, {})
