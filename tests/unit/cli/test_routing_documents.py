"""What iBGP and virtual IPs make of the state of a node, and which of their problems are told."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from node_status import CORE, NOW, good_hour, routed_hour

from powernode_agent.cli.looking import only_network
from powernode_agent.cli.parts import items
from powernode_agent.cli.render import render_status
from powernode_agent.control.documents import status_document
from powernode_agent.control.protocol import JSON
from powernode_agent.model.status import (
    BgpSession,
    BgpState,
    HolderState,
    NodeStatus,
    PeerState,
    PeerStatus,
    VirtualIpReading,
)
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.model.virtual_ip import VirtualIpId

ESTABLISHED = BgpState.ESTABLISHED
OTHER = NetworkId("n-other")
VIP = VirtualIpId("vip-1")


def one_peer(
    session: BgpState | None, peer: PeerState | None = PeerState.CONNECTED, *, age: float = 3600
) -> NodeStatus:
    """A node with one peer in this state and a session in that, `age` seconds after its start."""
    good = good_hour()
    ((key, hub),) = good.peers.items()
    status: NodeStatus = replace(
        good, peers={key: replace(hub, state=peer)}, agent=replace(good.agent, started_at=NOW - age)
    )
    sessions = {} if session is None else {key: BgpSession(*key, session)}
    return replace(status, bgp_sessions=sessions)


def with_virtual_ip(state: HolderState, name: str = "") -> NodeStatus:
    reading = VirtualIpReading(VIP, CORE, state, 0, name=name)
    return replace(good_hour(), virtual_ips={VIP: reading})


def verdict(status: NodeStatus) -> tuple[JSON, JSON]:
    """The state of the node and that of its only network."""
    document = status_document(status, NOW)
    (network,) = items(document, "networks")
    return document["state"], network["state"]


def texts(status: NodeStatus) -> list[JSON]:
    return [each["text"] for each in items(status_document(status, NOW), "problems")]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (one_peer(None), "ok"),
        (one_peer(ESTABLISHED), "ok"),
        (one_peer(BgpState.IDLE), "degraded"),
        (one_peer(BgpState.NOT_MEASURED), "not_measured"),
        (with_virtual_ip(HolderState.HOLDING), "ok"),
        (with_virtual_ip(HolderState.STANDBY), "ok"),
        (with_virtual_ip(HolderState.ABSENT), "degraded"),
        (with_virtual_ip(HolderState.NOT_MEASURED), "not_measured"),
    ],
)
def test_routing_counts_for_the_state(status: NodeStatus, state: str) -> None:
    assert verdict(status) == (state, state)


def test_a_session_that_may_still_come_up_is_no_problem_yet() -> None:
    assert texts(one_peer(BgpState.CONNECT, age=3)) == []
    (text,) = texts(one_peer(BgpState.CONNECT, age=60))
    assert "BGP session with hub-fra is Connect" in str(text)


def test_a_peer_with_a_problem_mutes_its_session() -> None:
    (text,) = texts(one_peer(BgpState.ACTIVE, PeerState.SILENT))
    assert str(text).startswith("hub-fra silent")


def test_a_peer_that_was_not_measured_mutes_nothing() -> None:
    (text,) = texts(one_peer(BgpState.ACTIVE, None))
    assert "BGP session with hub-fra is Active" in str(text)


def test_a_missing_virtual_ip_is_called_by_its_name() -> None:
    (text,) = texts(with_virtual_ip(HolderState.ABSENT, "resolver"))
    assert "virtual IP resolver (vip-1) should be held here" in str(text)


def of_two_networks() -> Mapping[str, JSON]:
    status = routed_hour()
    hub: PeerStatus = next(iter(status.peers.values()))
    far = PeerId("peer-far")
    other = replace(status.networks[CORE], network_id=OTHER, name="other", handle="other")
    vip = VirtualIpId("vip-far")
    whole: NodeStatus = replace(
        status,
        networks={**status.networks, OTHER: other},
        peers={**status.peers, (OTHER, far): replace(hub, peer_id=far, network_id=OTHER)},
        bgp_sessions={**status.bgp_sessions, (OTHER, far): BgpSession(OTHER, far, ESTABLISHED)},
        virtual_ips={
            **status.virtual_ips,
            vip: VirtualIpReading(vip, OTHER, HolderState.HOLDING, 0, name="far"),
        },
    )
    return status_document(whole, NOW)


def test_one_network_has_its_own_sessions_and_virtual_ips() -> None:
    document = only_network(of_two_networks(), "other")
    assert [each["neighbor_peer_id"] for each in items(document, "bgp_sessions")] == ["peer-far"]
    assert [each["name"] for each in items(document, "virtual_ips")] == ["far"]
    assert (document["state"], document["problems"]) == ("ok", [])


def test_what_nobody_has_is_not_on_the_screen() -> None:
    text = render_status(status_document(good_hour(), NOW), None, False)
    assert "BGP" not in text
    assert "VIP" not in text
    assert "VIRTUAL IP" not in text
