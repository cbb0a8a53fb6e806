"""Reading sessions: answers that FRR 8.4.4 gave, and causes from evidence."""

from __future__ import annotations

import json
from ipaddress import IPv6Address
from typing import Any

import pytest
from routing_states import Overlay, Site, network_state

from powernode_agent.model.status import BgpState, PeerState
from powernode_agent.routing.sessions import (
    NO_EVIDENCE,
    Connecting,
    Evidence,
    SessionReadError,
    SessionReading,
    likely_cause,
    parse_readings,
    sessions_of,
)

CORE = Overlay("core", 1)
SITES = (Site(1, hub=True), Site(2, hub=True), Site(13))
HUB = IPv6Address("fd00:1::1")


def _peer(state: str, uptime: int, received: int, sent: int) -> dict[str, Any]:
    counts = {"pfxRcd": received, "pfxSnt": sent, "connectionsDropped": 1}
    return {"state": state, "peerUptimeMsec": uptime, "idType": "ipv6", **counts}


SUMMARY = {
    family: {
        "routerId": "10.0.0.13",
        "as": 65000,
        "peers": {
            "fd00:1::1": _peer("Idle", 5000, 0, 0),
            "fd00:1::2": _peer("Established", 18000, received, 1),
        },
    }
    for family, received in (("ipv4Unicast", 4), ("ipv6Unicast", 5))
}
NEIGHBORS = {
    "fd00:1::1": {
        "bgpState": "Idle",
        "lastErrorCodeSubcode": "060A",
        "lastNotificationReason": "Cease/BFD Down",
        "lastResetDueTo": "BGP Notification send",
        "peerBfdInfo": {"type": "multi hop", "status": "Down"},
    },
    "fd00:1::2": {"bgpState": "Established", "peerBfdInfo": {"status": "Up"}},
}


def test_both_families_count() -> None:
    state = network_state(CORE, Site(13), SITES)
    readings = parse_readings(json.dumps(SUMMARY), json.dumps(NEIGHBORS))
    sessions = sessions_of({CORE.id: state}, readings, {})
    up = sessions[CORE.id, Site(2).peer_id(CORE)]
    assert (up.state, up.uptime_ms) == (BgpState.ESTABLISHED, 18000)
    assert (up.prefixes_received, up.prefixes_sent) == (9, 2)
    assert (up.last_reset_reason, up.likely_cause) == ("", "")
    down = sessions[CORE.id, Site(1).peer_id(CORE)]
    assert (down.state, down.uptime_ms) == (BgpState.IDLE, None)
    assert down.last_reset_reason == "BGP Notification send: Cease/BFD Down"
    assert "BFD" in down.likely_cause


def test_what_frr_does_not_list_was_not_measured() -> None:
    state = network_state(CORE, Site(13), SITES)
    sessions = sessions_of({CORE.id: state}, parse_readings("{}", "{}"), {})
    assert {session.state for session in sessions.values()} == {BgpState.NOT_MEASURED}
    assert {session.prefixes_received for session in sessions.values()} == {None}


@pytest.mark.parametrize(
    "summary",
    ["", "% Unknown command", "[]", '{"ipv6Unicast": {"peers": {"x": {}}}}', '{"ipv6Unicast": 1}'],
)
def test_an_answer_that_is_none_is_an_error(summary: str) -> None:
    with pytest.raises(SessionReadError, match="bgpd"):
        parse_readings(summary, "{}")


@pytest.mark.parametrize(
    ("error", "bfd_up", "evidence", "words"),
    [
        ("0202", None, NO_EVIDENCE, "AS number"),
        ("0203", None, NO_EVIDENCE, "router id"),
        ("0202", None, Evidence(routed=False), "no route"),
        ("", None, Evidence(connecting=Connecting.NO_ROUTE), "no route"),
        ("0202", None, Evidence(peer=PeerState.SILENT), "silent"),
        ("", None, Evidence(routed=True, peer=PeerState.HANDSHAKING), "no handshake"),
        ("", None, Evidence(peer=PeerState.CONNECTED, alive=False), "probes"),
        ("", None, Evidence(connecting=Connecting.REFUSED), "refuses TCP"),
        ("", None, Evidence(connecting=Connecting.TIMED_OUT), "does not answer"),
        ("", False, NO_EVIDENCE, "BFD"),
        ("060A", None, Evidence(routed=True, alive=True), "BFD"),
        ("0400", None, NO_EVIDENCE, "hold timer"),
    ],
)
def test_a_cause_is_drawn_from_evidence(
    error: str, bfd_up: bool | None, evidence: Evidence, words: str
) -> None:
    reading = SessionReading(BgpState.ACTIVE, None, 0, 0, error=error, bfd_up=bfd_up)
    assert words in likely_cause(reading, HUB, evidence)


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (Evidence(routed=True, peer=PeerState.CONNECTED, alive=True), ""),
        (Evidence(alive=False), "does not answer probes"),
        (Evidence(peer=PeerState.SILENT), "silent"),
        (Evidence(routed=False), "no route"),
        # Of the port there is no news while a session stands.
        (Evidence(connecting=Connecting.REFUSED), ""),
    ],
)
def test_a_session_over_a_dead_way_has_its_cause_before_it_is_down(
    evidence: Evidence, words: str
) -> None:
    said = likely_cause(SessionReading(BgpState.ESTABLISHED, 5, 1, 1), HUB, evidence)
    assert words in said
    assert bool(said) is bool(words)


def test_a_session_says_which_neighbor_it_is_with_measured_or_not() -> None:
    state = network_state(CORE, Site(13), SITES)
    for summary in (json.dumps(SUMMARY), "{}"):
        sessions = sessions_of({CORE.id: state}, parse_readings(summary, "{}"), {})
        assert sessions[CORE.id, Site(1).peer_id(CORE)].neighbor_address == HUB


def test_without_evidence_no_cause_is_made_up() -> None:
    assert likely_cause(SessionReading(BgpState.CONNECT, None, 0, 0), HUB, NO_EVIDENCE) == ""
